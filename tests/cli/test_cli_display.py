"""The display: what is said, how often, on which terminal, and that it never hurts a run."""

import contextlib
import errno
import io
import math
import os
import pty
import re
import struct
import termios
from fcntl import ioctl
from pathlib import Path
from typing import Any

import pytest

from emergectl.cli.display import LiveDisplay, PlainDisplay, RunProgress, open_display
from emergectl.cli.progress import History, Pace, format_count, format_duration, format_value
from emergectl.runtime.listeners import Listener, RunFacts


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def facts(**changes: Any) -> RunFacts:
    known: dict[str, Any] = {
        "run_id": "20260102-030405-quickstart-3f9a",
        "run_path": Path("runs/x"),
        "name": "quickstart",
        "model": "attention_only",
        "parameters": 27_648,
        "non_embedding_parameters": 18_432,
        "total_steps": 1000,
    }
    return RunFacts(**{**known, **changes})


def training(step: int, loss: float = 3.2145) -> dict[str, float]:
    return {"step": step, "tokens": step, "loss": loss, "lr": 1e-3, "tokens_per_second": 21_300}


def plain(clock: Clock, **changes: Any) -> tuple[PlainDisplay, io.StringIO]:
    stream = io.StringIO()
    display = PlainDisplay(stream, clock)
    display.start(facts(**changes))
    return display, stream


# --- plain lines


def test_without_a_terminal_lines_are_plain_and_the_first_comes_at_once() -> None:
    stream = io.StringIO()
    display = open_display("auto", stream=stream)
    display.start(facts())
    display.metrics(training(1))
    assert stream.getvalue().splitlines() == [
        "20260102-030405-quickstart-3f9a: attention_only, 27.6k parameters "
        "(18.4k w/o embeddings), 1,000 steps, "
        "cpu, fp32",
        "step 1/1,000  loss 3.215  lr 1.00e-03  21.3k tokens/s  0:00 elapsed",
    ]


def test_a_line_is_printed_every_five_seconds_and_the_last_step_is_always_told() -> None:
    clock = Clock()
    display, stream = plain(clock)
    for step in range(1, 1001):
        clock.seconds += 0.011
        display.metrics(training(step))
    display.close("done")
    steps = [line.split()[1] for line in stream.getvalue().splitlines() if "loss" in line]
    assert steps == ["1/1,000", "456/1,000", "911/1,000", "1,000/1,000"]
    assert stream.getvalue().splitlines()[-1] == "done at step 1,000/1,000 after 0:11"


def test_evaluations_have_lines_of_their_own_and_the_newest_is_never_lost() -> None:
    clock = Clock()
    display, stream = plain(clock)
    for step in (1, 2, 3):
        display.metrics(
            {"step": step, "tokens": 9, "validation/loss": 4.0, "copy/accuracy": 0.0625}
        )
    display.close("done")
    told = [line for line in stream.getvalue().splitlines() if "evaluated" in line]
    assert told == [
        "step 1 evaluated  validation/loss 4.000  copy/accuracy 0.062",
        "step 3 evaluated  validation/loss 4.000  copy/accuracy 0.062",
    ]


def test_a_loss_that_is_not_finite_is_printed_as_it_is() -> None:
    display, stream = plain(Clock())
    display.metrics(training(1, loss=math.nan))
    assert "loss nan " in stream.getvalue()


def test_a_resumed_run_says_from_where_it_goes_on() -> None:
    _, stream = plain(Clock(), resumed_from=400)
    assert "resumed from step 400\n" in stream.getvalue()


def test_nothing_in_a_name_or_a_message_can_steer_a_terminal() -> None:
    display, stream = plain(Clock(), model="\x1b[31mred\x07")
    display.message("one\ntwo \x1b]0;title\x07\x9b2J three")
    display.metrics({"step": 1, "task\x1b[2J/accuracy": 0.5})
    display.close("done\r")
    assert re.sub(r"[\x20-\x7e\n]", "", stream.getvalue()) == ""
    assert "one two three\n" in stream.getvalue()


class GoneStream(io.StringIO):
    """A terminal that hung up."""

    def write(self, _text: str) -> int:
        raise OSError(errno.EIO, "Input/output error")


def test_quiet_says_what_a_person_should_read_and_no_more() -> None:
    stream = io.StringIO()
    display = open_display("quiet", stream=stream)
    display.start(facts())
    display.metrics(training(1))
    display.message("12 rows\nare cut")
    display.close("done")
    assert stream.getvalue() == "12 rows are cut\n"


@pytest.mark.parametrize("kind", [PlainDisplay, LiveDisplay])
def test_a_terminal_that_hangs_up_does_not_stop_the_run(
    kind: type[PlainDisplay] | type[LiveDisplay],
) -> None:
    display = kind(GoneStream(), Clock())
    display.start(facts())
    display.metrics(training(1))
    display.message("still here")
    display.close("done")


# --- the live panel, on a real pseudo-terminal


def live_output(
    monkeypatch: pytest.MonkeyPatch, *, columns: int = 80, term: str = "xterm-256color"
) -> str:
    """What a run writes to a terminal of so many columns."""
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("COLUMNS", str(columns))
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with os.fdopen(theirs, "w", encoding="utf-8") as terminal:
        display: Listener = open_display("auto", stream=terminal)
        display.start(facts(total_steps=20))
        for step in range(1, 21):
            display.metrics(training(step, loss=5 - step / 5) | {"mfu": 0.41})
            display.metrics({"step": step, "tokens": 1, "复制/accuracy": step / 20})
        display.message("out of memory: micro batch halved to 16")
        display.close("done")
    output = b""
    with contextlib.suppress(OSError):  # EIO: all is read and the other end is closed
        while piece := os.read(ours, 65536):
            output += piece
    os.close(ours)
    return output.decode()


