"""One run directory, held by the one process that writes to it.

`create_run` claims a new directory (`os.mkdir` is the claim: of fifty starts in one second each
gets its own), `open_run` takes up an old one. Both hold the run's lock until `close`; the system
frees it when the process dies, however it dies.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from emergectl.errors import AlreadyRunningError, RequestError
from emergectl.store.atomic import (
    TEMPORARY_SUFFIX,
    DiskFullError,
    disk_full_named,
    fsync_folder,
    write_all,
    write_json,
    write_text,
)
from emergectl.store.lock import drop_ballast, take_lock
from emergectl.store.masking import mask, mask_values
from emergectl.store.metrics_log import MetricsLog, read_metrics
from emergectl.store.owner import is_here, this_process
from emergectl.store.status import (
    HEARTBEAT_SECONDS,
    UNFINISHED,
    State,
    Status,
    read_status,
    timestamp,
    utc_now,
)

if TYPE_CHECKING:
    from emergectl.config.schema import Experiment

_OF_A_START = {"run.lock", "status.json", "metrics.jsonl", "experiment.yaml"} | {
    "checkpoints",
    "snapshots",
}
_held: weakref.WeakSet[Run] = weakref.WeakSet()


class Run:
    """A run directory under this process's lock; made by `create_run` and `open_run` alone."""

    def __init__(self, path: Path, run_id: str, former: Status | None) -> None:
        self._lock = _locked(path)
        self.path = path
        self.id = run_id
        self.former = former
        """how an old run stood when it was opened; None for a new one"""
        self.checkpoints = path / "checkpoints"
        self.snapshots = path / "snapshots"
        self.metrics = MetricsLog(path / "metrics.jsonl")
        self._mutex = threading.Lock()  # The status is written by the loop and by the pulse.
        self._began: float | None = None
        self._written = float("-inf")
        self._seconds_before = former.seconds if former else 0.0
        status = former or Status(state="pending", started=timestamp(utc_now()))
        self._status: dict[str, Any] = asdict(status)
        self._closing = threading.Event()
        self._pulse = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        _held.add(self)

    def describe(self, **fields: Any) -> None:
        """Merge facts about the run (devices, parameters, fingerprints …) into run.json."""
        facts = read_facts(self.path) | mask_values(fields)
        write_json(self.path / "run.json", facts)

    def heartbeat(self, step: int) -> None:
        """Tell that the run lives and has done `step` steps; cheap, so call it at every step.

        The file is written at most once a second; beside it a thread renews the sign of life
        through long evaluations and compilations.
        """
        with self._mutex:
            self._status["step"] = step
            if time.monotonic() - self._written >= 1.0:
                self._write_status(durable=False)

    def set_status(
        self,
        state: State,
        *,
        step: int | None = None,
        exit_code: int | None = None,
        reason: str | None = None,
    ) -> None:
        """Write down how the run stands; anything but `pending` and `running` ends it."""
        with self._mutex:
            now = timestamp(utc_now())
            if state == "running" and self._began is None:
                self._began = time.monotonic()
                self._status["started"] = now
            self._status |= {
                "state": state,
                "step": self._status["step"] if step is None else step,
                "finished": None if state in UNFINISHED else now,
                "exit_code": exit_code,
                "reason": None if reason is None else mask(reason),
            }
            try:
                self._write_status(durable=True)
            except DiskFullError:
                drop_ballast(self._lock)
                self._write_status(durable=True)

    def log(self, line: str) -> None:
        """Add a line to log.txt, with the time in UTC; secrets are masked."""
        content = f"{timestamp(utc_now())} {mask(line)}\n".encode()
        path = self.path / "log.txt"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        with disk_full_named(path, len(content)):
            descriptor = os.open(path, flags, 0o666)
            try:
                write_all(descriptor, content)
            finally:
                os.close(descriptor)

    def close(self) -> None:
        """Let go of the run; a second time does nothing. The status stays as it was last set."""
        if self._lock < 0:
            return
        self._closing.set()
        if self._pulse.is_alive():
            self._pulse.join()
        self.metrics.close()
        self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close, and say `failed` where nothing was said about the end."""
        try:
            if self._status["state"] in UNFINISHED and self._lock >= 0:
                reason = f"{kind.__name__}: {error}" if kind else "stopped without saying why"
                code = getattr(error, "exit_code", 1)
                self.set_status("failed", exit_code=code, reason=reason)
        finally:
            self.close()

    def _begin(self) -> None:
        """Enter this process as the owner and start the pulse."""
        self._status["owner"] = this_process().to_dict()
        self._write_status(durable=True)
        self._pulse.start()

    def _write_status(self, *, durable: bool) -> None:
        at_work = 0.0 if self._began is None else time.monotonic() - self._began
        self._status["seconds"] = round(self._seconds_before + at_work, 3)
        self._status["heartbeat"] = timestamp(utc_now())
        write_json(self.path / "status.json", self._status, durable=durable)
        self._written = time.monotonic()

    def _beat(self) -> None:
        while not self._closing.wait(HEARTBEAT_SECONDS):
            with self._mutex:
                over = self._status["state"] not in UNFINISHED
                if over or time.monotonic() - self._written < HEARTBEAT_SECONDS:
                    continue
                try:
                    self._write_status(durable=False)
                except (OSError, DiskFullError):
                    continue  # The loop's own writes say so; a missed beat is made up for.

    def _release(self) -> None:
        """Close the lock's descriptor: the last one to be closed frees the lock."""
        os.close(self._lock)
        self._lock = -1
        _held.discard(self)


