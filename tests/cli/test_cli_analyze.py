"""`emergectl analyze`: from a table to verdicts; wrong requests end with one clear line."""

import json
from pathlib import Path

import pytest

from emergectl.cli.main import main

WIDE = """size,add,sub
1,0.0,0.05
2,0.01,0.14
4,0.0,0.23
8,0.02,0.33
16,0.5,0.42
32,0.81,0.51
64,0.83,0.61
128,0.84,0.7
"""


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    path = tmp_path / "wide.csv"
    path.write_text(WIDE)
    return path


def test_a_wide_table_gives_a_verdict_for_every_column(
    wide: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["analyze", "emergence", str(wide), "--params", "size", "--values", "add,sub"]
    command += ["--n", "500", "--chance", "0", "--scale", "params=1e6", "--json"]
    assert main(command) == 0
    add, sub = json.loads(capsys.readouterr().out)
    assert (add["task"], add["verdict"]) == ("add", "emergent")
    assert 8e6 < add["break"]["position"]["low"] < add["break"]["position"]["high"] < 32e6
    assert sub["verdict"] == "smooth"
    assert sub["shapes"][0]["shape"] == "line"
    assert add["overturn"]


def test_a_mapping_file_says_the_same_as_options(
    wide: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mapping = tmp_path / "columns.yaml"
    mapping.write_text("params: size\nvalues: [add, sub]\nn: 500\nchance: {add: 0, sub: 0}\n")
    assert main(["analyze", "emergence", str(wide), "--columns", str(mapping)]) == 0
    captured = capsys.readouterr()
    assert "emergent" in captured.out
    assert "1 emergent, 1 smooth over params" in captured.err
    assert "would overturn it" in captured.err


def test_a_run_is_judged_over_its_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "20260101-000000-r-abcd"
    run.mkdir()
    (run / "run.json").write_text('{"id": "20260101-000000-r-abcd", "name": "r", "seed": 0}')
    lines = [
        {"step": 2**k, "tokens": 2**k * 10, "parameters": 5, "loss": 1.0, "validation/accuracy": v}
        for k, v in enumerate([0, 0, 0.01, 0, 0.7, 0.9, 0.91, 0.9])
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = ["analyze", "emergence", str(run), "--x", "step", "--n", "1000", "--chance", "0"]
    assert main([*command, "--json"]) == 0
    (finding,) = json.loads(capsys.readouterr().out)
    assert (finding["axis"], finding["task"], finding["metric"]) == (
        "step",
        "validation",
        "accuracy",
    )
    assert finding["verdict"] == "emergent"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--value", "ad"], "did you mean 'add'?"),
        (["--values", "add", "--params", "size", "--x", "height"], "an axis is one of"),
        (["--values", "add"], "no scale"),
        (["--values", "add", "--chance", "x=y"], "'y' is no number"),
        (["--values", "add", "--n", "0"], "1 or more"),
        (["--values", "add", "--where", "size"], "NAME=VALUE"),
        (["--values", "add", "--scale", "height=2"], "a scale is one of"),
        (["--json", "--csv"], "exclude each other"),
    ],
)
def test_wrong_requests_end_with_exit_code_2_and_one_line(
    wide: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["analyze", "emergence", str(wide), *options]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert len(captured.err.strip().splitlines()) == 1


def test_a_file_that_is_not_there_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["analyze", "emergence", str(tmp_path / "no.csv")]) == 2
    assert "no.csv" in capsys.readouterr().err
