"""emergectl from Python: runs, their measured values, tables, verdicts, and models that are asked.

    from emergectl import api

    run = api.load_run("latest")
    rows = run.rows()                                    # every measured value, with tokens, loss …
    findings = api.judge("table.csv", n=500, chance=0.25)
    results = api.ask("gpt2", "addition:digits=2", limit=100)

What `__all__` lists is kept from one version to the next; everything else may change. Importing
this costs nothing: torch is imported when a model is asked, numpy when something is judged. Errors
are those of `emergectl.errors`, each a sentence that says what, where and what instead.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from emergectl.errors import RequestError
from emergectl.store.locate import find_run, runs_root
from emergectl.store.locate import list_runs as _paths_of_runs
from emergectl.store.measurements import Measurement, MetricFacts
from emergectl.store.metrics_log import read_metrics
from emergectl.store.rows import Row, rows_of_run
from emergectl.store.status import Status, read_status
from emergectl.store.table import read_experiment

if TYPE_CHECKING:
    from emergectl.analysis.findings import Findings
    from emergectl.analysis.table import Axis, Table
    from emergectl.evaluation.results import TaskResult
    from emergectl.tasks.catalog import Task

__all__ = [
    "Measurement",
    "MetricFacts",
    "Records",
    "Row",
    "SavedRun",
    "Status",
    "ask",
    "judge",
    "list_runs",
    "load_run",
    "load_task",
    "read_table",
]

Records = Sequence[Mapping[str, Any]]
"""a table in memory: one mapping a row, column → value (`frame.to_dict("records")` of pandas)"""


@dataclass(frozen=True)
class SavedRun:
    """A run as it lies on disk; everything is read when it is asked for, never kept."""

    path: Path

    @property
    def id(self) -> str:
        """Its id, `YYYYMMDD-HHMMSS-name-xxxx`."""
        return self.path.name

    @property
    def status(self) -> Status:
        """How it stands: pending, running, done, failed or preempted, and at which step."""
        return read_status(self.path)

    @property
    def experiment(self) -> dict[str, Any]:
        """Its experiment as resolved, by sections."""
        return read_experiment(self.path)

    def rows(self) -> list[Row]:
        """Every measured value, by step, task and metric, with tokens, FLOPs and loss at the step.

        Raises DataError where a file does not hold what it should.
        """
        from emergectl.evaluation.metrics import metric_facts

        return rows_of_run(self.path, metric_facts)

    def log(self) -> list[dict[str, Any]]:
        """The log of training, a record for each line: step, loss, learning rate, tokens/s …"""
        return list(read_metrics(self.path / "metrics.jsonl"))


def list_runs(*, runs_dir: Path | str | None = None) -> list[SavedRun]:
    """All runs, newest first. `runs_dir`: $EMERGECTL_RUNS or ./runs where it is None."""
    return [SavedRun(path) for path in _paths_of_runs(_root(runs_dir))]


def load_run(name: str | Path, *, runs_dir: Path | str | None = None) -> SavedRun:
    """The run of an id, a unique prefix, a name, `latest`, or a path.

    Raises RequestError where there is none, or several.
    """
    return SavedRun(find_run(str(name), _root(runs_dir)))


def load_task(reference: str) -> Task:
    """The task that a reference names: `addition:digits=4`, a task file, a task of a package.

    Raises RequestError for an unknown task or a parameter that does not fit.
    """
    from emergectl.tasks.references import load_task as load

    return load(reference)


def read_table(
    *sources: str | Path | SavedRun | Records, runs_dir: Path | str | None = None, **options: Any
) -> Table:
    """One table of runs, sweeps, files of results, or records in memory.

    `options` are those of `emergectl analyze emergence`, by the same names: `n=500`,
    `chance={"mmlu": 0.25}`, `task="Task name"`, `where={"shots": 0}`, `scale={"params": 1e9}`.
    Raises RequestError, DataError.
    """
    from emergectl.cli.tables import TableSource, read_source

    with tempfile.TemporaryDirectory() as folder:
        names = [
            _name(source, Path(folder, f"records-{i}.jsonl")) for i, source in enumerate(sources)
        ]
        return read_source(TableSource(names, _options(options), _root(runs_dir)))


def judge(
    *sources: str | Path | SavedRun | Records,
    axis: Axis | None = None,
    alpha: float = 0.05,
    margin: float = 0.05,
    sharp: float = 1.0,
    workers: int = 1,
    runs_dir: Path | str | None = None,
    **options: Any,
) -> Findings:
    """Say of every ability in a table whether it emerges, where, and how surely.

    `axis`: params, tokens, flops, loss or step; None: what varies. `alpha`: false discoveries among
    the emergent verdicts. `margin`: how near to chance a rate is flat. `sharp`: decades
    of training compute below which a rise is sharp. Sources and `options` as in
    `read_table`. The same table gives the same findings.
    """
    from emergectl.analysis.examine import examine
    from emergectl.analysis.table_curves import choose_axis, curves_of
    from emergectl.analysis.verdict import judge as judge_curves

    table = read_table(*sources, runs_dir=runs_dir, **options)
    curves = curves_of(table, axis or choose_axis(table))
    if not curves:
        raise RequestError(f"no row has a place on the axis {axis}")
    found = judge_curves(curves, alpha=alpha, margin=margin, sharp_decades=sharp, workers=workers)
    return examine(table, found, alpha=alpha, margin=margin, sharp_decades=sharp, workers=workers)


def ask(
    model: str | Path | SavedRun,
    *tasks: str,
    shots: int = 0,
    limit: int | None = None,
    metrics: Sequence[str] = (),
    by: Sequence[str] = (),
    checkpoint: str = "last",
    seed: int = 0,
    precision: Literal["fp32", "bf16"] = "fp32",
    resume: bool = False,
    runs_dir: Path | str | None = None,
) -> list[TaskResult]:
    """Ask a model tasks, item by item: a run (`RUN@STEP`), a model directory or a hub name.

    `shots`: solved items before each question. `limit`: items of a task at most. `metrics`: beside
    the tasks' own. `by`: facts to group results by. `checkpoint`, of a run: last, best, all, a
    step. `resume`: go on with what is there. What the model did is written as `emergectl eval`
    writes it, to the run's `evals/`, or to a run of its own. Raises RequestError.
    """
    from emergectl.evaluation.session import ask_model, experiment_that_asks
    from emergectl.inference.loading import find_weights
    from emergectl.runtime.agreed_stop import join_evaluation
    from emergectl.runtime.stop import StopRequest

    if not tasks:
        raise RequestError("no task to ask; name one, such as addition:digits=2")
    root = _root(runs_dir)
    name = str(model.path if isinstance(model, SavedRun) else model)
    weights = find_weights(name, which=checkpoint, root=root)
    given = {"shots": shots, "limit": limit, "metrics": list(metrics), "by": list(by)}
    asked = {key: value for key, value in given.items() if value}
    source = weights[0].source if weights[0].revision is None else name
    experiment = experiment_that_asks(source, tasks, asked, seed=seed, precision=precision)
    with join_evaluation("auto", StopRequest()) as (place, stop):
        return ask_model(
            weights,
            experiment,
            root=root,
            argv=["emergectl.api.ask", name, *tasks],
            place=place,
            stop=stop,
            tell=lambda *_: None,
            resume=resume,
            contamination=False,
        )[1]


def _root(runs_dir: Path | str | None) -> Path:
    return runs_root(None if runs_dir is None else Path(runs_dir))


def _name(source: str | Path | SavedRun | Records, file: Path) -> str:
    """The source as a command line would name it; records are put into `file` for that."""
    if isinstance(source, SavedRun):
        return str(source.path)
    if isinstance(source, str | Path):
        return str(source)
    lines = (json.dumps(dict(record), default=_plain) for record in source)
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(file)


def _plain(value: Any) -> Any:
    """A scalar of numpy as Python's own. TypeError for what is none."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"a cell of a table is a text or a number, not {type(value).__name__}")


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options as texts, as the command line has them. RequestError for one that is none."""
    from emergectl.cli.tables import LISTS, OPTIONS

    for name in given:
        if name not in OPTIONS:
            raise RequestError(f"no option {name!r}; there are {', '.join(OPTIONS)}")
    texts: dict[str, Any] = dict.fromkeys(OPTIONS)
    for name, value in given.items():
        if name not in LISTS:
            texts[name] = str(value)
        elif isinstance(value, Mapping):
            texts[name] = [f"{key}={one}" for key, one in value.items()]
        else:
            several = isinstance(value, Sequence) and not isinstance(value, str)
            texts[name] = [str(one) for one in (value if several else [value])]
    return texts
