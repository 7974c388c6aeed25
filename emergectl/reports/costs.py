"""What the runs behind a report cost, and how each is repeated."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from emergectl.analysis.table import Row
from emergectl.errors import RequestError
from emergectl.store.run import read_facts
from emergectl.store.table import last_values, read_row


def runs_of(rows: Iterable[Row]) -> list[Path]:
    """The run directories that the rows came from, in order."""
    found: dict[Path, None] = {}
    for path in dict.fromkeys(file_of(row.where) for row in rows):
        folder = next((p for p in path.parents if (p / "run.json").is_file()), None)
        if folder is not None:
            found[folder] = None
    return list(found)


def file_of(where: str) -> Path:
    """The file of a place `file`, `file:line` or `file:key`."""
    path = Path(where)
    while not path.exists() and ":" in path.name:
        path = path.with_name(path.name.rpartition(":")[0])
    return path


def run_costs(runs: Sequence[Path]) -> list[dict[str, Any]]:
    """For every run: parameters, tokens, FLOPs, wall time in seconds, state, command, versions."""
    costs = []
    for run in runs:
        row, last = read_row(run), last_values(run / "metrics.jsonl")
        try:
            facts = read_facts(run)
        except RequestError:
            facts = {}
        costs.append(
            {
                "path": str(run),
                "run": row.id,
                "name": row.name,
                "state": row.status,
                "step": row.step,
                "seed": row.seed,
                "params": last.get("parameters"),
                "tokens": last.get("tokens"),
                "flops": last.get("flops"),
                "seconds": row.seconds,
                "host": row.host,
                "command": shlex.join(map(str, facts.get("argv") or ())),
                "versions": facts.get("versions") or {},
            }
        )
    return costs


def table_costs(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """For models of a table of somebody's results: what the table says of their size and data."""
    models: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        if not row.model and row.params is None:
            continue
        known = models.setdefault(
            (row.group, row.model or f"{row.params:g}"),
            {
                "name": row.model or f"{row.params:g} parameters",
                "group": row.group,
                "params": row.params,
                "tokens": None,
                "flops": None,
            },
        )
        for key in ("tokens", "flops"):
            value = row.scale(key)
            if value is not None:
                known[key] = max(value, known[key] or 0.0)
    return list(models.values())


def totals(costs: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Sums of tokens, FLOPs and seconds, of what is known."""
    return {
        key: float(sum(each.get(key) or 0 for each in costs))
        for key in ("tokens", "flops", "seconds")
    }
