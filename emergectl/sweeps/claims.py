"""Who is at work on a trial: claims, over as many machines as share the directory.

A claim is the file `claims/KEY.N`, made whole and exclusively (a hard link of a finished file: it
exists or it does not). It names its owner as a run's status does, and its holder touches it every
few seconds. A claim is dead when its owner is: on the owner's own machine that is looked up (host,
boot, pid, start time), without any clock. From another machine it is watched: only when the file's
time has not changed for `SILENCE_SECONDS` of the watcher's own steady clock is its owner given up,
so clocks that differ between machines, or are set, take no living claim away.

A dead claim is never replaced: the next number is made beside it, which of many watchers only one
can. Whoever has made a claim then looks whether any other of the key is alive, and withdraws if so.
Of two that made theirs at the same time at least one sees the other, so never do both go on; at
worst both withdraw, and try again.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Container
from contextlib import suppress
from pathlib import Path

from emergectl.store.owner import Owner, is_alive, is_here, this_process
from emergectl.store.status import HEARTBEAT_SECONDS, SILENCE_SECONDS


class Claims:
    """The claims in a folder, as one process makes and judges them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, Path] = {}
        self._watched: dict[Path, tuple[int, float]] = {}
        self._closing = threading.Event()
        self._pulse = threading.Thread(target=self._beat, name="claims", daemon=True)

    def take(self, key: str) -> bool:
        """Claim a trial; False where another process is at work on it.

        Whoever has a claim looks how the trial stands now: it may have been done meanwhile.
        """
        if key in self._held:
            return False
        others = self._claims_of(key)
        if any(not self._is_dead(path) for path in others):
            return False
        number = 1 + max((_number(path) for path in others), default=-1)
        path = self._folder / f"{key}.{number}"
        if not self._make(path):
            return False
        if any(not self._is_dead(other) for other in self._claims_of(key) if other != path):
            path.unlink()
            return False
        self._held[key] = path
        if not self._pulse.is_alive():
            self._pulse.start()
        return True

    def release(self, key: str) -> None:
        """Let a trial go; dead claims before it are cleared away, its own last."""
        own = self._held.pop(key)
        for path in self._claims_of(key):
            if _number(path) < _number(own):
                path.unlink(missing_ok=True)
        own.unlink(missing_ok=True)

    def owners(self) -> dict[str, Owner]:
        """Key → owner of every claim whose owner lives, as far as can be told at once."""
        living: dict[str, Owner] = {}
        for path in self._folder.iterdir():
            owner = _owner(path) if path.suffix[1:].isdigit() else None
            if owner is not None and not (is_here(owner) and not is_alive(owner)):
                living[path.stem] = owner
        return living

    def tidy(self) -> None:
        """Clear away what killed drivers of this machine left half-made; none may run now."""
        for path in self._folder.glob(f".{socket.gethostname()}-*.tmp"):
            path.unlink()

    def forget(self, keys: Container[str]) -> None:
        """Remove the claims of trials that are over: nobody can want them, whose-ever they were."""
        for path in self._folder.iterdir():
            if path.suffix[1:].isdigit() and path.stem in keys and path.stem not in self._held:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of everything."""
        self._closing.set()
        if self._pulse.is_alive():
            self._pulse.join()
        for key in list(self._held):
            self.release(key)

    def _claims_of(self, key: str) -> list[Path]:
        names = os.listdir(self._folder)  # noqa: PTH208 - at every claim
        before = f"{key}."
        return [
            self._folder / name
            for name in names
            if name.startswith(before) and name[len(before) :].isdigit()
        ]

    def _make(self, path: Path) -> bool:
        temporary = self._folder / f".{socket.gethostname()}-{secrets.token_hex(8)}.tmp"
        temporary.write_text(json.dumps(this_process().to_dict()))
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        finally:
            temporary.unlink()
        return True

    def _is_dead(self, path: Path) -> bool:
        owner = _owner(path)
        if owner is None:
            return True  # Released at this moment: claims are whole from the beginning.
        if is_here(owner):
            return not is_alive(owner)
        try:
            touched = path.stat().st_mtime_ns
        except FileNotFoundError:
            return True
        now = time.monotonic()
        before, since = self._watched.get(path, (None, now))
        if before != touched:
            since = now
        self._watched[path] = (touched, since)
        return now - since >= SILENCE_SECONDS

    def _beat(self) -> None:
        while not self._closing.wait(HEARTBEAT_SECONDS):
            for path in list(self._held.values()):
                with suppress(OSError):  # Released at this moment, or made up for next time.
                    os.utime(path)


def _number(path: Path) -> int:
    return int(path.suffix[1:])


def _owner(path: Path) -> Owner | None:
    try:
        return Owner.from_dict(json.loads(path.read_bytes()))
    except (FileNotFoundError, ValueError):
        return None
