"""Signals, turned into a wish to stop that the loop fulfils at the next step.

SIGTERM and SIGUSR1 (what schedulers send) and SIGINT (Ctrl-C) ask for a checkpoint and an end; a
second signal ends the process at once. Installed before torch is imported, so that a signal that
comes during the imports is not lost. No torch here for that reason.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class StopRequest:
    """Remembers the first signal; `signum` is None as long as none has come."""

    def __init__(self) -> None:
        self.signum: int | None = None

    def install(self) -> None:
        """Take over the signals of this process."""
        for signum in SIGNALS:
            signal.signal(signum, self._receive)

    def _receive(self, signum: int, _frame: FrameType | None) -> None:
        if self.signum is not None:
            # Whoever asks twice does not want to wait for a checkpoint.
            os._exit(128 + signum)
        self.signum = signum

    @property
    def was_keyboard(self) -> bool:
        """Whether it was Ctrl-C."""
        return self.signum == signal.SIGINT
