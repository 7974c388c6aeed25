"""`emergectl analyze`: from a table to verdicts; wrong requests end with one clear line."""

import json
from pathlib import Path

import pytest

from emergectl.cli.main import main
from emergectl.store.measurements import Measurement, MetricFacts, append_measurements

WIDE = """size,add,sub
1,0.0,0.05
2,0.01,0.14
4,0.0,0.23
8,0.02,0.33
16,0.83,0.42
32,0.84,0.51
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
    said = json.loads(capsys.readouterr().out)
    assert said["axis"] == "params"
    add, sub = said["abilities"]
    assert (add["task"], add["verdict"]) == ("add", "emergent")
    assert 4e6 < add["break"]["position"]["low"] < add["break"]["position"]["high"] < 32e6
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
    assert "1 emergent, 1 smooth over parameters (as given)" in captured.err
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
    (finding,) = json.loads(capsys.readouterr().out)["abilities"]
    assert (finding["axis"], finding["task"], finding["metric"]) == (
        "step",
        "validation",
        "accuracy",
    )
    assert finding["verdict"] == "emergent"


def test_metrics_of_the_same_outputs_are_told_by_naming_their_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "t.csv"
    rows = [(2**k, 0.02 if k < 4 else 0.7, -2 + 0.2 * k) for k in range(8)]
    path.write_text("size,em,lp\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows))
    names = "em=add/exact_match,lp=add/logprob_per_token"
    command = ["analyze", "emergence", str(path), "--params", "size", "--values", names]
    command += ["--n", "500", "--chance", "exact_match=0"]
    assert main(command) == 0
    told = capsys.readouterr().err
    assert "Beside logprob_per_token: " in told
    assert "metric does not hold" in told or "metric not shown" in told
    assert "forecast direct:" in told
    assert "forecast through logprob_per_token:" in told
    assert main([*command, "--json"]) == 0
    exact, log = json.loads(capsys.readouterr().out)["abilities"]
    assert exact["pair"]["metric"] == "logprob_per_token"
    assert log["pair"] is None
    assert exact["measured"][0]["seeds"][0]["where"].endswith("t.csv:2")


def test_seeds_that_fall_in_two_groups_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "t.csv"
    lines = ["params,seed,value,n,chance"]
    for k in range(6):
        for seed in range(10):
            learned = k > 3 or (k == 3 and seed < 5)
            lines.append(f"{10**k},{seed},{0.9 + seed / 500 if learned else seed / 500},100,0")
    path.write_text("\n".join(lines) + "\n")
    assert main(["analyze", "emergence", str(path)]) == 0
    told = capsys.readouterr().err
    shares = "0/10, 0/10, 0/10, 5/10, 10/10, 10/10"
    level = "0.5 or better, half way from chance 0 to 1"
    assert f"seeds that succeed ({level}), by scale: {shares}" in told
    assert "at 1,000 the seeds fall in two groups" in told


def test_models_over_steps_are_set_on_every_axis_and_their_lags_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "t.csv"
    lines = ["model,params,tokens,step,loss,task,metric,value,n,chance"]
    for params in (1e6, 1e7, 1e8, 1e9):
        for step in (2**k for k in range(4, 16)):
            loss = 1.7 + 40 / params**0.2 + 30 / step**0.3
            for task, at in (("train", 64), ("test", 2048)):
                cells = ("m", params, step * 100, step, loss, task, "accuracy")
                value = 0.0 if step < at else 0.9
                lines.append(f"{cells[0]}{params:g}," + ",".join(map(str, (*cells[1:], value))))
                lines[-1] += ",1000,0"
    path.write_text("\n".join(lines) + "\n")
    assert main(["analyze", "emergence", str(path), "--x", "step"]) == 0
    told = capsys.readouterr().err
    assert "m1e+06/test/accuracy follows m1e+06/train/accuracy after" in told
    assert "one curve for all models, error over tokens" in told
    assert "appears at loss" in told


def test_a_scaling_law_is_fitted_to_a_table_of_losses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "runs.csv"
    rows = [
        (n, 6 * n * d, 1.7 + 400 / n**0.34 + 410 / d**0.28)
        for n in (1e7, 1e8, 1e9, 1e10)
        for d in (1e9, 1e10, 1e11, 1e12)
    ]
    path.write_text("N,C,loss\n" + "".join(f"{n},{c},{loss}\n" for n, c, loss in rows))
    command = ["analyze", "scaling", str(path), "--params", "N", "--flops", "C", "--draws", "100"]
    assert main([*command, "--json"]) == 0
    law = json.loads(capsys.readouterr().out)
    assert law["parameters"]["E"]["value"] == pytest.approx(1.7, rel=0.01)
    assert law["parameters"]["alpha"]["value"] == pytest.approx(0.34, rel=0.01)
    assert main([*command, "--drop-highest", "2"]) == 0
    captured = capsys.readouterr()
    assert "params_exponent" in captured.out
    assert "14 runs" in captured.err


def test_runs_whose_tokens_follow_from_their_sizes_give_no_law(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "runs.csv"
    lines = [f"{n},{20 * n},{2 + n**-0.1}" for n in (1e6, 1e7, 1e8, 1e9)]
    path.write_text("params,tokens,loss\n" + "\n".join(lines) + "\n")
    assert main(["analyze", "scaling", str(path)]) == 2
    assert "tokens follow from params" in capsys.readouterr().err


def test_the_plot_of_an_ability_shows_points_chance_and_break(wide: Path) -> None:
    from emergectl.analysis.columns import ColumnMapping
    from emergectl.analysis.examine import examine
    from emergectl.analysis.reading import read_tables
    from emergectl.analysis.table import with_defaults
    from emergectl.analysis.table_curves import curves_of
    from emergectl.analysis.verdict import judge
    from emergectl.cli.findings import plot

    table = with_defaults(
        read_tables([wide], ColumnMapping(values=("add",), params="size")), n=500, chance={"": 0.0}
    )
    examined = examine(table, judge(curves_of(table, "params")), alpha=0.05)
    text = plot(examined.abilities[0], "params", alpha=0.05, width=60, color=False)
    assert text.splitlines()[0] == "add: emergent (over params)"
    assert text.count("o") >= 8
    assert "┊" in text
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 60


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--value", "ad"], "did you mean 'add'?"),
        (["--values", "add", "--params", "size", "--x", "height"], "an axis is one of"),
        (["--values", "add"], "no scale"),
        (["--values", "add", "--chance", "x=y"], "no column 'y'"),
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


def a_run(folder: Path, number: int, *, params: int, losses: dict[int, float]) -> Path:
    """A finished run: held-out loss by step, tokens a hundred times the steps."""
    run = folder / f"20260101-00000{number % 10}-r-{number:04x}"
    run.mkdir()
    facts = {"id": run.name, "name": "ladder", "seed": 0}
    counts = {"parameters": 15 * params, "non_embedding_parameters": params}
    (run / "run.json").write_text(json.dumps(facts | counts))
    lines = [{"step": step, "tokens": step * 100, "flops": 600 * params * step} for step in losses]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    what = MetricFacts("continuous", "down", "loss", likelihood="token")
    rows = [
        Measurement("validation", "loss", loss, what, "loop", step) for step, loss in losses.items()
    ]
    append_measurements(run, rows)
    return run


def test_a_scaling_law_is_fitted_to_runs_each_at_its_last_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, most = [], (10**5, 10**6, 10**7, 10**8)
    for params in (10**5, 10**6, 10**7, 10**8):
        for last in most:
            tokens = {step: step * 100 for step in (last // 10, last)}
            losses = {s: 1.7 + 40 / params**0.34 + 410 / d**0.28 for s, d in tokens.items()}
            runs.append(a_run(tmp_path, len(runs), params=params, losses=losses))
    command = ["analyze", "scaling", *map(str, runs), "--draws", "100"]
    assert main([*command, "--json"]) == 0
    law = json.loads(capsys.readouterr().out)
    assert law["runs"] == 16
    assert law["parameter_count"] == "non-embedding parameters"
    assert law["parameters"]["alpha"]["value"] == pytest.approx(0.34, rel=0.02)
    assert law["parameters"]["E"]["value"] == pytest.approx(1.7, rel=0.02)
    assert main(command) == 0
    assert "params: non-embedding parameters" in capsys.readouterr().err


@pytest.mark.parametrize("steps", [(10,), (10, 1000)])
def test_a_run_with_one_or_two_evaluations_is_shown(
    steps: tuple[int, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = a_run(tmp_path, 0, params=10**5, losses={step: 3 - step / 1000 for step in steps})
    assert main(["report", str(run)]) == 0
    page = (run / "report" / "report.html").read_text()
    assert f"{len(steps)} scales; 5 are the fewest" in page
    assert main(["analyze", "emergence", str(run)]) == 0
    assert "1 undetermined" in capsys.readouterr().err


def test_every_table_and_page_says_which_count_of_parameters_it_shows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wide: Path
) -> None:
    runs = [
        a_run(tmp_path, k, params=10 ** (5 + k), losses={10: 3 - k / 10, 100: 2.9 - k / 10})
        for k in range(3)
    ]
    command = [*map(str, runs), "--x", "params"]
    assert main(["analyze", "emergence", *command]) == 0
    told = capsys.readouterr()
    assert "non-embedding parameters" in told.out
    assert "over non-embedding parameters" in told.err
    assert main(["analyze", "emergence", *command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parameters"] == "non-embedding parameters"
    assert main(["report", *command, "--format", "md"]) == 0
    page = capsys.readouterr().out
    assert "over non-embedding parameters" in page
    assert "| run | state | total parameters | non-embedding |" in page
    assert "| 1.5M | 100k |" in page
    options = ["--params", "size", "--values", "add"]
    assert main(["report", str(wide), *options, "--format", "md"]) == 0
    assert "over parameters (as given)" in capsys.readouterr().out


def test_error_rates_are_told_with_what_is_promised(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["analyze", "calibrate", "--trials", "10", "--jobs", "1"]
    code = main([*command, "--only", "50 POINTS, a ramp", "--json"])
    out, told = capsys.readouterr()
    rows = json.loads(out)
    assert [row["what"] for row in rows] == [
        f"sharp rise: 50 points, a ramp: {rate}"
        for rate in ("found", "position covered", "position of no width")
    ]
    assert {row["trials"] for row in rows} == {10}
    assert code == int(any(row["state"] == "broken" for row in rows))
    assert all(row["low"] <= row["rate"] <= row["high"] for row in rows)
    assert rows[1]["promised"] == "at least 0.92"
    assert told.count("sharp rise: 50 points, a ramp") == 3


def test_no_claim_of_that_name_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", "calibrate", "--only", "nonsense"]) == 2
    assert "no claim is called so; they begin with: false emergent; " in capsys.readouterr().err
