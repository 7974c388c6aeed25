"""What the runs behind a report cost, and how each is repeated."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from emergectl.analysis.table import TableRow
from emergectl.errors import RequestError
from emergectl.store.run import read_facts
from emergectl.store.table import last_values, read_row


def runs_of(origins: Iterable[str]) -> list[Path]:
    """The run directories that values came from (each `file` or `file:line`), in order."""
    found: dict[Path, None] = {}
    for path in dict.fromkeys(map(file_of, dict.fromkeys(origins))):
        folder = next((p for p in path.parents if (p / "run.json").is_file()), None)
        if folder is not None:
            found[folder] = None
    return list(found)


def file_of(where: str) -> Path:
    """The file of `file`, `file:line` or `file:key`."""
    path = Path(where)
    while not path.exists() and ":" in path.name:
        path = path.with_name(path.name.rpartition(":")[0])
    return path


@dataclass(frozen=True)
class RunCost:
    """What a run is and what it took. `seconds` of wall time; both counts of parameters."""

    path: str
    run: str
    name: str
    state: str
    step: int
    seed: int | None
    parameters: int | None
    non_embedding_parameters: int | None
    tokens: float | None
    flops: float | None
    seconds: float | None
    host: str | None
    command: str
    versions: dict[str, str]


@dataclass(frozen=True)
class ModelCost:
    """What a table of somebody's results says of the size and the data of a model."""

    name: str
    group: str
    params: float | None
    tokens: float | None
    flops: float | None


@dataclass(frozen=True)
class Totals:
    """Sums over all runs, of what is known."""

    tokens: float
    flops: float
    seconds: float


def run_costs(runs: Sequence[Path]) -> tuple[RunCost, ...]:
    """What each run directory cost."""
    costs = []
    for run in runs:
        row, last = read_row(run), last_values(run / "metrics.jsonl")
        try:
            facts = read_facts(run)
        except RequestError:
            facts = {}
        costs.append(
            RunCost(
                path=str(run),
                run=row.id,
                name=row.name,
                state=row.status,
                step=row.step,
                seed=row.seed,
                parameters=facts.get("parameters", last.get("parameters")),
                non_embedding_parameters=facts.get("non_embedding_parameters"),
                tokens=last.get("tokens"),
                flops=last.get("flops"),
                seconds=row.seconds,
                host=row.host,
                command=_as_typed(facts.get("argv") or ()),
                versions=facts.get("versions") or {},
            )
        )
    return tuple(costs)


def _as_typed(argv: Sequence[object]) -> str:
    """A command line without the folder of its program, which is another one elsewhere."""
    words = [str(word) for word in argv]
    return shlex.join([Path(words[0]).name, *words[1:]]) if words else ""


def table_costs(rows: Iterable[TableRow]) -> tuple[ModelCost, ...]:
    """For each model of a table: the most tokens and FLOPs that any of its rows tells."""
    models: dict[tuple[str, str], ModelCost] = {}
    for row in rows:
        if not row.model and row.params is None:
            continue
        key = (row.group, row.model or f"{row.params:g}")
        name = row.model or f"{row.params:g} parameters"
        known = models.get(key, ModelCost(name, row.group, row.params, None, None))
        models[key] = replace(
            known,
            tokens=_larger(known.tokens, row.scale("tokens")),
            flops=_larger(known.flops, row.scale("flops")),
        )
    return tuple(models.values())


def totals(costs: Iterable[RunCost]) -> Totals:
    """The sums over runs."""
    costs = list(costs)
    return Totals(
        tokens=float(sum(each.tokens or 0 for each in costs)),
        flops=float(sum(each.flops or 0 for each in costs)),
        seconds=float(sum(each.seconds or 0 for each in costs)),
    )


def _larger(known: float | None, value: float | None) -> float | None:
    return max((v for v in (known, value) if v is not None), default=None)
