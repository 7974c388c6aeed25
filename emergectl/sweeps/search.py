"""Search through Optuna: which values come next, and what a trial's result says about them.

Optuna keeps a journal in the sweep's directory; what a trial is, and whether it is done, stays with
the sweep's own records and runs. So a search may be killed at any moment: a place of the search
that has a record goes on with its values, and a result that Optuna has not heard of is told again.
Two things that a journal file wants are done here: a last line that a kill has torn is cut off
before anything is appended, and the lock is one that the system frees when its holder dies.

The sampler is made anew for each trial from (seed, number of the trial), so what it draws is no
matter of how often the search was started.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emergectl.config.sweep_schema import SearchSpec
from emergectl.config.values import SearchRange, read_interval
from emergectl.errors import RequestError
from emergectl.sweeps.folder import Planned, Standing, SweepFolder, TrialRecord
from emergectl.sweeps.plan import Plan, Trial, make_trial, search_direction
from emergectl.sweeps.protocol import Order
from emergectl.sweeps.table import last_metrics
from emergectl.sweeps.work import kept_record, make_order, with_asks

if TYPE_CHECKING:
    import optuna

JOURNAL = "search.journal"


class JournalLock:
    """The journal's lock: a flock, and the mending of a torn last line while it is held."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._descriptor = -1

    def acquire(self) -> bool:
        """Wait for the lock; then the journal ends with a whole line."""
        path = self._journal.with_name(self._journal.name + ".lock")
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        mend_journal(self._journal)
        return True

    def release(self) -> None:
        """Let others write."""
        os.close(self._descriptor)
        self._descriptor = -1


def mend_journal(path: Path) -> None:
    """Cut off what a writer that was killed left behind the last whole line."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)


def open_study(folder: SweepFolder, search: SearchSpec) -> optuna.Study:
    """The search's study, made where it is not there yet."""
    import optuna

    pruner = (
        optuna.pruners.HyperbandPruner()
        if search.pruner == "hyperband"
        else optuna.pruners.NopPruner()
    )
    return optuna.create_study(
        study_name=folder.name,
        storage=_storage(folder),
        direction="maximize" if search_direction(search) == "up" else "minimize",
        pruner=pruner,
        load_if_exists=True,
    )


