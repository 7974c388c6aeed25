"""The picture at a run's end: what is drawn, on which axis, and what the terminal shows."""

import math
import struct
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len

from emergectl.errors import RequestError
from emergectl.reports import curves, panels
from emergectl.reports.curves import draw_curves, step_ticks, terminal_curves
from emergectl.reports.panels import arrange, smoothed
from emergectl.store.measurements import Measurement, MetricFacts

RATE = MetricFacts("discontinuous", "up", "share", least=0, most=1)
ORANGE = (0xD5, 0x5E, 0x00)


def run_records(
    *, steps: int = 400, at: int = 150, evaluated: Iterable[int] | None = None
) -> list[dict[str, Any]]:
    """A run in which copying appears at step `at`: training lines and evaluation lines."""
    evaluations = set(evaluated or range(10, steps + 1, 10))
    records: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        skill = 1 / (1 + math.exp(min(700.0, (at - step) / 8)))
        loss = 3.5 + math.exp(-step / 20) - 3 * skill + 0.05 * math.sin(step * 7.0)
        records.append({"step": step, "tokens": step * 64, "loss": loss, "lr": 1e-3})
        if step in evaluations:
            records.append(
                {
                    "step": step,
                    "validation/loss": loss,
                    "validation/perplexity": math.exp(loss),
                    "copy/accuracy": 0.0625 + 0.9 * skill,
                    "copy/log_probability": -3 * (1 - skill),
                }
            )
    return records


def measured(records: list[dict[str, Any]], **chance: float) -> list[Measurement]:
    """What the evaluation lines of records hold, as it was measured."""
    kinds = {
        "accuracy": RATE,
        "exact": RATE,
        "准确率": RATE,
        "loss": MetricFacts("continuous", "down", "loss", likelihood="token"),
        "perplexity": MetricFacts("continuous", "down", "ratio", scale="log", likelihood="token"),
        "log_probability": MetricFacts("continuous", "up", "mean", most=0, likelihood="item"),
    }
    rows = []
    for record in records:
        for name, value in record.items():
            task, slash, metric = name.rpartition("/")
            if slash:
                level = chance.get(metric)
                what, step = kinds[metric], record["step"]
                rows.append(Measurement(task, metric, value, what, "loop", step, chance=level))
    return rows


def both(records: list[dict[str, Any]], **chance: float) -> tuple[Any, Any]:
    """The two things that pictures are drawn from."""
    return records, measured(records, **chance)


def pixels(path: Path) -> np.ndarray:
    """The picture as [height, width, 3] of 0 to 255."""
    from matplotlib.image import imread

    return (imread(path)[:, :, :3] * 255).round().astype(int)


