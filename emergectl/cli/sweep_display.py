"""How a sweep looks while it runs: a live panel on a terminal, plain lines anywhere else.

To stderr, as all talk. A failure is told when it happens, with its reason; the rest is a line every
few seconds: how many are done, what runs, and how long it will take.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from emergectl.cli.live import (
    SECONDS_BETWEEN_LINES,
    Clock,
    HangupProofStream,
    can_be_live,
    live_panel,
)
from emergectl.cli.output import one_line
from emergectl.cli.progress import format_duration
from emergectl.sweeps.estimate import DurationForecast
from emergectl.sweeps.folder import SETTLED, Planned, Standing, count_states
from emergectl.sweeps.plan import Plan, told
from emergectl.sweeps.watcher import Running, Watcher

if TYPE_CHECKING:
    from rich.console import RenderableType


SECONDS_BETWEEN_COUNTS = 0.5
TRIALS_SHOWN = 10
LEAST_SHARE = 0.02
"""of a trial, that its pace can be told from"""


class SweepDisplay(Watcher, Protocol):
    """A watcher that is closed at the end."""

    def close(self) -> None:
        """The sweep has ended."""


def open_sweep_display(
    plan: Plan, planned: Sequence[Planned], *, silent: bool = False, stream: TextIO | None = None
) -> SweepDisplay:
    """The display of a sweep on stderr: live on a terminal that can move its cursor."""
    stream = stream or sys.stderr
    course = SweepProgress(plan, planned)
    if silent:
        return SilentSweepDisplay()
    able = can_be_live(stream)
    return LiveSweepDisplay(course, stream) if able else PlainSweepDisplay(course, stream)


class SweepProgress:
    """Where a sweep stands and when it will be over."""

    def __init__(
        self, plan: Plan, planned: Sequence[Planned], clock: Clock = time.monotonic
    ) -> None:
        self._clock = clock
        self._began = clock()
        self._values = {each.key: each.values for each in planned}
        self._forecast = DurationForecast({trial.id: trial.experiment for trial in plan.trials})
        self._ended: set[str] = set()
        self._sighted: dict[str, tuple[float, float]] = {}
        """trials in hand: when they were first seen, and how much was behind them"""
        self._most = 1
        self._asks = plan.asks is not None
        self._asked_since: dict[str, float] = {}
        self._asked_seconds: list[float] = []
        """how long each trial was asked that was seen to be"""
        self.states: Mapping[str, int] = {}
        self.running: Mapping[str, Running] = {}
        self.remaining_seconds: float | None = None

    @property
    def elapsed_seconds(self) -> float:
        """Since this start."""
        return self._clock() - self._began

    @property
    def total(self) -> int:
        """All trials."""
        return sum(self.states.values())

    @property
    def done(self) -> int:
        """Those that are done."""
        return sum(self.states.get(state, 0) for state in SETTLED)

    def update(self, running: Mapping[str, Running], standings: Mapping[str, Standing]) -> None:
        """Count anew."""
        self.running = dict(running)
        self.states = count_states(standings.values())
        ended = {
            key: standing.seconds
            for key, standing in standings.items()
            if standing.state in SETTLED and key not in self._ended
        }
        self._ended.update(ended)
        paces = {key: pace for key in running if (pace := self._pace(running[key])) is not None}
        if ended or paces:
            self._forecast.takes(paces | ended)
        self._time_asking(running)
        self.remaining_seconds = self._remaining(standings)

    def _time_asking(self, running: Mapping[str, Running]) -> None:
        now = self._clock()
        for key in [key for key in self._asked_since if key not in running]:
            self._asked_seconds.append(now - self._asked_since.pop(key))
        for key, trial in running.items():
            if trial.asking is not None:
                self._asked_since.setdefault(key, now)

    def describe(self, key: str, standing: Standing | None = None) -> str:
        """A trial by what the sweep sets in it."""
        record = standing.record if standing else None
        values = self._values.get(key) or (record.values if record else {})
        return f"{key[:12]} ({told(values)})" if values else key[:12]

    def _pace(self, trial: Running) -> float | None:
        """Seconds that a trial in hand takes from its first step to its last, as it goes now."""
        if trial.asking is not None:
            return None  # it is trained
        now, share = self._clock(), _share(trial)
        since, before = self._sighted.setdefault(trial.key, (now, share))
        gained = share - before
        return (now - since) / gained if gained >= LEAST_SHARE else None

    def _remaining(self, standings: Mapping[str, Standing]) -> float | None:
        left, longest = 0.0, 0.0
        # Trials of other machines count as well: they are done when all are.
        open_ = [key for key, s in standings.items() if s.state not in (*SETTLED, "failed")]
        self._most = max(self._most if open_ else 1, len(self.running))
        for key in open_:
            rest = self._asking_left(key)
            if not standings[key].trained:
                expected = self._forecast.expected(key)
                if expected is None:
                    return None
                rest += expected * (1 - _share(self.running.get(key)))
            left += rest
            longest = max(longest, rest)
        return max(left / self._most, longest)

    def _asking_left(self, key: str) -> float:
        """Seconds that a trial is still asked; none while nobody has seen how long that takes."""
        if not self._asked_seconds:
            return 0.0
        now = self._clock()
        whole = sum(self._asked_seconds) / len(self._asked_seconds)
        return max(0.0, whole - (now - self._asked_since.get(key, now)))

    def in_words(self) -> list[str]:
        """What a line says."""
        parts = [f"{self.done:,}/{self.total:,} done"]
        if failed := self.states.get("failed"):
            parts.append(f"{failed:,} failed")
        if self.running:
            parts.append(f"{len(self.running)} running")
        parts.append(f"{format_duration(self.elapsed_seconds)} elapsed")
        if self.remaining_seconds is not None and self.done < self.total:
            unknown = self._asks and not self._asked_seconds
            beside = ", and the asking" if unknown else ""
            parts.append(f"{format_duration(self.remaining_seconds)} left{beside}")
        return parts


def _share(running: Running | None) -> float:
    """How much of a trial is behind it."""
    return running.step / running.steps if running is not None and running.steps else 0.0


class SilentSweepDisplay:
    """Says nothing: for `--json`."""

    def _nothing(self, *_: Any, **__: Any) -> None: ...

    began = tick = ended = message = over = close = _nothing


class PlainSweepDisplay:
    """A line every few seconds, and one for each failure."""

    def __init__(self, course: SweepProgress, stream: TextIO) -> None:
        self._course = course
        self._stream = HangupProofStream(stream)
        self._next = time.monotonic() + SECONDS_BETWEEN_LINES

    def began(self, standings: Mapping[str, Standing]) -> None:
        self._course.update({}, standings)
        done, total = self._course.done, self._course.total
        self._print(f"{total:,} trials, {done:,} done already" if done else f"{total:,} trials")

    def tick(self, running: Mapping[str, Running], standings: Mapping[str, Standing]) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + SECONDS_BETWEEN_LINES
        self._course.update(running, standings)
        self._print("  ".join(self._course.in_words()))

    def ended(self, key: str, standing: Standing) -> None:
        if standing.state == "failed":
            trial = self._course.describe(key, standing)
            self._print(f"failed: trial {trial}: {standing.reason}")

    def message(self, text: str) -> None:
        self._print(text)

    def over(self, standings: Mapping[str, Standing]) -> None:
        self._course.update({}, standings)
        self._print("  ".join(self._course.in_words()))

    def close(self) -> None:
        """A line is out when it is printed."""

    def _print(self, text: str) -> None:
        self._stream.write(" ".join(text.split("\n")) + "\n")
        self._stream.flush()


class LiveSweepDisplay:
    """A panel that is redrawn four times a second: all trials as a bar, those that run as rows."""

    def __init__(self, course: SweepProgress, stream: TextIO) -> None:
        self._course = course
        self._next = float("-inf")
        self._live = live_panel(stream, self._render)
        self._console = self._live.console

    def began(self, standings: Mapping[str, Standing]) -> None:
        self._course.update({}, standings)
        self._live.start()

    def tick(self, running: Mapping[str, Running], standings: Mapping[str, Standing]) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + SECONDS_BETWEEN_COUNTS
            self._course.update(running, standings)

    def ended(self, key: str, standing: Standing) -> None:
        from rich.text import Text

        if standing.state == "failed":
            trial = self._course.describe(key, standing)
            text = one_line(f"trial {trial}: {standing.reason}")
            self._console.print(Text.assemble(("failed ", "red"), text))

    def message(self, text: str) -> None:
        from rich.text import Text

        self._console.print(Text(one_line(text)))

    def over(self, standings: Mapping[str, Standing]) -> None:
        self._course.update({}, standings)

    def close(self) -> None:
        self._live.stop()

    def _render(self) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        course = self._course
        bar = ProgressBar(total=max(course.total, 1), completed=course.done)
        panel = Table.grid(expand=True)  # A bar by itself ends without a new line.
        panel.add_row(bar)
        panel.add_row(Text("  ".join(course.in_words())))
        for key, running in list(course.running.items())[:TRIALS_SHOWN]:
            of = "" if running.steps is None else f"/{running.steps:,}"
            at = running.asking or f"step {running.step:,}{of}"
            text = f"  {at}  {course.describe(key)}"
            panel.add_row(Text(one_line(text), style="dim", no_wrap=True, overflow="ellipsis"))
        hidden = len(course.running) - TRIALS_SHOWN
        if hidden > 0:
            panel.add_row(Text(f"  and {hidden} more", style="dim"))
        return panel
