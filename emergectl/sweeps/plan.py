"""From a sweep file to its trials: every combination, checked, each known by its hash.

A trial is identified by the hash of its resolved experiment, never by its place in the list, so a
file may be reordered, cut or extended and what is done stays done. Seeds vary slowest: the whole
picture is there with the first seed before the second begins.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emergectl.config.experiment import LoadedExperiment, experiment_hash
from emergectl.config.schema import Experiment
from emergectl.config.sweep import LoadedSweep, Setting, error_at
from emergectl.config.sweep_paths import (
    ABSENT,
    found_in,
    resolved_values,
    set_at,
    steps_of,
)
from emergectl.config.sweep_schema import LadderSpec, SearchSpec
from emergectl.config.values import SearchRange, read_interval
from emergectl.errors import ExperimentError, RequestError
from emergectl.evaluation.metrics import metric_facts
from emergectl.evaluation.watched import check_watched
from emergectl.models.families import matrices_per_layer
from emergectl.models.ladder import parameters_of, shape_of_size
from emergectl.store.measurements import Direction
from emergectl.sweeps.asked import Asks, check_own_tasks, load_asks
from emergectl.tasks.resolve import check_asked, resolve

MAX_TRIALS = 100_000
MAX_ERRORS = 20

Point = dict[str, Setting]


@dataclass(frozen=True)
class Trial:
    """One experiment of a sweep."""

    id: str
    """sha256 of the resolved experiment (`experiment_hash`)"""
    values: Mapping[str, Any]
    """what its experiment has where the sweep sets something: key path → value"""
    experiment: Experiment


@dataclass(frozen=True)
class Plan:
    """The trials of a sweep; for a search, as many places as it has trials, drawn later."""

    sweep: LoadedSweep
    trials: tuple[Trial, ...]
    doubled: int = 0
    """combinations left out because an earlier one is the same experiment"""
    asks: Asks | None = None
    """what each trial is asked once it is trained"""
    dropped: tuple[str, ...] = ()
    """what swept sections leave out of the experiment's own, in words"""

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self.sweep.name

    def left_out(self) -> list[str]:
        """What a person should know is not run, in words."""
        doubled = f"{self.doubled:,} combinations are the same experiment as another: left out"
        return [*self.dropped, *([doubled] if self.doubled else [])]

    @property
    def size(self) -> int:
        """How many trials there will be."""
        search = self.sweep.spec.search
        return len(self.trials) if search is None else search.trials


def plan_sweep(sweep: LoadedSweep, *, check_paths: bool = True) -> Plan:
    """All trials of a sweep, each checked as `validate` checks an experiment.

    Raises RequestError, one line for each different error, naming the line of the sweep file.
    """
    asks = load_asks(sweep, check_paths=check_paths)
    if sweep.spec.search is not None:
        _check_search(sweep, check_paths)
        return Plan(sweep, (), asks=asks, dropped=_dropped(sweep))
    points = list(_points(sweep))
    if not points:
        raise error_at(sweep, ["exclude"], "leaves no trial")
    trials: dict[str, Trial] = {}
    errors = _Errors()
    for point in points:
        with errors.of(point):
            trial = make_trial(sweep, point, check_paths=check_paths)
            trials.setdefault(trial.id, trial)
    errors.raise_any()
    doubled = len(points) - len(trials)
    return Plan(sweep, tuple(trials.values()), doubled, asks, _dropped(sweep))


def _dropped(sweep: LoadedSweep) -> tuple[str, ...]:
    """Where the experiment sets fields of a section that a swept section does not: in words."""
    spec, lines = sweep.spec, []
    axes = spec.axes()
    points = [
        (f"include.{number}", key, [value])
        for number, point in enumerate(spec.include)
        for key, value in point.items()
    ]
    for part, path, values in [*axes, *points]:
        own = found_in(sweep.base.data, steps_of(path))
        sections = [value for value in values if isinstance(value, Mapping)]
        if not isinstance(own, Mapping):
            continue
        swept = [] if part.startswith("include") else [key for _, key, _ in axes]
        lost = [
            key
            for key in own
            if any(key not in section for section in sections) and f"{path}.{key}" not in swept
        ]
        if lost:
            lines.append(
                f"{part}: `{path}` takes the place of the experiment's own, which sets "
                f"{' and '.join(lost)} as well"
            )
    return tuple(lines)


