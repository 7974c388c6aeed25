"""Long series are judged as means over stretches: what is in each, and that it is said."""

from pathlib import Path

import numpy as np
import pytest
from metric_kinds import SHARE

from emergectl.analysis.stretches import MOST_SCALES, in_stretches
from emergectl.analysis.table import TableRow
from emergectl.cli.main import main


def series(count: int, seed: str = "") -> list[TableRow]:
    return [
        TableRow(
            "t", step % 2, metric="acc", what=SHARE, n=100, step=step, seed=seed, where=f"{step}"
        )
        for step in range(1, count + 1)
    ]


def test_a_short_series_stays_as_it_is() -> None:
    rows = series(MOST_SCALES)
    assert in_stretches(rows, "step") == rows


def test_a_long_series_keeps_its_mean_its_ends_and_its_runs() -> None:
    rows = series(6000, "a") + series(6000, "b")
    cut = in_stretches(rows, "step")
    assert len({row.step for row in cut}) <= MOST_SCALES
    assert {row.seed for row in cut} == {"a", "b"}
    assert {row.n for row in cut} == {100}
    last = max(cut, key=lambda row: row.step or 0)
    edge = 6000 ** (1 - 1 / MOST_SCALES)
    inside = np.arange(np.ceil(edge), 6001)
    assert last.value == pytest.approx(np.mean(inside % 2), abs=1e-9)
    assert last.step == pytest.approx(np.exp(np.log(inside).mean()))


def test_that_a_series_was_cut_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.csv"
    path.write_text("step,acc\n" + "".join(f"{s},{s / 500}\n" for s in range(1, 401)))
    assert main(["analyze", "emergence", str(path), "--value", "acc"]) == 0
    assert "means over 60 stretches of log step" in capsys.readouterr().err
