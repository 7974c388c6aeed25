"""What a sweep will cost, before it begins, and how long the rest of it takes.

Before: one trial of each different shape is measured in a worker (its steps, one evaluation, its
parameters and FLOPs); the trials that differ only in seed, rates, schedule or budget share the
figures. Meanwhile: the time of the trials that are done, by their shape, size and budget.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from emergectl.config.schema import Experiment
from emergectl.errors import EmergectlError
from emergectl.models.ladder import parameters_of
from emergectl.sweeps.ensembles import FEWEST, Wish, best_size, candidates, kind_of
from emergectl.sweeps.plan import Trial
from emergectl.sweeps.protocol import as_line, plain_experiment
from emergectl.sweeps.worker_pool import Crew, Gone, shares, workers_that_pay
from emergectl.training.budget import plan_budget
from emergectl.training.schedule import is_due

_FREE = (
    *("name", "notes", "seed", "optimizer", "schedule"),
    *("evaluation", "snapshots", "checkpoints", "tracking"),
)
_BUDGET = ("steps", "tokens", "epochs", "flops", "minutes", "early_stopping", "log_every", "nan")
_BYTES_PER_PARAMETER = 4
_CHECKPOINTS_KEPT = 2
"""the last, and the best or the one before"""
_STATES_OF = {"adamw": 2, "muon": 1, "sgd": 1}
"""numbers that an optimizer keeps beside each weight"""


@dataclass(frozen=True)
class Cost:
    """What one trial costs."""

    trial: Trial
    parameters: int
    non_embedding_parameters: int
    steps: int | None
    tokens: float | None
    flops: float | None
    seconds: float
    bytes: int
    """on disk: the checkpoints that are kept, and the snapshots"""


@dataclass(frozen=True)
class Estimate:
    """What all of them cost together."""

    costs: Sequence[Cost]
    workers: int
    device: str
    times: int = 1
    """how many trials each cost stands for"""

    @property
    def flops(self) -> float:
        """Of all trials together, as far as their budgets tell."""
        return sum(cost.flops or 0.0 for cost in self.costs) * self.times

    @property
    def bytes(self) -> int:
        """On disk, of all trials together."""
        return sum(cost.bytes for cost in self.costs) * self.times

    @property
    def seconds(self) -> float:
        """Wall time on this machine: shared among the workers, never less than the longest."""
        total = sum(cost.seconds for cost in self.costs) * self.times
        return max(total / self.workers, max(cost.seconds for cost in self.costs))


def estimate(
    trials: Sequence[Trial],
    *,
    workers: int | None,
    logs: Path,
    times: int = 1,
    ensemble: Wish = "off",
) -> Estimate:
    """Measure one trial of each shape, and reckon the rest. Raises EmergectlError where one fails.

    A worker is started for it, whose output goes to a file in `logs`. With `ensemble` it also
    measures how much faster trials go that are trained as one.
    """
    shapes: dict[str, Trial] = {}
    for trial in trials:
        shapes.setdefault(shape_of(trial.experiment), trial)
    measured: dict[str, dict[str, Any]] = {}
    devices = 0
    count = len(trials) * times
    asked = workers or workers_that_pay(0, count)
    probes = _measure([trial.experiment for trial in shapes.values()], asked, logs)
    for shape, (devices_here, found) in zip(shapes, probes, strict=True):
        devices = devices_here
        if "error" in found:
            raise EmergectlError(f"trial {shapes[shape].id[:12]}: {found['error']}")
        measured[shape] = found
    number = workers or workers_that_pay(devices, count)
    gains = _gains(trials, ensemble, number, logs) if times == 1 else {}
    costs = [
        _cost(
            trial,
            measured[shape_of(trial.experiment)],
            gain=gains.get(kind_of(trial.experiment), 1.0),
        )
        for trial in trials
    ]
    device = next(iter(measured.values()))["device"]
    return Estimate(costs, min(number, count), device, times)


def shape_of(experiment: Experiment) -> str:
    """What the time of a step hangs on: trials of one shape take steps of the same kind."""
    plain = plain_experiment(experiment)
    train = {key: value for key, value in plain["train"].items() if key not in _BUDGET}
    rest = {key: value for key, value in plain.items() if key not in _FREE and key != "train"}
    return json.dumps({**rest, "train": train}, sort_keys=True)


def _measure(
    experiments: Sequence[Experiment], workers: int, logs: Path
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Devices of the machine, and what a probe found, for each experiment in turn."""
    crew = Crew(logs, "probe")
    worker = crew.start(shares(workers, 0, worker=0, visible=None))
    left = list(experiments)
    devices = 0
    try:
        while left:
            for _, said in crew.listen(1.0):
                if isinstance(said, Gone):
                    last = worker.log.read_text("utf-8", errors="replace").splitlines()[-3:]
                    raise EmergectlError(f"the probe died ({said.in_words()}): {' '.join(last)}")
                if "ready" in said:
                    devices = said["devices"]
                else:
                    left.pop(0)
                    yield devices, said["probed"]
                if left:
                    worker.tell(as_line(probe=plain_experiment(left[0])))
    finally:
        crew.end()