def columns_of(image: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """How many pixels of (nearly) a colour each column of the image has."""
    return (np.abs(image - np.array(color)).max(axis=2) < 40).sum(axis=0)


# --- what is drawn


def test_rates_share_a_panel_and_the_restated_loss_is_left_out() -> None:
    records = [*run_records(), {"step": 400, "复制/exact": 0.5}]
    panels = arrange(*both(records))
    assert [c.name for c in panels.losses] == ["loss", "validation/loss"]
    names = [[c.name for c in group] for group in panels.groups]
    assert names == [["copy/accuracy", "复制/exact"], ["copy/log_probability"]]


def test_more_rates_than_colours_go_to_a_second_panel() -> None:
    records = [{"step": 1, **{f"task-{i}/accuracy": 0.5 for i in range(8)}}]
    assert [len(group) for group in arrange(*both(records)).groups] == [6, 2]


def test_a_metric_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(RequestError, match=r"no metric 'copy/f1'; there are loss, validation/loss"):
        arrange(*both(run_records()), metrics=["copy/f1"])


def test_nothing_to_draw_is_said(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="nothing to draw"):
        draw_curves([{"step": 1, "lr": 0.1}], [], tmp_path / "curves.png")
    assert list(tmp_path.iterdir()) == []


LOG_SPACED = [1, 2, 3, 4, 5, 7, 9, 12, 16, 22, 30, 40, 54, 73, 98, 133, 179, 242, 326, 400]


@pytest.mark.parametrize(
    ("at", "evaluated", "log"),
    [
        (150, None, False),  # appears in the middle
        (150, LOG_SPACED, False),  # the same, however it was measured
        (20, range(2, 401, 2), True),  # appears in the first tenth
        (10**9, LOG_SPACED, True),  # never appears, measured log-spaced
        (10**9, None, False),  # never appears, measured evenly
    ],
)
def test_the_step_axis_is_logarithmic_where_the_news_would_be_squeezed(
    at: int, evaluated: Iterable[int] | None, log: bool
) -> None:
    assert arrange(*both(run_records(at=at, evaluated=evaluated))).log_steps is log


def test_smoothing_does_not_lag_and_keeps_gaps() -> None:
    ramp = [float(i) for i in range(1000)]
    assert smoothed(ramp, log=False) == pytest.approx(ramp)
    assert smoothed(ramp, log=True) == pytest.approx(ramp)
    ramp[500] = math.nan
    smooth = smoothed(ramp, log=False)
    assert [i for i, value in enumerate(smooth) if math.isnan(value)] == [500]


# --- the PNG


def test_the_picture_marks_the_step_through_all_panels(tmp_path: Path) -> None:
    path = tmp_path / "report" / "curves.png"
    drawn = both(run_records(), accuracy=0.0625)
    draw_curves(*drawn, path, title="copying", metrics=["copy/accuracy"])
    image = pixels(path)
    assert image.shape[1] == 1440
    top = image[: image.shape[0] // 2]  # only the loss is there, in blues
    marked = np.flatnonzero(columns_of(top, ORANGE))
    assert 0 < len(marked) <= 4
    draw_curves(*both(run_records(at=10**9), accuracy=0.0625), path, metrics=["copy/accuracy"])
    assert columns_of(pixels(path)[: image.shape[0] // 2], ORANGE).sum() == 0


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        draw_curves(*both(run_records()), tmp_path / name, title="same")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    "records",
    [
        [{"step": 0, "loss": 3.0}],
        [{"step": 5, "copy/accuracy": 0.5}],
        [{"step": 0, "validation/loss": math.inf}, {"step": 1, "validation/loss": math.nan}],
        [{"step": s, "loss": math.nan if s == 3 else 1 / (s + 1)} for s in range(9)],
        [{"step": s, "a/accuracy": float(s > 2)} for s in (0, 1, 2, 4, 8, 16, 32, 64, 128)],
        [{"step": s, "a/log_probability": -5.0} for s in range(3)],
    ],
    ids=["one point", "no loss", "nothing finite", "a gap", "log axis with step 0", "flat"],
)
def test_odd_records_are_drawn_all_the_same(records: list[dict[str, Any]], tmp_path: Path) -> None:
    draw_curves(*both(records), tmp_path / "curves.png")
    header = (tmp_path / "curves.png").read_bytes()[:24]
    assert struct.unpack(">II", header[16:]) > (0, 0)
    assert len(terminal_curves(*both(records), color=False).splitlines()) >= 13


def test_titles_in_any_script_are_text_and_warn_of_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_curves(
            *both([{"step": s, "任务/准确率": s / 9} for s in range(9)]),
            tmp_path / "curves.png",
            title="上下文复制 costs $5, x_1 and \\frac{$ \x1b[31m",
            labels={"任务/准确率": "准确率 $^2"},
        )
    assert capfd.readouterr().err == ""


# --- the terminal


def test_the_terminal_shows_every_panel_with_its_heading_and_the_step() -> None:
    text = terminal_curves(*both(run_records(), accuracy=0.0625), width=80, color=False)
    headings = [line for line in text.splitlines() if line.startswith("•")]
    assert headings == [
        "• training loss  x validation loss",
        "• copy/accuracy (chance 0.06, appears at step 150)",
        "• copy/log_probability",
    ]
    assert len(text.splitlines()) == 39
    assert text.count("┊") >= 3 * 5  # the step is marked in each panel


def test_without_color_there_is_no_escape_code_and_with_it_there_is() -> None:
    assert "\x1b" not in terminal_curves(*both(run_records()), color=False)
    assert "\x1b[38;5;166m" in terminal_curves(*both(run_records()), color=True)


@pytest.mark.parametrize("width", [40, 80, 160])
def test_the_charts_are_as_wide_as_asked(width: int) -> None:
    lines = terminal_curves(*both(run_records()), width=width, height=30, color=False).splitlines()
    charts = [line for line in lines if line[0] not in "•x"]
    assert {cell_len(line) for line in charts} == {width}
    assert len(lines) == 30


def test_names_cannot_steer_the_terminal() -> None:
    records = [{"step": s, "evil\x1b[2J\n/accuracy": 0.5} for s in range(3)]
    assert "\x1b" not in terminal_curves(*both(records), color=False)


@pytest.mark.parametrize(
    ("first", "last", "log", "ticks"),
    [
        (1, 2000, False, [500, 1000, 1500, 2000]),
        (1, 20000, True, [1, 10, 100, 1000, 10000]),
        (0, 3, False, [0, 1, 2, 3]),
        (7, 7, False, [7]),
    ],
)
def test_steps_are_labelled_with_round_numbers(
    first: float, last: float, log: bool, ticks: list[float]
) -> None:
    assert step_ticks(first, last, log=log, count=5) == ticks


def test_every_curve_of_a_panel_has_a_colour_of_its_own() -> None:
    for palette in (curves.COLORS, curves.TERMINAL_COLORS, curves.PLAIN_MARKERS):
        assert len(set(palette)) == panels.CURVES_IN_A_PANEL
