"""status.json, and whether what it says is still true.

The file holds the last word of the process that runs the run; a process that was killed had no last
word. So a reader never takes `running` on trust: `read_status` looks whether the owner lives and
reports a run whose owner is gone as `failed`, with the reason. On the owner's own host that is
decided by boot id, pid and start time, without any clock. From elsewhere it goes by the heartbeat,
which a living run renews every `HEARTBEAT_SECONDS`, and, where that has stopped, by the lock; a
heartbeat from the future (a clock that was set back) is a sign of life.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from emergectl.errors import RequestError
from emergectl.store.owner import Owner, is_alive, is_here, why_dead

State = Literal["pending", "running", "done", "failed", "preempted"]
STATES: tuple[State, ...] = get_args(State)
UNFINISHED: tuple[State, ...] = ("pending", "running")

HEARTBEAT_SECONDS = 15.0
SILENCE_SECONDS = 180.0
"""an owner on another host, silent for so long and without its lock, is taken for dead"""


@dataclass(frozen=True, kw_only=True)
class Status:
    """How a run stands."""

    state: State
    """as derived: a `running` whose owner is dead is `failed`"""
    step: int = 0
    seconds: float = 0.0
    """time at work, over all starts, by a clock that nobody sets"""
    started: str | None = None
    """UTC, ISO 8601: the latest start"""
    heartbeat: str | None = None
    """UTC, ISO 8601: the latest sign of life"""
    finished: str | None = None
    """UTC, ISO 8601; None while it runs"""
    exit_code: int | None = None
    reason: str | None = None
    owner: Owner | None = None

    @property
    def live(self) -> bool:
        """Whether a process is at work on the run."""
        return self.state in UNFINISHED


def read_status(run: Path) -> Status:
    """The status of the run directory `run`, checked against the living.

    Raises RequestError where there is no status.json.
    """
    data = _read(run / "status.json")
    status = _parse(data)
    if status.live and (reason := _why_not_alive(run, status)):
        return _died(status, reason)
    return status


def utc_now() -> datetime:
    """The time, in UTC, to the millisecond."""
    return datetime.now(UTC)


def timestamp(moment: datetime) -> str:
    """ISO 8601 in UTC to the millisecond: 2026-11-23T15:42:33.123Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_timestamp(text: str | None) -> datetime | None:
    """The moment of a `timestamp`; None for None and for what is not one."""
    try:
        moment = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return moment.replace(tzinfo=moment.tzinfo or UTC) if moment else None


def lock_is_held(run: Path) -> bool:
    """Whether some process holds the run's lock at this moment.

    The question itself takes the lock, shared, for an instant: whoever wants it tries again.
    """
    try:
        descriptor = os.open(run / "run.lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # A file system without locks cannot tell.
        return False
    finally:
        os.close(descriptor)
    return False


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise RequestError(f"{path.parent}: not a run (it has no status.json)") from None
    except ValueError:
        data = None
    if isinstance(data, dict) and data.get("state") in STATES:
        numbers = [data.get(key, 0) for key in ("step", "seconds")]
        if all(isinstance(number, (int, float)) for number in numbers):
            return data
    return {"state": "failed", "reason": "status.json cannot be read"}


def _parse(data: dict[str, Any]) -> Status:
    fields = {k: data[k] for k in Status.__dataclass_fields__ if k in data and k != "owner"}
    return Status(**fields, owner=Owner.from_dict(data.get("owner")))


def _why_not_alive(run: Path, status: Status) -> str | None:
    """Why the owner of an unfinished run must be dead; None where it lives."""
    owner = status.owner
    if owner is None:
        return "no process owns it"
    if is_here(owner):
        return None if is_alive(owner) else why_dead(owner)
    heartbeat = parse_timestamp(status.heartbeat)
    if heartbeat and (utc_now() - heartbeat).total_seconds() < SILENCE_SECONDS:
        return None
    if lock_is_held(run):
        return None
    return f"no sign of life from {owner.host} since {status.heartbeat}"


def _died(status: Status, reason: str) -> Status:
    when = "before it began" if status.state == "pending" else f"at step {status.step:,} or later"
    died = f"died {when}: {reason}"
    return replace(status, state="failed", reason=died, finished=status.heartbeat)
