"""Tables with many models: summaries of OpenCompass, the Open LLM Leaderboard."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from emergectl.analysis.formats.cells import number
from emergectl.analysis.formats.identity import identify
from emergectl.analysis.formats.records import FileRecords, Record

OPEN_COMPASS = ("dataset", "version", "metric", "mode")
PARAMS = "#Params (B)"
FIRST_BOARD = ("ARC", "HellaSwag", "MMLU", "TruthfulQA", "Winogrande", "GSM8K")
SECOND_BOARD = ("IFEval", "BBH", "MATH Lvl 5", "GPQA", "MUSR", "MMLU-PRO")
SCORE_METRICS = {
    **{"ARC": "acc_norm", "HellaSwag": "acc_norm", "MMLU": "acc", "TruthfulQA": "mc2"},
    **{"Winogrande": "acc", "GSM8K": "acc", "MATH Lvl 5": "exact_match", "MMLU-PRO": "acc"},
    **{"IFEval": "strict_acc", "BBH": "acc_norm", "GPQA": "acc_norm", "MUSR": "acc_norm"},
}
"""what the leaderboards say that they measure"""
_TAG = re.compile(r"<[^>]*>")
_PERCENT = re.compile(
    r"acc|score|pass|match|^em$|average|f1|perf_\d|bleu|rouge|humaneval", re.IGNORECASE
)


def is_open_compass(names: Sequence[str]) -> bool:
    """Whether columns are those of a summary of OpenCompass: four, then a model each."""
    return tuple(names[:4]) == OPEN_COMPASS and len(names) > 4


def open_compass(
    path: Path, names: Sequence[str], rows: Iterable[tuple[int, Record]]
) -> FileRecords:
    """Records of a summary: models are columns; scores out of 100 are made shares, as is noted."""
    models = [(name, identify(name)) for name in names[4:]]
    notes = ["OpenCompass gives scores out of 100: they are divided by 100"]
    notes += [note for _, who in models for note in who.notes]

    def melted() -> Iterator[tuple[str, Record]]:
        for line, record in rows:
            where = f"{path}:{line}"
            for column, who in models:
                value = number(record.get(column), column, where)
                if value is None:
                    continue
                metric = str(record["metric"])
                yield (
                    where,
                    {
                        **{"task": record["dataset"], "metric": metric, **who.fields()},
                        "value": value / 100 if _PERCENT.search(metric) else value,
                        "version": _known(record["version"]),
                        "mode": _known(record["mode"]),
                        "higher_is_better": None,
                    },
                )

    fields = ["task", "metric", *identify("").fields(), "value", "version", "mode"]
    return FileRecords(fields, melted(), asked=("version", "mode"), notes=notes)


def _known(cell: Any) -> Any:
    return None if cell in ("-", "", None) else cell


def is_open_llm(names: Sequence[str]) -> bool:
    """Whether columns are those of the Open LLM Leaderboard, its first or its second."""
    return PARAMS in names and any(name in names for name in (*FIRST_BOARD, *SECOND_BOARD))


def open_llm(path: Path, names: Sequence[str], rows: Iterable[tuple[int, Record]]) -> FileRecords:
    """Records of the leaderboard: its benchmarks alone, as shares of items.

    The second board's own columns have guessing taken off; its raw ones are read. The first
    board's are percent.
    """
    raw = {task: f"{task} Raw" for task in SECOND_BOARD if f"{task} Raw" in names}
    scores = raw or {task: task for task in (*FIRST_BOARD, *SECOND_BOARD) if task in names}
    factor = 1.0 if raw else 0.01
    kept = [n for n in names if n not in (*scores.values(), *SECOND_BOARD, PARAMS)]
    named = next((n for n in ("fullname", "Model", "model") if n in names), names[0])

    def melted() -> Iterator[tuple[str, Record]]:
        for line, record in rows:
            where = f"{path}:{line}"
            billions = number(record.get(PARAMS), PARAMS, where)
            fixed = {
                **{name: record.get(name) for name in kept},
                "model": _TAG.sub("", str(record.get(named) or "")).strip(),
                "params": billions * 1e9 if billions and billions > 0 else None,
                "count": "total",
                "higher_is_better": True,
            }
            for task, column in scores.items():
                value = number(record.get(column), column, where)
                if value is not None:
                    row = {"task": task, "metric": SCORE_METRICS[task], "value": value * factor}
                    yield where, {**fixed, **row}

    fields = [*kept, "model", "params", "task", "metric", "value"]
    notes = [] if raw else [f"{path.name}: scores out of 100 are divided by 100"]
    return FileRecords(list(dict.fromkeys(fields)), melted(), notes=notes)
