"""How far the asking of a model is, for the person who waits."""

from __future__ import annotations

import shutil
import sys
import time
from typing import Self

from emergectl.cli.output import one_line, say
from emergectl.cli.progress import Pace, format_duration

LINE_SECONDS = 10.0
REDRAW_SECONDS = 0.2


class AskingDisplay:
    """How far the asking is: a line that is drawn over on a terminal, else one now and then."""

    def __init__(self, *, silent: bool) -> None:
        self._silent = silent
        self._live = sys.stderr.isatty()
        self._spoken = time.monotonic() if not self._live else 0.0
        self._asking: tuple[str, int | None] | None = None
        self._pace = Pace()
        self.of = ""
        """stands before each line: which of several models is asked"""

    def tell(self, task: str, step: int | None, done: int, items: int, samples: int = 0) -> None:
        """`done` of `items` items of a task are answered, with so many samples drawn (0: none)."""
        now = time.monotonic()
        if self._asking != (task, step):
            self._asking, self._pace = (task, step), Pace()
        if done:  # What comes before the first answer (loading, finding the batch size) is no pace.
            self._pace.add(now, done)
        if self._silent or now - self._spoken < (REDRAW_SECONDS if self._live else LINE_SECONDS):
            return
        self._spoken = now
        at = "" if step is None else f"step {step:,}, "
        text = f"{self.of}{at}{one_line(task)}: {done:,} of {items:,} items"
        if samples:
            text += f", {samples:,} samples"
        left = self._pace.seconds_to(items, now=now)
        if left is not None and done < items:
            text += f", {format_duration(left)} left"
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\x1b[2K{text[:width]}", end="", file=sys.stderr, flush=True)
        else:
            say(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal's line empty."""
        if self._live and not self._silent and self._asking is not None:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)
