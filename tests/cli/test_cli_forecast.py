"""`analyze forecast`: scales beyond the table, with intervals, or a line that says why not."""

import json
from pathlib import Path

import pytest

from emergectl.cli.main import main


@pytest.fixture
def table(tmp_path: Path) -> str:
    """Eight sizes of two runs: accuracy rises by a line, log-probability and loss beside it."""
    lines = ["params,task,metric,value,n,chance,loss,seed"]
    for k in range(8):
        for seed, off in enumerate((-0.01, 0.01)):
            start = f"{10 ** (7 + k / 2):.0f},cap"
            loss = 4 - 0.25 * k + off / 10
            lines.append(f"{start},accuracy,{0.1 + 0.06 * k + off},500,0,{loss},{seed}")
            lines.append(f"{start},logprob_per_token,{-2 + 0.15 * k + off / 5},500,,{loss},{seed}")
    path = tmp_path / "t.csv"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def forecast(*arguments: str) -> int:
    return main(["analyze", "forecast", *arguments])


def test_every_ability_is_foretold_directly_and_through_what_stands_beside_it(
    table: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert forecast(table, "--at", "1e11", "--at", "1b", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["format"] == "emergectl.forecasts/1"
    accuracy, log = said["abilities"]
    assert (accuracy["task"], accuracy["metric"], log["metric"]) == (
        *("cap", "accuracy"),
        "logprob_per_token",
    )
    offered = {f["method"]: f for f in accuracy["forecasts"] if f["scales"]}
    assert set(offered) == {"direct", "through logprob_per_token", "through loss"}
    for told in offered.values():
        assert told["scales"] == [1e11]
        (interval,) = told["predicted"]
        assert 0 <= interval["low"] < interval["value"] < interval["high"] <= 1
        assert interval["low"] < 0.1 + 0.06 * 8 < interval["high"]  # the line goes on
    (within,) = [f for f in accuracy["forecasts"] if f["beyond"] == [1e9]]
    assert within["reason"] == "it lies within the scales that were measured"


def test_where_none_is_offered_the_row_says_why(
    table: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert forecast(table, "--at", "1e30") == 0
    captured = capsys.readouterr()
    rows = captured.out.splitlines()
    assert rows[0].split()[:6] == ["ability", "method", "at", "value", "low", "high"]
    assert len(rows) > 1
    assert all("1e+30" in row for row in rows[1:])
    assert any("further off" in row or "three quarters" in row for row in rows[1:])
    assert "forecasts over parameters" in captured.err


def test_along_loss_a_scale_is_a_loss(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert forecast(table, "--x", "loss", "--at", "2.1", "--at", "3", "--csv") == 0
    rows = [line.split(",") for line in capsys.readouterr().out.splitlines()[1:]]
    assert {row[2] for row in rows} == {"2.1", "3.0"}
    assert all(row[3] == "" for row in rows if row[2] == "3.0")  # within what was measured
    assert any(row[3] for row in rows if row[2] == "2.1")


@pytest.mark.parametrize("at", ["1x", "-1e9", "0", "b", "1e999", "nan"])
def test_what_is_no_scale_is_refused(
    table: str, at: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert forecast(table, f"--at={at}") == 2
    assert f"--at {at}: expected a scale above zero" in capsys.readouterr().err


def test_a_scale_has_to_be_asked_for(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert forecast(table) == 2
    assert "--at" in capsys.readouterr().err
    assert forecast(table, "--at", "1e12", "--json", "--csv") == 2
