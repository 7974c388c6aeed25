"""Who holds a run, and whether that process still lives.

A process is named by host, boot, process-id namespace, pid and start time. Start times come from
the kernel in ticks since boot, so a clock that is set back or forth changes nothing, and a pid used
again by another process is told apart. A process of another host (or container) cannot be looked
up: there the caller goes by heartbeat and lock.
"""

from __future__ import annotations

import os
import socket
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Owner:
    """A process, for ever distinguishable from every other."""

    host: str
    boot: str
    """boot id of the machine; on systems without one, empty"""
    namespace: str
    """process-id namespace: two containers on one machine number their processes separately"""
    pid: int
    process_start: str
    """start time as the system tells it; equal for the same process, whatever the clock does"""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for status.json."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Any) -> Owner | None:
        """The owner in status.json; None where there is none or it is not one."""
        if not isinstance(data, dict) or not isinstance(data.get("pid"), int):
            return None
        text = {k: str(data.get(k, "")) for k in ("host", "boot", "namespace", "process_start")}
        return cls(pid=data["pid"], **text)


def this_process() -> Owner:
    """The calling process."""
    pid = os.getpid()
    return Owner(
        host=socket.gethostname(),
        boot=boot_id(),
        namespace=_namespace(),
        pid=pid,
        process_start=process_start(pid) or "",
    )


def is_here(owner: Owner) -> bool:
    """Whether this process can look the owner up: same host and process-id namespace."""
    return owner.host == socket.gethostname() and (
        owner.boot != boot_id() or owner.namespace == _namespace()
    )


def is_alive(owner: Owner) -> bool:
    """Whether an owner on this host (see `is_here`) still runs."""
    if owner.boot != boot_id():
        return False
    return process_start(owner.pid) == owner.process_start


def why_dead(owner: Owner) -> str:
    """One clause saying how one knows that an owner on this host is gone."""
    if owner.boot != boot_id():
        return f"{owner.host} was started again since"
    if process_start(owner.pid) is not None:
        return f"pid {owner.pid} is another process now"
    return f"process {owner.pid} is gone"


@cache
def boot_id() -> str:
    """An id that changes whenever the machine starts (Linux); empty elsewhere."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else ""


def process_start(pid: int) -> str | None:
    """When a process started, as an opaque text; None where it does not run (or is a zombie)."""
    if not Path("/proc/self/stat").exists():
        return _process_start_portable(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command's name stands in brackets and may hold anything; fields count from after it.
    fields = stat[stat.rindex(b")") + 2 :].split()
    state, start_ticks = fields[0], fields[19]
    return None if state in (b"Z", b"X") else start_ticks.decode()


def _process_start_portable(pid: int) -> str | None:
    import psutil

    try:
        process = psutil.Process(pid)
        alive = process.status() != psutil.STATUS_ZOMBIE
        return str(process.create_time()) if alive else None
    except psutil.NoSuchProcess:
        return None


@cache
def _namespace() -> str:
    path = Path("/proc/self/ns/pid")
    return str(path.readlink()) if path.is_symlink() else ""
