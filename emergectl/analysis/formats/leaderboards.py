"""Tables with many models: summaries of OpenCompass, the Open LLM Leaderboard."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from emergectl.analysis.formats.cells import number
from emergectl.analysis.formats.identity import identify
from emergectl.analysis.formats.records import FileRecords, Record
from emergectl.analysis.table import listed

OPEN_COMPASS = ("dataset", "version", "metric", "mode")
TOTAL = "total_count"
"""a column of AISBench's summaries, which are of the same kind"""
PARAMS = "#Params (B)"
FIRST_BOARD = ("ARC", "HellaSwag", "MMLU", "TruthfulQA", "Winogrande", "GSM8K")
SECOND_BOARD = ("IFEval", "BBH", "MATH Lvl 5", "GPQA", "MUSR", "MMLU-PRO")
SCORE_METRICS = {
    **{"ARC": "acc_norm", "HellaSwag": "acc_norm", "MMLU": "acc", "TruthfulQA": "mc2"},
    **{"Winogrande": "acc", "GSM8K": "acc", "MATH Lvl 5": "exact_match", "MMLU-PRO": "acc"},
    **{"IFEval": "strict_acc", "BBH": "acc_norm", "GPQA": "acc_norm", "MUSR": "acc_norm"},
}
"""what the leaderboards say that they measure"""
_SHOTS = re.compile(r"\s*\(\d+-shot\)")
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
    models = [(name, identify(name)) for name in names[4:] if name != TOTAL]
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
                        "n": _known(record.get(TOTAL)),
                        "higher_is_better": None,
                    },
                )

    fields = ["task", "metric", *identify("").fields(), "value", "version", "mode", "n"]
    return FileRecords(fields, melted(), asked=("version", "mode"), notes=notes)


def _known(cell: Any) -> Any:
    return None if cell in ("-", "", None) else cell


def is_open_llm(names: Sequence[str]) -> bool:
    """Whether columns are those of the Open LLM Leaderboard, its first or its second.

    Its early tables have no sizes, and the number of shots in the names: `ARC (25-shot)`.
    """
    boards = [name for name in names if _SHOTS.sub("", name) in SCORE_METRICS]
    return bool(boards) and (PARAMS in names or any(_SHOTS.search(name) for name in boards))


def open_llm(path: Path, names: Sequence[str], rows: Iterable[tuple[int, Record]]) -> FileRecords:
    """Records of the leaderboard: its benchmarks alone, as shares of items.

    The second board's own columns have guessing taken off; its raw ones are read. Scores out of
    100 are divided by 100, and where there are no sizes they are read from the models' names.
    """
    raw = {task: f"{task} Raw" for task in SECOND_BOARD if f"{task} Raw" in names}
    plain = {_SHOTS.sub("", name): name for name in names}
    scores = raw or {task: plain[task] for task in SCORE_METRICS if task in plain}
    kept = [n for n in names if n not in (*scores.values(), *SECOND_BOARD, PARAMS)]
    named = next((n for n in ("fullname", "Model", "model") if n in names), names[0])
    sized = PARAMS in names
    notes: list[str] = []

    def melted() -> Iterator[tuple[str, Record]]:
        guessed: list[str] = []
        percent = False
        for line, record in rows:
            where = f"{path}:{line}"
            name = _TAG.sub("", str(record.get(named) or "")).strip()
            who = identify(name)
            billions = number(record.get(PARAMS), PARAMS, where) or 0
            guessed += [name] * bool(who.notes and not sized)
            fixed = {
                **{column: record.get(column) for column in kept},
                **{"model": name, "higher_is_better": True},
                "params": (billions * 1e9 if billions > 0 else None) if sized else who.params,
                "count": "total" if sized else "named",
            }
            values = {t: number(record.get(column), column, where) for t, column in scores.items()}
            factor = 0.01 if max((v or 0 for v in values.values()), default=0) > 1 else 1
            percent |= factor != 1
            for task, value in values.items():
                if value is not None:
                    row = {"task": task, "metric": SCORE_METRICS[task], "value": value * factor}
                    yield where, {**fixed, **row}
        if percent:
            notes.append(f"{path.name}: scores out of 100 are divided by 100")
        if not sized:
            notes.append(f"{path.name}: params are told by the models' names")
        if guessed:
            notes.append(f"params of {listed(guessed)}: the first of several sizes in their names")

    if not raw and any(task in SECOND_BOARD for task in scores):
        notes.append(f"{path.name}: guessing has been taken off these scores")
    fields = [*kept, "model", "params", "count", "task", "metric", "value"]
    return FileRecords(list(dict.fromkeys(fields)), melted(), notes=notes)