def make_trial(sweep: LoadedSweep, point: Point, *, check_paths: bool = True) -> Trial:
    """The trial at a point, checked. Raises RequestError."""
    point = point | _scaled(sweep, point)
    loaded = sweep.experiment_at(point, check_paths=check_paths)
    try:
        if loaded.experiment.stage == "evaluate":
            raise ExperimentError("stage", "a sweep trains; `emergectl eval` asks what there is")
        check_asked(loaded.experiment)
        if loaded.experiment.stage != "evaluate":
            check_watched(resolve(loaded.experiment))
    except ExperimentError as error:
        raise loaded.locate(error) from None
    if sweep.spec.evaluate is not None and not sweep.spec.evaluate.tasks:
        check_own_tasks(sweep, loaded.experiment)
    digest = experiment_hash(loaded.experiment)
    named = _named(loaded, f"{sweep.name}-{digest[:8]}")
    plain = loaded.experiment.model_dump(mode="json", by_alias=True)
    return Trial(digest, resolved_values(plain, _plain(point)), named)


def _plain(point: Point) -> dict[str, Any]:
    return {key: setting.value for key, setting in point.items()}


def _named(loaded: LoadedExperiment, name: str) -> Experiment:
    return loaded.experiment.model_copy(update={"name": name})


def _points(sweep: LoadedSweep) -> Iterator[Point]:
    """Every point of the grid in the wide sense, less what is excluded."""
    spec = sweep.spec
    axes = [*_axes(sweep)]
    count = math.prod(len(axis) for axis in axes) * (spec.seeds or 1)
    if count + len(spec.include) * (spec.seeds or 1) > MAX_TRIALS:
        raise RequestError(f"{sweep.path}: {count:,} trials; a sweep has at most {MAX_TRIALS:,}")
    cells = [_merged(parts) for parts in itertools.product(*axes)] if axes or spec.seeds else []
    if not axes and spec.include:
        cells = []
    for number, extra in enumerate(spec.include):
        cells.append({k: sweep.setting(v, "include", number, k) for k, v in extra.items()})
    kept = _without_excluded(sweep, cells)
    for seed in _seeds(sweep):
        for cell in kept:
            yield cell if seed is None or "seed" in cell else cell | {"seed": seed}


def _axes(sweep: LoadedSweep) -> Iterator[list[Point]]:
    """The factors of the grid, slowest first."""
    spec = sweep.spec
    for part in ("ladder", "isoflop"):
        section = getattr(spec, part)
        if section is not None:
            yield [
                {"model.size": sweep.setting(size, part, "sizes", number)}
                for number, size in enumerate(section.sizes)
            ]
    if spec.isoflop is not None:
        yield [
            {"train.flops": sweep.setting(float(budget), "isoflop", "budgets")}
            for budget in spec.isoflop.budgets
        ]
    for key, values in spec.grid.items():
        yield [{key: sweep.setting(v, "grid", key, n)} for n, v in enumerate(values)]
    for number, together in enumerate(spec.zip):
        rows = zip(*together.values(), strict=True)
        yield [
            {
                key: sweep.setting(value, "zip", number, key, place)
                for key, value in zip(together, row, strict=True)
            }
            for place, row in enumerate(rows)
        ]


def _merged(parts: Sequence[Point]) -> Point:
    return {key: setting for part in parts for key, setting in part.items()}


def _seeds(sweep: LoadedSweep) -> list[Setting | None]:
    if sweep.spec.seeds is None:
        return [None]
    data = sweep.base.data
    first = data.get("seed", 0) if isinstance(data, dict) else 0
    first = first if isinstance(first, int) else 0  # What is no number the schema refuses.
    return [sweep.setting(first + number, "seeds") for number in range(sweep.spec.seeds)]


def _without_excluded(sweep: LoadedSweep, cells: list[Point]) -> list[Point]:
    """The cells that no `exclude` fits; each has to fit one, else it is a slip."""
    for number, wanted in enumerate(sweep.spec.exclude):
        kept = [cell for cell in cells if not _fits(cell, wanted)]
        if len(kept) == len(cells) or not wanted:
            raise error_at(sweep, ["exclude", number], "fits no trial of this sweep")
        cells = kept
    return cells


def _fits(cell: Point, wanted: Mapping[str, Any]) -> bool:
    plain = _plain(cell)
    return all(set_at(plain, key) == value for key, value in wanted.items())


