"""How a run looks while it trains: a live panel on a terminal, plain lines anywhere else.

Everything goes to stderr; stdout is for data. A terminal that hangs up, or a reader that closes the
pipe, ends the display and never the run: the truth is in the run directory.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TextIO

from emergectl.cli.live import (
    SECONDS_BETWEEN_LINES,
    Clock,
    HangupProofStream,
    can_be_live,
    live_panel,
)
from emergectl.cli.output import one_line
from emergectl.cli.progress import (
    History,
    Pace,
    format_count,
    format_duration,
    format_value,
)
from emergectl.runtime.listeners import Listener, RunFacts

if TYPE_CHECKING:
    from rich.console import RenderableType

    from emergectl.store.measurements import Measurement

Mode = Literal["auto", "live", "plain", "quiet"]

SECONDS_BETWEEN_EVALUATIONS = 1.0
METRIC_ROWS = 8


def open_display(
    mode: Mode = "auto", *, stream: TextIO | None = None, clock: Clock = time.monotonic
) -> Listener:
    """The display for `mode`, writing to `stream` (stderr).

    auto is live on a terminal that can move its cursor, plain elsewhere. `clock` gives seconds and
    never goes back.
    """
    stream = stream or sys.stderr
    if mode == "auto":
        able = can_be_live(stream)
        mode = "live" if able else "plain"
    if mode == "live":
        return LiveDisplay(stream, clock)
    return PlainDisplay(stream, clock) if mode == "plain" else QuietDisplay(stream)


class QuietDisplay:
    """Says what a person should read and no more: the listener for `--json`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = HangupProofStream(stream)

    def start(self, facts: RunFacts) -> None:
        """Nothing."""

    def metrics(self, record: Mapping[str, float]) -> None:
        """Nothing."""

    def measured(self, measurements: Sequence[Measurement]) -> None:
        """Nothing."""

    def message(self, text: str) -> None:
        """A line."""
        self._stream.write(one_line(text) + "\n")
        self._stream.flush()

    def close(self, state: str) -> None:
        """Nothing."""


def describe(facts: RunFacts) -> str:
    """What is trained, where, and at what cost: `llama 1m, 1.31M parameters (1.05M without
    embeddings), 2,000 steps, 3.1e+15 FLOPs, cuda x2, bf16, compiled`."""
    inner = format_count(facts.non_embedding_parameters)
    parts = [facts.model, f"{format_count(facts.parameters)} parameters ({inner} w/o embeddings)"]
    if facts.total_steps is not None:
        parts.append(f"{facts.total_steps:,} steps")
    if facts.training_flops is not None:
        parts.append(f"{facts.training_flops:.2e} FLOPs")
    parts.append(facts.device + (f" x{facts.ranks}" if facts.ranks > 1 else ""))
    parts.append(facts.precision)
    if facts.compiled:
        parts.append("compiled")
    return one_line(", ".join(parts))


