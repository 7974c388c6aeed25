"""What a driver still has to do: from a key of the plan to an order, and from its end to a result.

A grid knows its trials beforehand; a search draws one when its turn comes. Both are asked the same
things, so the driver does not know which it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from emergectl.store.run import new_run_id
from emergectl.sweeps.asked import Asks
from emergectl.sweeps.ensembles import kind_of
from emergectl.sweeps.folder import Planned, Standing, SweepFolder, TrialRecord
from emergectl.sweeps.plan import Plan, Trial
from emergectl.sweeps.protocol import Order, plain_experiment


class Work(Protocol):
    """The trials of a sweep, by key."""

    def planned(self) -> list[Planned]:
        """All keys, in the order in which they are to be begun."""

    def order(self, key: str, standing: Standing) -> Order:
        """What a worker is to do for a claimed trial that is not done; its record is written."""

    def kind(self, key: str) -> str | None:
        """What trials have in common that may be trained as one; None: not with any other."""

    def experiment(self, key: str) -> dict[str, Any]:
        """The experiment of a trial that has a kind, as plain data."""

    def settled(self, key: str, standing: Standing) -> None:
        """A trial is done, or failed for good. Told of every such trial, also of earlier starts."""

    def metric(self, key: str, step: int, value: float) -> bool:
        """A value of the watched metric came; whether the trial is to be given up."""


class GridWork:
    """The trials of a grid."""

    def __init__(self, plan: Plan, folder: SweepFolder, argv: Sequence[str]) -> None:
        self._trials = {trial.id: trial for trial in plan.trials}
        self._folder, self._asks = folder, plan.asks
        self._argv = list(argv)
        self._kinds: dict[str, str | None] = {}

    def planned(self) -> list[Planned]:
        """The trials as the plan has them."""
        return [Planned(key, dict(trial.values)) for key, trial in self._trials.items()]

    def order(self, key: str, standing: Standing) -> Order:
        """The trial's experiment, in its run."""
        trial = self._trials[key]
        record = kept_record(self._folder, key, trial, standing)
        order = make_order(self._folder, record, trial, self._argv)
        return with_asks(order, self._asks, trial, standing)

    def kind(self, key: str) -> str | None:
        """By the trial's experiment."""
        if key not in self._kinds:
            self._kinds[key] = kind_of(self._trials[key].experiment)
        return self._kinds[key]

    def experiment(self, key: str) -> dict[str, Any]:
        """As the plan has it."""
        return plain_experiment(self._trials[key].experiment)

    def settled(self, key: str, standing: Standing) -> None:
        """Nobody waits for a grid's results."""

    def metric(self, key: str, step: int, value: float) -> bool:
        """A grid gives no trial up."""
        del key, step, value
        return False


def kept_record(
    folder: SweepFolder, key: str, trial: Trial, standing: Standing, *, number: int | None = None
) -> TrialRecord:
    """The record with which a trial is begun or gone on with, on disk before its run is."""
    record = standing.record
    if record is None:
        run = new_run_id(trial.experiment.name)
        values = dict(trial.values)
        return folder.keep(
            TrialRecord(key=key, trial=trial.id, run=run, values=values, number=number)
        )
    if standing.state == "failed":
        return folder.keep(replace(record, retries=record.retries + 1))
    return record


def with_asks(order: Order, asks: Asks | None, trial: Trial, standing: Standing) -> Order:
    """The order with what the trial is asked once it is trained; that alone where it is."""
    if asks is None:
        return order
    return replace(order, asks=asks.of(trial.experiment), trained=standing.trained)


def make_order(
    folder: SweepFolder,
    record: TrialRecord,
    trial: Trial,
    argv: Sequence[str],
    *,
    watch: str | None = None,
) -> Order:
    """The order to run a trial in the run of its record."""
    return Order(
        key=record.key,
        root=str(folder.root),
        run=record.run,
        experiment=plain_experiment(trial.experiment),
        facts={
            "sweep": folder.name,
            "sweep_key": record.key,
            "trial": trial.id,
            "values": record.values,
        },
        argv=list(argv),
        watch=watch,
    )