def _scaled(sweep: LoadedSweep, point: Point) -> Point:
    """What a ladder sets at a rung beside its size."""
    ladder = sweep.spec.ladder
    set_here = _plain(point)
    size = set_at(set_here, "model.size")
    if ladder is None or size is ABSENT:
        return {}
    scaled: Point = {}
    try:
        family = sweep.experiment_at(point, check_paths=False).experiment.model.family
        if ladder.tokens_per_parameter is not None:
            tokens = float(f"{parameters_of(size) * ladder.tokens_per_parameter:.6g}")
            scaled["train.tokens"] = sweep.setting(tokens, "ladder", "tokens_per_parameter")
        if ladder.lr is not None:
            rate = ladder_rate(ladder, size, family)
            scaled["optimizer.lr"] = sweep.setting(rate, "ladder", "lr")
    except ExperimentError as error:
        raise error_at(sweep, ["ladder"], error.message) from None
    return {key: s for key, s in scaled.items() if set_at(set_here, key) is ABSENT}


def ladder_rate(ladder: LadderSpec, size: str, family: str) -> float:
    """The learning rate of a rung: lr · (width / width of `at`)^power, to six digits.

    With power -1 this is the rule for Adam's hidden matrices in Yang et al. 2022 (Tensor Programs
    V), applied to the whole model. Raises ExperimentError for what is no size.
    """
    assert ladder.lr is not None
    matrices = matrices_per_layer(family)
    here, there = (
        shape_of_size(each, matrices_per_layer=matrices) for each in (size, ladder.lr.at)
    )
    return float(f"{ladder.lr.lr * (here.width / there.width) ** ladder.lr.power:.6g}")


def lowest_trial(sweep: LoadedSweep) -> Trial:
    """A search's trial at the lower ends (the first choices) of its space."""
    assert sweep.spec.search is not None
    space = sweep.spec.search.space.items()
    point = {
        key: sweep.setting(_ends(read_interval(written))[0], "search", "space", key)
        for key, written in space
    }
    return make_trial(sweep, point)


def search_direction(search: SearchSpec) -> Direction | None:
    """Which values of its metric a search looks for: as it says, else as the metric is; None where
    nothing is known of it."""
    if search.direction is not None:
        return "up" if search.direction == "maximize" else "down"
    facts = metric_facts(search.metric.rpartition("/")[2])
    return None if facts is None else facts.direction


def _check_search(sweep: LoadedSweep, check_paths: bool) -> None:
    """Check the corners of the space: all lower ends, all upper ends, and every choice."""
    search = sweep.spec.search
    assert search is not None
    if search_direction(search) is None:
        told = f"no metric `{search.metric}` is known; if it is one, give search.direction"
        raise error_at(sweep, ["search", "metric"], told)
    corners = {key: _ends(read_interval(written)) for key, written in search.space.items()}
    errors = _Errors()
    for place in range(max(len(values) for values in corners.values())):
        point = {
            key: sweep.setting(values[min(place, len(values) - 1)], "search", "space", key)
            for key, values in corners.items()
        }
        with errors.of(point):
            make_trial(sweep, point, check_paths=check_paths)
    errors.raise_any()


def _ends(space: list[Any] | SearchRange) -> list[Any]:
    if isinstance(space, list):
        return space
    ends = [space.low, space.high]
    return [round(end) for end in ends] if space.whole else [float(end) for end in ends]


class _Errors:
    """The different errors of many trials, each with the first trial that has it."""

    def __init__(self) -> None:
        self._lines: dict[str, Point] = {}
        self._point: Point = {}

    def of(self, point: Point) -> _Errors:
        self._point = point
        return self

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, RequestError):
            return False
        for line in str(error).splitlines():
            self._lines.setdefault(line, self._point)
        return True

    def raise_any(self) -> None:
        if not self._lines:
            return
        lines = [
            f"{line} (in the trial with {told(point)})" if point else line
            for line, point in itertools.islice(self._lines.items(), MAX_ERRORS)
        ]
        if len(self._lines) > MAX_ERRORS:
            lines.append(f"and {len(self._lines) - MAX_ERRORS} more errors")
        raise RequestError("\n".join(lines))


def told(point: Mapping[str, Any]) -> str:
    """The values of a point in one line: `optimizer.lr=0.001, seed=2`."""
    plain = {k: v.value if isinstance(v, Setting) else v for k, v in point.items()}
    return ", ".join(f"{key}={value}" for key, value in plain.items())
