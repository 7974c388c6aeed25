"""What live displays stand on: a stream that may go away, and a panel that is redrawn on it."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

Clock = Callable[[], float]


SECONDS_BETWEEN_LINES = 5.0


class HangupProofStream(io.TextIOBase):
    """A terminal or pipe whose reader may go away: what cannot be written is dropped."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._gone = False

    def write(self, text: str) -> int:
        if not self._gone:
            try:
                self._stream.write(text)
            except (OSError, ValueError):  # EPIPE, EIO after a hang-up; ValueError: closed
                self._gone = True
        return len(text)

    def flush(self) -> None:
        if not self._gone:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._gone = True

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding or "utf-8"


def can_be_live(stream: TextIO) -> bool:
    """Whether it is a terminal that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def live_panel(stream: TextIO, render: Callable[[], RenderableType]) -> Live:
    """A panel that is redrawn four times a second; what its console prints appears above it."""
    from rich.console import Console
    from rich.live import Live

    console = Console(
        file=HangupProofStream(stream),  # type: ignore[arg-type]
        force_terminal=True,
        highlight=False,
    )
    return Live(
        get_renderable=render,
        console=console,
        # Warnings printed meanwhile appear above the panel. What goes to stdout is data: it is
        # caught only where it would land on the same terminal.
        redirect_stdout=sys.stdout.isatty(),
        redirect_stderr=True,
    )