def test_on_a_terminal_the_panel_shows_progress_figures_and_the_course_of_every_metric(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = live_output(monkeypatch)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output)
    last_panel = text.split("out of memory: micro batch halved to 16")[-1]
    assert "100%" in last_panel
    assert "done after 0:00" in last_panel
    assert "step 20/20  lr 1.00e-03  21.3k tokens/s  41.0% MFU" in last_panel
    [loss] = re.findall(r"loss +1\.000  (.*)", last_panel)[-1:]
    [ability] = re.findall(r"复制/accuracy +1\.000  (.*)", last_panel)[-1:]
    assert (loss.strip()[0], loss.strip()[-1]) == ("█", "▁")
    assert (ability.strip()[0], ability.strip()[-1]) == ("▁", "█")
    assert output.rfind("\x1b[?25h") > output.rfind("\x1b[?25l")  # the cursor is back


def test_no_color_is_honoured_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    color = re.compile(r"\x1b\[(?:[0-9;]*;)?(?:3[0-8]|9[0-7])[;m]")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert color.search(live_output(monkeypatch))
    monkeypatch.setenv("NO_COLOR", "1")
    assert not color.search(live_output(monkeypatch))


def test_a_narrow_terminal_gets_lines_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    output = live_output(monkeypatch, columns=30)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output)
    assert max(len(line) for line in re.split(r"[\r\n]+", text)) <= 30


def test_a_terminal_that_cannot_move_its_cursor_gets_plain_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = live_output(monkeypatch, term="dumb")
    assert "\x1b" not in output
    assert "step 1/20  loss 4.800" in output


# --- speed and time left


def test_time_left_goes_by_recent_speed_and_not_by_the_first_step() -> None:
    clock = Clock()
    progress = RunProgress(facts(total_steps=1000), clock)
    clock.seconds += 30  # compiling
    for step in range(1, 101):
        progress.advance({"step": step})
        clock.seconds += 1
    assert progress.remaining_seconds == pytest.approx(899, abs=2)
    for step in range(101, 301):  # a neighbour leaves the machine
        progress.advance({"step": step})
        clock.seconds += 0.5
    assert progress.remaining_seconds == pytest.approx(350, abs=2)


def test_time_left_counts_down_between_records() -> None:
    pace = Pace()
    pace.add(0, 10)
    pace.add(10, 20)
    assert pace.seconds_to(30, now=10) == 10
    assert pace.seconds_to(30, now=14) == 6
    assert pace.seconds_to(30, now=99) == 0


def test_time_left_is_unknown_before_the_speed_is() -> None:
    pace = Pace()
    pace.add(0, 1)
    assert pace.seconds_to(30, now=5) is None


def test_of_two_budgets_the_one_that_ends_first_counts() -> None:
    clock = Clock()
    progress = RunProgress(facts(total_steps=1000, budget_seconds=60.0), clock)
    for step in (1, 11):
        progress.advance({"step": step})
        clock.seconds += 10
    assert progress.remaining_seconds == 40
    assert progress.fraction == pytest.approx(20 / 60)


# --- small charts and numbers


def test_metrics_measured_at_different_steps_stand_below_one_another() -> None:
    often, rarely = History(), History()
    for step in range(1, 101):
        often.add(step, 0.0 if step <= 50 else 1.0)
    for step in (25, 50, 75, 100):
        rarely.add(step, 0.0 if step <= 50 else 1.0)
    charts = [h.sparkline(8, first_step=0, last_step=100, as_rate=True) for h in (often, rarely)]
    assert charts == ["▁▁▁▁████", " ▁▁▁▁███"]


def test_a_rate_is_drawn_from_0_to_1_so_that_noise_stays_small() -> None:
    history = History()
    for step in range(10):
        history.add(step, 0.06 + 0.01 * (step % 2))
    assert set(history.sparkline(10, first_step=0, last_step=9, as_rate=True)) == {"▁"}


def test_a_history_stays_bounded_and_keeps_its_shape() -> None:
    history = History(capacity=64)
    for step in range(10_000):
        history.add(step, float(step >= 5_000))
    chart = history.sparkline(10, first_step=0, last_step=9_999, as_rate=True)
    assert (chart[:4], chart[5:]) == ("▁▁▁▁", "█████")
    assert len(history._points) + len(history._pending) < 64 + history._each


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (812, "812"),
        (999.97, "1.00k"),
        (27_648, "27.6k"),
        (999_600, "1.00M"),
        (124_337_664, "124M"),
        (1.5e15, "1500T"),
        (math.nan, "nan"),
    ],
)
def test_counts_are_three_digits_and_a_letter(number: float, text: str) -> None:
    assert format_count(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (59.6, "1:00"), (3_599.4, "59:59"), (11_100, "3:05:00"), (183_900, "2d 3:05")],
)
def test_durations_read_like_a_clock(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(3.21449, "3.214"), (0.0, "0.000"), (1.2e-5, "1.2e-05"), (54_321.0, "5.4e+04")],
)
def test_values_are_short(value: float, text: str) -> None:
    assert format_value(value) == text