def _gains(
    trials: Sequence[Trial], ensemble: Wish, workers: int, logs: Path
) -> dict[str | None, float]:
    """Kind of trial → how many times the tokens per second of one alone its ensembles make."""
    alike: dict[str | None, list[Experiment]] = {}
    for trial in trials:
        alike.setdefault(kind_of(trial.experiment), []).append(trial.experiment)
    sizes: dict[str | None, list[int]] = {}
    for kind, experiments in alike.items():
        share = -(-len(experiments) // workers)
        if kind is not None and isinstance(ensemble, int) and share > 1:
            sizes[kind] = [min(ensemble, share)]
        elif kind is not None and ensemble == "auto" and share >= FEWEST:
            sizes[kind] = candidates(share)
    if not sizes:
        return {}
    crew = Crew(logs, "weigh")
    worker = crew.start(shares(workers, 0, worker=0, visible=None))
    left, gains = list(sizes), dict[str | None, float]()
    try:
        while left:
            for _, said in crew.listen(1.0):
                if isinstance(said, Gone):
                    raise EmergectlError(f"the probe died ({said.in_words()}); see {worker.log}")
                if "weighed" in said:
                    kind, rates = left.pop(0), dict(said["weighed"])
                    size = max(rates) if isinstance(ensemble, int) and rates else 1
                    size = best_size(rates) if ensemble == "auto" and rates else size
                    gains[kind] = rates[size] / rates[1] if rates else 1.0
                if left:
                    worker.weigh(plain_experiment(alike[left[0]][0]), sizes[left[0]])
    finally:
        crew.end()
    return gains


def _cost(trial: Trial, found: Mapping[str, Any], *, gain: float = 1.0) -> Cost:
    experiment = trial.experiment
    budget = plan_budget(
        experiment.train,
        rows_per_epoch=found["rows_per_epoch"],
        tokens_per_step=found["tokens_per_step"],
        flops_per_step=found["flops_per_step"],
    )
    steps = budget.steps
    by_steps = math.inf if steps is None else steps * found["step_seconds"] / gain
    epoch = Fraction(found["rows_per_epoch"], experiment.train.batch_size)
    looks = _looks(experiment.evaluation.every, steps, epoch)
    training = min(by_steps, budget.seconds or math.inf)
    weights = found["parameters"] * _BYTES_PER_PARAMETER
    checkpoint = weights * (1 + _STATES_OF[experiment.optimizer.name])
    snapshots = _looks(experiment.snapshots.every, steps, epoch, ends=False)
    return Cost(
        trial=trial,
        parameters=found["parameters"],
        non_embedding_parameters=found["non_embedding_parameters"],
        steps=steps,
        tokens=None if steps is None else float(steps * found["tokens_per_step"]),
        flops=None if steps is None else steps * found["flops_per_step"],
        seconds=found["prepare_seconds"] + training + looks * found["evaluation_seconds"],
        bytes=_CHECKPOINTS_KEPT * checkpoint + snapshots * weights,
    )


def _looks(every: Any, steps: int | None, epoch: Fraction, *, ends: bool = True) -> int:
    """How often something on a schedule happens; with `ends` before the first step and at the last
    as well, whatever the schedule."""
    if steps is None:
        return 2 if ends else 0
    if isinstance(every, int):
        return steps // every + (1 if ends else 0) + (1 if ends and steps % every else 0)
    candidates = every if isinstance(every, list) else _log_steps(steps)
    if every == "epoch":
        candidates = [math.ceil(epoch * number) for number in range(1, int(steps / epoch) + 1)]
    due = {
        step
        for step in candidates
        if 0 <= step <= steps and is_due(every, step, steps_per_epoch=epoch)
    }
    return len(due | ({0, steps} if ends else set()))


def _log_steps(steps: int) -> set[int]:
    decades = math.ceil(math.log10(max(steps, 2))) + 1
    return {round(10 ** (k / 8)) for k in range(8 * decades + 1)}


class DurationForecast:
    """How long the trials that are left will take, from those that are done or well under way.

    A trial takes as long for a token as others of its shape; where none has been seen, a part that
    is the same for all and a part that grows with the model, as far as the sizes seen tell.
    """

    def __init__(self, trials: Mapping[str, Experiment]) -> None:
        self._shapes = {key: shape_of(experiment) for key, experiment in trials.items()}
        self._works = {key: _work(experiment) for key, experiment in trials.items()}
        self._seconds: dict[str, float] = {}
        self._paces: dict[str, float] = {}
        self._line = (0.0, 0.0)

    def takes(self, seconds: Mapping[str, float]) -> None:
        """Trials took so long, or will at their pace."""
        self._seconds.update(seconds)
        sums: dict[str, tuple[float, float, float]] = {}
        for key, time in self._seconds.items():
            tokens, parameters = self._works.get(key, _UNKNOWN_WORK)
            shape = self._shapes.get(key, "")
            _, times, work = sums.get(shape, (0.0, 0.0, 0.0))
            sums[shape] = (parameters, times + time, work + tokens)
        self._paces = {shape: times / work for shape, (_, times, work) in sums.items()}
        if sums:
            sizes = [parameters for parameters, _, _ in sums.values()]
            self._line = _line_through(np.array(sizes), np.array([*self._paces.values()]))

    def expected(self, key: str) -> float | None:
        """Seconds that a trial takes; None where nothing is known of any."""
        if not self._paces:
            return None
        tokens, parameters = self._works.get(key, _UNKNOWN_WORK)
        fixed, growing = self._line
        pace = self._paces.get(self._shapes.get(key, ""), fixed + growing * parameters)
        return pace * tokens


_UNKNOWN_WORK = (1.0, 0.0)


def _work(experiment: Experiment) -> tuple[float, float]:
    """(tokens, parameters) of a trial, as far as its file tells: only ratios matter."""
    train = experiment.train
    size = experiment.model.size
    parameters = 0.0 if size is None else float(parameters_of(size))
    if train.tokens is not None:
        return train.tokens, parameters
    if train.flops is not None:
        return train.flops / max(parameters, 1.0), parameters
    if train.epochs is not None:
        return train.epochs, parameters
    if train.steps is None and train.minutes is not None:
        return train.minutes, parameters
    return float((train.steps or 1) * train.batch_size), parameters


def _line_through(sizes: NDArray[np.float64], paces: NDArray[np.float64]) -> tuple[float, float]:
    """(a, b) of pace = a + b · parameters, neither below nothing, errors relative to each pace."""
    if len(set(sizes)) == 1 or not paces.all():
        return float(paces.mean()), 0.0
    largest = sizes.max()
    (fixed, growing), _ = nnls(
        np.stack([1 / paces, sizes / largest / paces], axis=1), np.ones(len(paces))
    )
    return float(fixed), float(growing / largest)
