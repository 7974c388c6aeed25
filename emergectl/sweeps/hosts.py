"""Machines: what each is called, and that none runs the same sweep twice at once."""

from __future__ import annotations

import os

from emergectl.errors import AlreadyRunningError
from emergectl.store.lock import take_lock
from emergectl.store.owner import Owner, this_process
from emergectl.sweeps.folder import SweepFolder


class HostLock:
    """The promise that one machine never runs the same sweep twice at once."""

    def __init__(self, folder: SweepFolder) -> None:
        here = this_process()
        place = folder.path / "hosts" / host_name(here)
        place.mkdir(parents=True, exist_ok=True)
        lock = take_lock(place)
        if lock is None:
            raise AlreadyRunningError(f"{folder.name}: is being run on {here.host} already")
        self._lock = lock

    def close(self) -> None:
        """Let another start have it."""
        os.close(self._lock)


def host_name(owner: Owner) -> str:
    """A machine, apart from another that is called the same."""
    return f"{owner.host}-{owner.boot[:8] or 'boot'}"
