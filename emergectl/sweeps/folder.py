"""A sweep's own directory, `RUNS/sweeps/NAME/`, and how its trials stand.

    sweep.yaml      the file as it was read last
    plan.json       its trials: key and values of each
    trials/KEY.json which run is the trial's, how often it was retried, how often it crashed
    claims/         who is at work on what (see `claims`)
    hosts/          one lock a machine
    search.journal  Optuna's, where the sweep is a search
    log.txt, logs/  what the drivers said; what the workers printed
    stop            changes when somebody asks to stop

A trial's key is the hash of its experiment; in a search, its place (`search-0007`). Whether a trial
is done is read from its run, never from here: a record only says which run that is. It is written
before the run's directory is made, so that a start that was killed in between is made good in the
same directory.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Container, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from emergectl.errors import RequestError
from emergectl.store.atomic import write_all, write_bytes, write_json, write_text
from emergectl.store.locate import list_runs
from emergectl.store.measurements import Direction
from emergectl.store.run import read_facts
from emergectl.store.status import read_status, timestamp, utc_now
from emergectl.sweeps.marks import is_asked

TrialState = Literal[
    "waiting",
    "running",
    "trained",
    "done",
    "pruned",
    "failed",
    "preempted",
    "interrupted",
]
"""trained: but not asked all yet that the sweep asks"""
SETTLED: tuple[TrialState, ...] = ("done", "pruned")
PRUNED = "pruned"
"""how the reason of a run begins that a search gave up: it is done as far as it will go"""


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """What the sweep remembers of a trial, beside its run."""

    key: str
    trial: str
    """hash of the experiment"""
    run: str
    """id of the run that is the trial's"""
    values: dict[str, Any] = field(default_factory=dict)
    retries: int = 0
    """how often it was taken up again after it had failed"""
    crashes: int = 0
    """how often it took its process down"""
    number: int | None = None
    """of a search: Optuna's number of the trial"""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a trial stands, as its run says."""

    state: TrialState
    step: int = 0
    seconds: float = 0.0
    reason: str | None = None
    record: TrialRecord | None = None
    path: Path | None = None
    trained: bool = False
    """whether its training is at its end, whatever became of what it was asked"""


@dataclass(frozen=True)
class Planned:
    """A trial as plan.json has it."""

    key: str
    values: dict[str, Any]


@dataclass(frozen=True)
class SweepFolder:
    """The directory of a sweep in a runs directory."""

    root: Path
    name: str
    asks: str | None = None
    """digest of what each trial is asked once it is trained; None: nothing"""

    @property
    def path(self) -> Path:
        """Where the sweep's own files are."""
        return self.root / "sweeps" / self.name

    def make(self) -> None:
        """Make the directory and what belongs in it. Raises RequestError where that cannot be."""
        try:
            for part in ("trials", "claims", "hosts", "logs"):
                (self.path / part).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RequestError(f"{self.path}: cannot be made ({error.strerror})") from None

    def write_plan(
        self, source: Path, planned: Sequence[Planned], judged: tuple[str, Direction | None] | None
    ) -> None:
        """Keep the sweep file as it is, its trials, and what a search judges by."""
        write_bytes(self.path / "sweep.yaml", source.read_bytes())
        trials = [asdict(each) for each in planned]
        metric, direction = judged or (None, None)
        told = {"metric": metric, "direction": direction, "asks": self.asks, "trials": trials}
        write_json(self.path / "plan.json", told)

    def read_plan(self) -> list[Planned]:
        """The trials as the latest start had them. Raises RequestError where there was none."""
        trials = self._plan()["trials"]
        return [Planned(str(each["key"]), dict(each["values"])) for each in trials]

    def as_begun(self) -> SweepFolder:
        """This folder with what the latest start asks of its trials."""
        return replace(self, asks=self._plan().get("asks"))

    def read_metric(self) -> tuple[str | None, Direction | None]:
        """What a search judges by, and which is better; (None, None) for a grid."""
        plan = self._plan()
        return plan.get("metric"), plan.get("direction")

    def _plan(self) -> dict[str, Any]:
        path = self.path / "plan.json"
        try:
            plan = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise RequestError(f"the sweep {self.name!r} has not begun in {self.root}") from None
        except ValueError as error:
            raise RequestError(f"{path}: not JSON ({error})") from None
        if not isinstance(plan, dict) or not isinstance(plan.get("trials"), list):
            raise RequestError(f"{path}: not the plan of a sweep")
        return plan

    def record(self, key: str) -> TrialRecord | None:
        """What is known of a trial; None where it never began, or its record cannot be read."""
        try:
            data = json.loads((self.path / "trials" / f"{key}.json").read_bytes())
            return TrialRecord(**data)
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def keep(self, record: TrialRecord) -> TrialRecord:
        """Write a record."""
        write_json(self.path / "trials" / f"{record.key}.json", asdict(record))
        return record

    def tidy(self, claimed: Container[str]) -> None:
        """Clear away records half-written by drivers that were killed; claimed trials are left."""
        for path in (self.path / "trials").glob(".*.tmp"):
            if path.name.removeprefix(".").split(".")[0] not in claimed:
                path.unlink(missing_ok=True)

    def crashed(self, key: str) -> int:
        """Count that a trial took its process down; how often by now."""
        record = self.record(key)
        if record is None:
            return 0
        return self.keep(replace(record, crashes=record.crashes + 1)).crashes

    def recover(self) -> int:
        """Write anew the records that are missing of runs that are this sweep's; how many.

        So a sweep's directory may be lost without losing a run.
        """
        known = {path.stem for path in (self.path / "trials").glob("*.json")}
        found = 0
        for path in reversed(list_runs(self.root)):  # The newest is written last.
            try:
                facts = read_facts(path)
            except RequestError:
                continue  # Not to be read: `runs list` says so, and it is nobody's trial.
            key = facts.get("sweep_key")
            if facts.get("sweep") == self.name and isinstance(key, str) and key not in known:
                trial, values = str(facts.get("trial")), dict(facts.get("values") or {})
                self.keep(TrialRecord(key=key, trial=trial, run=path.name, values=values))
                found += 1
        return found

    def look(self, key: str) -> Standing:
        """How a trial stands."""
        record = self.record(key)
        if record is None:
            return Standing(state="waiting")
        path = self.root / record.run
        if not (path / "run.json").exists():
            return Standing(state="waiting", record=record)
        try:
            status = read_status(path)
        except RequestError:
            return Standing(state="interrupted", record=record, path=path)
        reason = status.reason
        state: TrialState
        if status.live:
            state = "running"
        elif status.state == "failed" and status.exit_code is None:
            state = "interrupted"  # Nobody wrote down an end: the process was killed.
        elif status.state == "done" and (reason or "").startswith(PRUNED):
            state = "pruned"
        else:
            state = status.state  # type: ignore[assignment]
        trained = state == "done"
        if trained and self.asks is not None:
            over, trouble = is_asked(path, self.asks)
            state, reason = ("failed", trouble) if trouble else (state if over else "trained", None)
        return Standing(
            state=state,
            step=status.step,
            seconds=status.seconds,
            reason=reason,
            record=record,
            path=path,
            trained=trained,
        )

    def log(self, line: str) -> None:
        """Add a line to the sweep's log, with the time in UTC."""
        content = f"{timestamp(utc_now())} {line}\n".encode()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        descriptor = os.open(self.path / "log.txt", flags, 0o666)
        try:
            write_all(descriptor, content)
        finally:
            os.close(descriptor)

    def ask_to_stop(self) -> None:
        """Ask every driver that is at work now, on whatever machine, to stop."""
        write_text(self.path / "stop", secrets.token_hex(8))

    def stop_token(self) -> str | None:
        """What changes when somebody asks to stop; a driver remembers it from its start."""
        try:
            return (self.path / "stop").read_text("ascii")
        except FileNotFoundError:
            return None


def count_states(standings: Iterable[Standing]) -> dict[str, int]:
    """How many trials stand how."""
    counts: dict[str, int] = {}
    for standing in standings:
        counts[standing.state] = counts.get(standing.state, 0) + 1
    return counts
