"""Signals, turned into a wish to stop that the loop fulfils at the next step.

SIGTERM and SIGUSR1 (what schedulers send) and SIGINT (Ctrl-C) ask for a checkpoint and an end; a
second signal ends the process at once. A rank may get one wish twice, from the scheduler and passed
on by its launcher: there what comes within a second of the first is the first. Installed before
torch is imported, so that a signal that comes during the imports is not lost. No torch here for
that reason.
"""

from __future__ import annotations

import os
import signal
import time
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
ONE_WISH_SECONDS = 1.0


class StopRequest:
    """Remembers the first signal; `signum` is None as long as none has come."""

    def __init__(self) -> None:
        self.signum: int | None = None
        self._came = 0.0

    def install(self) -> None:
        """Take over the signals of this process."""
        for signum in SIGNALS:
            signal.signal(signum, self._receive)

    def _receive(self, signum: int, _frame: FrameType | None) -> None:
        if self.signum is None:
            self.signum, self._came = signum, time.monotonic()
        elif "RANK" not in os.environ or time.monotonic() - self._came > ONE_WISH_SECONDS:
            # Whoever asks twice does not want to wait for a checkpoint.
            os._exit(128 + signum)

    @property
    def was_keyboard(self) -> bool:
        """Whether it was Ctrl-C."""
        return self.signum == signal.SIGINT
