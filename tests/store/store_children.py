"""Child processes that do something and are killed."""

import os
import signal
import traceback
from collections.abc import Callable


def in_child(action: Callable[[], object]) -> int:
    """Run `action` in a forked child and wait for it: 0, or minus the signal that killed it.

    A child that raises prints its traceback and ends with 1.
    """
    return wait(start_child(action))


def start_child(action: Callable[[], object]) -> int:
    """Run `action` in a forked child; its pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        action()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def wait(pid: int) -> int:
    """Wait for a child: its exit code, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def die() -> None:
    """End this process as the machine would."""
    os.kill(os.getpid(), signal.SIGKILL)
