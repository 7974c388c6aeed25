"""The lock of a run: a flock on run.lock, freed by the system however its holder dies.

The file is also ballast: a few KiB that are given up when the disk is full, so that even then the
status can say why the run failed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from pathlib import Path

from emergectl.errors import RequestError
from emergectl.store.atomic import disk_full_named, write_all

LOCK_NAME = "run.lock"
BALLAST_BYTES = 16384
# A link would have the lock and the ballast in somebody else's file; a pipe would wait for ever.
_OPEN = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def take_lock(run: Path) -> int | None:
    """Hold the run's lock and its ballast: a descriptor, or None where another process holds it.

    Raises RequestError where the file system has no locks, where run.lock is a link or no file,
    or where the run was removed at this moment.
    """
    path = run / LOCK_NAME
    with disk_full_named(path, BALLAST_BYTES):
        try:
            lock = os.open(path, _OPEN, 0o666)
        except OSError as error:
            raise _refusal(path, error) from None
        try:
            if not stat.S_ISREG(os.fstat(lock).st_mode):
                raise RequestError(f"{path}: is no ordinary file: remove it and start again")
            if not _lock_soon(lock, path):
                os.close(lock)
                return None
            if os.fstat(lock).st_size < BALLAST_BYTES:
                write_all(lock, os.urandom(BALLAST_BYTES))  # Zeros might be compressed away.
        except BaseException:
            os.close(lock)
            raise
    return lock


def _refusal(path: Path, error: OSError) -> Exception:
    """What to say of a run.lock that cannot be opened; the error itself where it says it."""
    if error.errno == errno.ELOOP:  # O_NOFOLLOW
        return RequestError(
            f"{path}: is a symbolic link, where a run keeps a file of its own: remove the link and "
            "start again"
        )
    if error.errno == errno.EISDIR:
        return RequestError(f"{path}: is a folder, where a run keeps a file: remove it")
    return error


def drop_ballast(lock: int) -> None:
    """Make a little room on a full disk."""
    os.ftruncate(lock, 0)


def lock_is_held(run: Path) -> bool:
    """Whether some process holds the run's lock at this moment; False where one cannot tell.

    The question itself takes the lock, shared, for an instant: whoever wants it tries again.
    """
    try:
        lock = os.open(run / LOCK_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(lock)
    return False


def _lock_soon(lock: int, path: Path) -> bool:
    for attempt in range(8):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.01 * attempt)
        except OSError as error:
            reason = f"its file system has no locks ({error.strerror})"
            raise RequestError(f"{path.parent}: {reason}; keep runs on another one") from None
        else:
            if os.fstat(lock).st_nlink == 0:
                raise RequestError(f"{path.parent}: was removed at this moment")
            return True
    return False