def split_record(record: Mapping[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """What a record says of training (empty if it has no loss) and of an evaluation."""
    evaluation = {k: v for k, v in record.items() if "/" in k}
    training = {k: v for k, v in record.items() if "/" not in k}
    return (training if "loss" in training else {}), evaluation


def training_figures(training: Mapping[str, float]) -> list[str]:
    """The figures of a training record that a person watches, loss left out."""
    figures = []
    if "lr" in training:
        figures.append(f"lr {training['lr']:.2e}")
    if "tokens_per_second" in training:
        figures.append(f"{format_count(training['tokens_per_second'])} tokens/s")
    if "mfu" in training:
        figures.append(f"{training['mfu']:.1%} MFU")
    return figures


class RunProgress:
    """Where the run stands and when it will be over."""

    def __init__(self, facts: RunFacts, clock: Clock) -> None:
        self.facts = facts
        self.step = facts.resumed_from or 0
        self._clock = clock
        self._start = clock()
        self._pace = Pace()

    def advance(self, record: Mapping[str, float]) -> None:
        self.step = max(self.step, int(record["step"]))
        self._pace.add(self._clock(), self.step)

    @property
    def elapsed_seconds(self) -> float:
        return self._clock() - self._start

    @property
    def remaining_seconds(self) -> float | None:
        """The sooner of the end of the steps and the end of the time; None if neither is known."""
        ends = []
        if self.facts.total_steps is not None:
            left = self._pace.seconds_to(self.facts.total_steps, now=self._clock())
            if left is not None:
                ends.append(left)
        if self.facts.budget_seconds is not None:
            ends.append(max(0.0, self.facts.budget_seconds - self.elapsed_seconds))
        return min(ends, default=None)

    @property
    def fraction(self) -> float | None:
        """Share of the budget that is used, 0 to 1."""
        shares = []
        if self.facts.total_steps:
            shares.append(self.step / self.facts.total_steps)
        if self.facts.budget_seconds:
            shares.append(self.elapsed_seconds / self.facts.budget_seconds)
        return min(1.0, max(shares)) if shares else None

    def step_text(self) -> str:
        total = self.facts.total_steps
        return f"{self.step:,}" if total is None else f"{self.step:,}/{total:,}"


class PlainDisplay:
    """A line every few seconds, in ASCII, for pipes, logs and cron.

    The first record and the last are always told. Evaluations get lines of their own, at most one
    a second.
    """

    def __init__(self, stream: TextIO, clock: Clock) -> None:
        self._stream = HangupProofStream(stream)
        self._clock = clock
        self._progress: RunProgress | None = None
        self._training: dict[str, float] = {}
        self._evaluation: tuple[int, dict[str, float]] = (0, {})
        self._untold_training = self._untold_evaluation = False
        self._next_line = self._next_evaluation = float("-inf")

    def start(self, facts: RunFacts) -> None:
        self._progress = RunProgress(facts, self._clock)
        self._print(f"{one_line(facts.run_id)}: {describe(facts)}")
        if facts.resumed_from is not None:
            self._print(f"resumed from step {facts.resumed_from:,}")

    def metrics(self, record: Mapping[str, float]) -> None:
        assert self._progress is not None, "start() comes first"
        self._progress.advance(record)
        training, evaluation = split_record(record)
        if training:
            self._training, self._untold_training = training, True
        if evaluation:
            self._evaluation, self._untold_evaluation = (int(record["step"]), evaluation), True
        now = self._clock()
        if self._untold_training and now >= self._next_line:
            self._tell_training()
        if self._untold_evaluation and now >= self._next_evaluation:
            self._tell_evaluation()

    def measured(self, measurements: Sequence[Measurement]) -> None:
        """The values are shown with their line."""

    def message(self, text: str) -> None:
        self._print(one_line(text))

    def close(self, state: str) -> None:
        if self._untold_training:
            self._tell_training()
        if self._untold_evaluation:
            self._tell_evaluation()
        if self._progress is not None:
            seconds = format_duration(self._progress.elapsed_seconds)
            self._print(f"{one_line(state)} at step {self._progress.step_text()} after {seconds}")

    def _tell_training(self) -> None:
        assert self._progress is not None
        parts = [f"step {self._progress.step_text()}"]
        parts.append(f"loss {format_value(self._training['loss'])}")
        parts += training_figures(self._training)
        parts.append(f"{format_duration(self._progress.elapsed_seconds)} elapsed")
        remaining = self._progress.remaining_seconds
        if remaining is not None:
            parts.append(f"{format_duration(remaining)} left")
        self._print("  ".join(parts))
        self._untold_training = False
        self._next_line = self._clock() + SECONDS_BETWEEN_LINES

    def _tell_evaluation(self) -> None:
        step, values = self._evaluation
        told = "  ".join(f"{one_line(k)} {format_value(v)}" for k, v in values.items())
        self._print(f"step {step:,} evaluated  {told}")
        self._untold_evaluation = False
        self._next_evaluation = self._clock() + SECONDS_BETWEEN_EVALUATIONS

    def _print(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()


class LiveDisplay:
    """A panel that is redrawn four times a second: progress, loss, and each metric's course."""

    def __init__(self, stream: TextIO, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.RLock()  # Live draws in a thread of its own
        self._progress: RunProgress | None = None
        self._training: dict[str, float] = {}
        self._latest: dict[str, float] = {}
        self._histories: dict[str, History] = {}
        self._state: str | None = None
        self._final_seconds: float | None = None
        self._live = live_panel(stream, self._render)
        self._console = self._live.console

    def start(self, facts: RunFacts) -> None:
        from rich.text import Text

        self._progress = RunProgress(facts, self._clock)
        title = Text(one_line(facts.run_id), style="bold")
        self._console.print(title.append(f"  {describe(facts)}", style="not bold dim"))
        if facts.resumed_from is not None:
            self._console.print(f"resumed from step {facts.resumed_from:,}")
        self._live.start()

    def metrics(self, record: Mapping[str, float]) -> None:
        with self._lock:
            assert self._progress is not None, "start() comes first"
            self._progress.advance(record)
            training, evaluation = split_record(record)
            self._training = training or self._training
            charted = {k: v for k, v in training.items() if k == "loss"} | evaluation
            for name, value in charted.items():
                self._latest[name] = value
                self._histories.setdefault(name, History()).add(record["step"], value)

    def measured(self, measurements: Sequence[Measurement]) -> None:
        """The values are shown with their line."""

    def message(self, text: str) -> None:
        from rich.text import Text

        self._console.print(Text(one_line(text)))

    def close(self, state: str) -> None:
        with self._lock:
            self._state = state
            if self._progress is not None:
                self._final_seconds = self._progress.elapsed_seconds
        self._live.stop()

    def _render(self) -> RenderableType:
        from rich.console import Group

        with self._lock:
            if self._progress is None:
                return ""
            return Group(self._bar_row(), self._figures_row(), *self._metric_rows())

    def _bar_row(self) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        assert self._progress is not None
        fraction, remaining = self._progress.fraction, self._progress.remaining_seconds
        if self._state is not None:
            style = "green" if self._state == "done" else "yellow"
            seconds = format_duration(self._final_seconds or 0.0)
            times = Text.assemble((one_line(self._state), style), f" after {seconds}")
        else:
            times = Text(f"{format_duration(self._progress.elapsed_seconds)} elapsed")
            if remaining is not None:
                times.append(f"  {format_duration(remaining)} left", style="bold")
        row = Table.grid(padding=(0, 2, 0, 0), expand=True)
        row.add_column(ratio=1)
        if fraction is not None:
            row.add_column(justify="right", no_wrap=True)
        row.add_column(justify="right", no_wrap=True)
        if fraction is None:
            row.add_row(Text("no step limit", style="dim"), times)
        else:
            # Rounded down: 100% is said of what is finished only.
            percent = f"{int(fraction * 100)}%"
            row.add_row(ProgressBar(total=1.0, completed=fraction), percent, times)
        return row

    def _figures_row(self) -> RenderableType:
        from rich.text import Text

        assert self._progress is not None
        figures = [f"step {self._progress.step_text()}", *training_figures(self._training)]
        return Text("  ".join(figures), no_wrap=True, overflow="ellipsis")

    def _metric_rows(self) -> list[RenderableType]:
        from rich.cells import cell_len
        from rich.text import Text

        assert self._progress is not None
        width = self._console.width
        steps = (self._progress.facts.resumed_from or 0, self._progress.step)
        shown = list(self._histories)[:METRIC_ROWS]
        names = [one_line(name) for name in shown]
        name_width = min(max((cell_len(n) for n in names), default=0), max(8, width // 3))
        rows: list[RenderableType] = []
        for metric, name in zip(shown, names, strict=True):
            history = self._histories[metric]
            as_rate = history.is_rate() and not metric.endswith("loss")
            row = Text(no_wrap=True, overflow="ellipsis")
            label = Text(name)
            label.truncate(name_width, overflow="ellipsis", pad=True)
            row.append_text(label).append(f"  {format_value(self._latest[metric]):>8}  ")
            chart_width = min(64, width - name_width - 12)
            if chart_width > 0 and self._console.encoding.startswith("utf"):
                chart = history.sparkline(
                    chart_width, first_step=steps[0], last_step=steps[1], as_rate=as_rate
                )
                row.append(chart, style="cyan")
            rows.append(row)
        hidden = len(self._histories) - len(shown)
        if hidden:
            rows.append(Text(f"and {hidden} more in metrics.jsonl", style="dim"))
        return rows
