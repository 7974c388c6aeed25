"""Progress of reading and tokenising data, which for a large text takes minutes before step one."""

from __future__ import annotations

import time
from collections.abc import Callable

from emergectl.cli.output import one_line, say
from emergectl.cli.progress import format_duration

FIRST_AFTER_SECONDS = 2.0
EVERY_SECONDS = 5.0


def reading_progress(
    clock: Callable[[], float] = time.monotonic,
) -> Callable[[str, int, int], None]:
    """A callback (name, bytes done, all bytes or 0 where unknown) that says how far reading is.

    One line every few seconds, with the time left; nothing for what is read at once.
    """
    began: dict[str, float] = {}
    spoken = clock() + FIRST_AFTER_SECONDS - EVERY_SECONDS

    def tell(name: str, done: int, total: int) -> None:
        nonlocal spoken
        now = clock()
        start = began.setdefault(name, now)
        if now - spoken < EVERY_SECONDS:
            return
        spoken = now
        text = f"reading {one_line(name)}: {done / 1e6:,.0f}"
        if total and done:
            left = (now - start) * (total - done) / done
            text += f" of {total / 1e6:,.0f} MB, {format_duration(left)} left"
        else:
            text += " MB"
        say(text)

    return tell