def create_run(
    root: Path,
    experiment: Experiment,
    *,
    argv: Sequence[str],
    parent: str | None = None,
    run_dir: Path | None = None,
    run_id: str | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Run:
    """Claim a new run directory and describe the run in it; `pending`, and held by this process.

    The directory is `root/ID` with the id YYYYMMDD-HHMMSS-name-xxxx (UTC), or `run_dir`, which
    must be new or empty. With `run_id`, one of `new_run_id` that was written down beforehand, a
    start that was killed half-way is made good in its own directory. `facts` stand in run.json
    from the beginning. Raises RequestError where `run_dir` is taken or a folder cannot be made,
    AlreadyRunningError where a process is at work there.
    """
    from emergectl.store import provenance  # what it imports, readers have no use for

    root = root.absolute()
    if run_id is not None:
        run_dir = root / run_id
    claimed, path = _claim(root, experiment.name, run_dir)
    run_id = run_id or claimed
    with ExitStack() as undo:
        run = Run(path, run_id, None)
        undo.callback(run.close)
        _check_free(path)  # Again, now that nobody else can be filling it.
        _clear_temporary(path)
        undo.callback(shutil.rmtree, path)  # Half a run would only puzzle.
        run._begin()
        for folder in (run.checkpoints, run.snapshots):
            folder.mkdir(exist_ok=True)
        text, digest = provenance.experiment_as_kept(experiment)
        write_text(path / "experiment.yaml", text)
        own = {
            "id": run_id,
            "name": experiment.name,
            "stage": experiment.stage,
            "created": timestamp(utc_now()),
            "parent": parent,
            "seed": experiment.seed,
            "experiment_hash": digest,
        }
        # Last, since a folder with a run.json is a run.
        write_json(path / "run.json", own | mask_values(dict(facts or {})) | provenance.facts(argv))
        fsync_folder(path.parent)
        undo.pop_all()
    return run


def open_run(path: Path) -> Run:
    """Take up an existing run for writing; its state stays until the caller sets it.

    What a killed predecessor left half-written is cleared away. Raises RequestError where `path`
    is not a run, AlreadyRunningError (pid, host, since when) where a process is at work on it.
    """
    from emergectl.store.checkpoints import sweep_temporary

    path = path.absolute()
    run_id = read_facts(path)["id"]
    former = read_status(path)
    if former.live and former.owner and not is_here(former.owner):
        raise _already_running(path, former)  # Its lock may not reach across hosts.
    with ExitStack() as undo:
        run = Run(path, run_id, former)
        undo.callback(run.close)
        _clear_temporary(path)
        for folder in (run.checkpoints, run.snapshots):
            sweep_temporary(folder)
        run._begin()
        undo.pop_all()
    return run


def read_facts(path: Path) -> dict[str, Any]:
    """run.json of a run directory; RequestError where it is not one."""
    try:
        facts = json.loads((path / "run.json").read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise RequestError(f"{path}: not a run (it has no run.json)") from None
    except ValueError as error:
        raise RequestError(f"{path}/run.json: not JSON ({error})") from None
    if not isinstance(facts, dict) or not isinstance(facts.get("id"), str):
        raise RequestError(f"{path}/run.json: names no run id")
    return facts


def new_run_id(name: str) -> str:
    """An id for a run of this moment: YYYYMMDD-HHMMSS-name-xxxx (UTC)."""
    moment = datetime.fromtimestamp(time.time(), UTC)
    return f"{moment:%Y%m%d-%H%M%S}-{name}-{secrets.token_hex(2)}"


def _claim(root: Path, name: str, run_dir: Path | None) -> tuple[str, Path]:
    """Make the run's directory, which nobody else can have made, and give it an id."""
    parent = run_dir.absolute().parent if run_dir else root
    try:
        parent.mkdir(parents=True, exist_ok=True)
        while True:
            run_id = new_run_id(name)
            path = run_dir.absolute() if run_dir else root / run_id
            try:
                path.mkdir()
            except FileExistsError:
                if not run_dir:
                    continue
                _check_free(path)
            return run_id, path
    except OSError as error:
        raise RequestError(f"{parent}: no run can be made there ({error.strerror})") from None


def _check_free(run_dir: Path) -> None:
    """A folder is free when it is empty or holds what a start left that was killed at once."""
    if not run_dir.is_dir():
        raise RequestError(f"{run_dir}: is not a folder")
    if (run_dir / "run.json").exists():
        status = read_status(run_dir)
        if status.live:
            raise _already_running(run_dir, status)
        raise RequestError(f"{run_dir}: already holds a run; `--resume {run_dir}` goes on with it")
    for entry in run_dir.iterdir():
        if entry.name not in _OF_A_START and not entry.name.endswith(TEMPORARY_SUFFIX):
            raise RequestError(
                f"{run_dir}: is not empty ({entry.name}); a run wants a folder of its own"
            )


def _clear_temporary(path: Path) -> None:
    """Remove what a killed predecessor left half-written."""
    for leftover in path.glob(f".*{TEMPORARY_SUFFIX}"):
        leftover.unlink()


def _locked(path: Path) -> int:
    lock = take_lock(path)
    if lock is None:
        raise _already_running(path, None)
    return lock


def _already_running(path: Path, status: Status | None) -> AlreadyRunningError:
    with suppress(RequestError):  # Claimed this instant, it may have no status yet.
        status = status or read_status(path)
    if status is None or status.owner is None:
        return AlreadyRunningError(f"{path.name}: another process is at work on it")
    owner = status.owner
    who = f"pid {owner.pid} on {owner.host}"
    last = "" if is_here(owner) else f", last heard of at {status.heartbeat}"
    return AlreadyRunningError(f"{path.name}: already running: {who} since {status.started}{last}")


def _forget_inherited_locks() -> None:
    """A forked child (a data worker) must not keep its dead parent's lock."""
    for run in list(_held):
        run._release()


os.register_at_fork(after_in_child=_forget_inherited_locks)


def check_removable(path: Path) -> None:
    """Raise AlreadyRunningError where a process is at work on a run."""
    status = read_status(path) if (path / "status.json").exists() else None
    if status and status.live:
        raise _already_running(path, status)


def remove_run(path: Path) -> None:
    """Delete a run directory for good; AlreadyRunningError where a process is at work on it.

    It is renamed first, so that a kill half-way leaves rubbish and not half a run.
    """
    check_removable(path)
    _remove(path)


def forget_unbegun(path: Path) -> None:
    """Delete a run that this process made and closed, if it never measured anything.

    For a request that turns out to be wrong once data or weights are read: it was no run.
    """
    if not any(read_metrics(path / "metrics.jsonl")):
        _remove(path)


def _remove(path: Path) -> None:
    lock = _locked(path)
    try:
        rubbish = path.with_name(f".removed-{path.name}-{secrets.token_hex(4)}")
        path.rename(rubbish)
        shutil.rmtree(rubbish)
    except OSError as error:
        raise RequestError(f"{path}: cannot be removed ({error.strerror})") from None
    finally:
        os.close(lock)