def _storage(folder: SweepFolder) -> Any:
    """The journal of a search, as Optuna reads it."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal = folder.path / JOURNAL
    lock = JournalLock(journal)
    lock.acquire()
    lock.release()
    return JournalStorage(JournalFileBackend(str(journal), lock_obj=lock))  # type: ignore[arg-type]


class SearchWork:
    """The trials of a search."""

    def __init__(self, plan: Plan, folder: SweepFolder, argv: Sequence[str]) -> None:
        assert plan.sweep.spec.search is not None
        self._plan, self._folder, self._argv = plan, folder, list(argv)
        self._search = plan.sweep.spec.search
        self._study = open_study(folder, self._search)
        self._distributions = {
            key: _distribution(read_interval(written))
            for key, written in self._search.space.items()
        }
        self._trials: dict[str, Any] = {}

    def planned(self) -> list[Planned]:
        """The places of the search; values come when a place is taken."""
        return planned_places(self._search)

    def order(self, key: str, standing: Standing) -> Order:
        """The place's own trial where it has one, else a new one."""
        record = standing.record
        if record is None:
            number, values = self._ask()
            trial = self._trial(values)
            standing = Standing(state="waiting", record=self._same(key, trial, number))
            record = kept_record(self._folder, key, trial, standing, number=number)
        else:
            trial = self._trial(self._drawn(record))
            record = kept_record(self._folder, key, trial, standing)
        order = make_order(self._folder, record, trial, self._argv, watch=self._search.metric)
        return with_asks(order, self._plan.asks, trial, standing)

    def kind(self, key: str) -> str | None:
        """None: a search learns from each trial before it draws the next."""
        del key
        return None

    def experiment(self, key: str) -> dict[str, Any]:
        """Never asked for: no trial of a search has a kind."""
        raise KeyError(key)

    def settled(self, key: str, standing: Standing) -> None:
        """Tell Optuna how a trial ended, unless it knows.

        Raises RequestError where the trial never measured what the search judges by.
        """
        import optuna

        del key
        record = standing.record
        if record is None or record.number is None:
            return
        frozen = self._study.get_trials(deepcopy=False)[record.number]
        if frozen.state.is_finished():
            return
        if standing.state == "pruned":
            self._study.tell(record.number, state=optuna.trial.TrialState.PRUNED)
        elif standing.path is None or (standing.state == "failed" and not standing.trained):
            self._study.tell(record.number, state=optuna.trial.TrialState.FAIL)
        else:
            value = self._value(standing.path)
            if math.isfinite(value):
                self._study.tell(record.number, value)
            else:
                self._study.tell(record.number, state=optuna.trial.TrialState.FAIL)

    def metric(self, key: str, step: int, value: float) -> bool:
        """Report a value on the way; whether the pruner gives the trial up."""
        import optuna

        if self._search.pruner is None or not math.isfinite(value):
            return False
        record = self._folder.record(key)
        if record is None or record.number is None:
            return False
        trial = self._trials.get(key)
        if trial is None:
            frozen = self._study.get_trials(deepcopy=False)[record.number]
            if frozen.state.is_finished():
                return False
            trial = self._trials[key] = optuna.trial.Trial(self._study, frozen._trial_id)
        trial.report(value, int(step))
        return bool(trial.should_prune())

    def _ask(self) -> tuple[int, dict[str, Any]]:
        number = len(self._study.get_trials(deepcopy=False))
        self._study.sampler = _sampler(self._search, number)
        trial = self._study.ask(self._distributions)
        return trial.number, {key: _plain(trial.params[key]) for key in self._distributions}

    def _drawn(self, record: TrialRecord) -> dict[str, Any]:
        """What Optuna drew for a place; its record tells where the journal was lost."""
        known = self._study.get_trials(deepcopy=False)
        if record.number is None or record.number >= len(known):
            return record.values
        return {key: _plain(value) for key, value in known[record.number].params.items()}

    def _trial(self, values: Mapping[str, Any]) -> Trial:
        sweep = self._plan.sweep
        point = {k: sweep.setting(v, "search", "space", k) for k, v in values.items()}
        return make_trial(sweep, point)

    def _same(self, key: str, trial: Trial, number: int) -> Any:
        """A record in the run of an earlier place that drew the same experiment."""
        from dataclasses import replace

        for planned in self.planned():
            record = self._folder.record(planned.key)
            if record is not None and record.trial == trial.id:
                same = replace(record, key=key, number=number, retries=0, crashes=0)
                return self._folder.keep(same)
        return None

    def _value(self, run: Path) -> float:
        last = last_metrics(run)
        value = last.get(self._search.metric)
        if not isinstance(value, int | float):
            there = ", ".join(sorted(name for name in last if "/" in name)) or "none"
            where = self._plan.sweep.document.where(["search", "metric"])
            raise RequestError(
                f"{where}: search.metric: no trial measures `{self._search.metric}`; "
                f"measured are: {there}"
            )
        return float(value)


def planned_places(search: SearchSpec) -> list[Planned]:
    """The places of a search, `search-0000` onwards."""
    return [Planned(f"search-{number:04}", {}) for number in range(search.trials)]


def importances(folder: SweepFolder) -> dict[str, float]:
    """Key → share of the metric's spread that it accounts for (fANOVA, Hutter et al. 2014), largest
    first; empty where the search has one key, or too few trials that are done to tell."""
    import optuna

    study = optuna.load_study(study_name=folder.name, storage=_storage(folder))
    done = [t for t in study.get_trials(deepcopy=False) if t.value is not None]
    if len(done) < 4 or len({t.value for t in done}) < 2 or len(done[0].params) < 2:
        return {}
    found = optuna.importance.get_param_importances(study)
    return {key: float(value) for key, value in found.items()}


def _sampler(search: SearchSpec, number: int) -> Any:
    import optuna

    seed = (search.seed * 1_000_003 + number) % (1 << 32)
    if search.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if search.sampler == "cmaes":
        return optuna.samplers.CmaEsSampler(seed=seed)
    # Trials that still run count as bad ones, so that workers do not all draw the same.
    return optuna.samplers.TPESampler(seed=seed, constant_liar=True)


def _distribution(space: list[Any] | SearchRange) -> Any:
    import optuna

    if isinstance(space, list):
        return optuna.distributions.CategoricalDistribution([json.dumps(each) for each in space])
    if space.whole:
        low, high = round(space.low), round(space.high)
        return optuna.distributions.IntDistribution(low, high, log=space.log)
    return optuna.distributions.FloatDistribution(space.low, space.high, log=space.log)


def _plain(value: Any) -> Any:
    """A drawn value as the experiment has it: choices from JSON, numbers cut to six digits."""
    if isinstance(value, str):
        return json.loads(value)
    return value if isinstance(value, int) else float(f"{value:.6g}")
