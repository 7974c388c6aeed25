"""The tidy table, and what the other commands say of a sweep."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from nursery import Nursery
from sweep_study import Study

from emergectl.analysis.table_curves import choose_axis
from emergectl.cli.main import main
from emergectl.cli.tables import TableSource, read_source
from emergectl.evaluation.metrics import metric_facts
from emergectl.store.locate import list_runs
from emergectl.store.measurements import FILE, Measurement, MetricFacts, append_measurements
from emergectl.store.metrics_log import read_metrics
from emergectl.store.rows import Row, rows_of_run
from emergectl.sweeps.folder import SweepFolder
from emergectl.sweeps.table import rows_of_sweep


@pytest.fixture(scope="module")
def done(nursery: Nursery, text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs directory of a sweep that is done."""
    from sweep_study import SWEEP

    folder = tmp_path_factory.mktemp("done")
    sweep = folder / "tiny.yaml"
    varies = "grid: {optimizer.lr: [1e-3, 1e-2], model.size: [10k, 30k]}\nseeds: 2"
    sweep.write_text(SWEEP.format(text=text, varies=varies, steps=6, ensemble="auto"))
    ended = nursery.run("sweep", sweep, "--workers", 2, "--runs-dir", folder / "runs")
    assert ended.code == 0, ended.said
    return folder / "runs"


def answer(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def test_every_measured_value_has_a_row_with_its_scale(
    done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = answer(capsys, "sweep", "table", "tiny", "--runs-dir", done)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {row["direction"] for row in rows if row["metric"] == "loss"} == {"down"}
    measured = 0
    for run in list_runs(done):
        for record in read_metrics(run / "metrics.jsonl"):
            for name, value in record.items():
                if "/" not in name:
                    continue
                measured += 1
                task, metric = name.split("/")
                assert any(
                    row["task"] == task
                    and row["metric"] == metric
                    and float(row["value"]) == value
                    and float(row["tokens"]) == record["tokens"]
                    and int(row["parameters"]) == record["parameters"]
                    and int(row["non_embedding_parameters"]) == record["non_embedding_parameters"]
                    and int(row["step"]) == record["step"]
                    for row in rows
                )
    assert len(rows) == measured
    assert {(row["model"], row["seed"], row["optimizer.lr"]) for row in rows} == {
        (f"gpt2 {size}", seed, lr)
        for size in ("10k", "30k")
        for seed in ("0", "1")
        for lr in ("0.001", "0.01")
    }


def test_the_table_is_the_same_as_csv_json_and_parquet(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables: list[Any] = []
    for ending in ("csv", "json", "parquet"):
        path = tmp_path / f"table.{ending}"
        answer(capsys, "sweep", "table", "tiny", "-o", path, "--runs-dir", done)
        if ending == "csv":
            tables.append([row["value"] for row in csv.DictReader(path.open())])
        elif ending == "json":
            tables.append([str(row["value"]) for row in json.loads(path.read_text())])
        else:
            tables.append([str(value) for value in pq.read_table(path)["value"].to_pylist()])
    assert tables[0] == tables[1] == tables[2]
    assert main(["sweep", "table", "tiny", "-o", str(tmp_path / "x.txt")]) == 2


def test_the_same_runs_give_equal_rows_named_as_runs_and_as_a_sweep(done: Path) -> None:
    folder = SweepFolder(done, "tiny")
    as_sweep = [each.row for each in rows_of_sweep(folder, folder.read_plan())]
    as_runs = [row for run in list_runs(done) for row in rows_of_run(run, metric_facts)]
    assert {row.run.id for row in as_sweep} == {run.name for run in list_runs(done)}

    def by_run(row: Row) -> str:
        return row.run.id

    assert sorted(as_sweep, key=by_run) == sorted(as_runs, key=by_run)
    for row in as_sweep:
        known = (row.run.parameters, row.run.non_embedding_parameters, row.tokens, row.loss)
        assert None not in known
        assert row.measurement.n is not None


def test_what_was_asked_afterwards_joins_the_table(
    done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = list_runs(done)[0]
    share = MetricFacts("discontinuous", "up", "share")
    whole = Measurement("sums", "exact_match", 0.25, share, "eval", 6, n=40, chance=0.01)
    grouped = replace(whole, value=0.5, n=20, group=("digits", 2))
    kept = (run / FILE).read_bytes() if (run / FILE).exists() else b""
    append_measurements(run, [whole, grouped])
    rows = json.loads(answer(capsys, "sweep", "table", "tiny", "--json", "--runs-dir", done))
    found = [row for row in rows if row["task"] == "sums"]
    assert [(row["value"], row["n"], row["step"], row["group"]) for row in found] == [
        (0.25, 40, 6, None),
        (0.5, 20, 6, "digits=2"),
    ]
    assert found[0]["chance"] == 0.01
    assert found[0]["tokens"] > 0
    (run / FILE).write_bytes(kept)


def test_best_lists_trials_by_a_metric(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "best", "tiny", "--json", "--runs-dir", str(done)]) == 0
    said = capsys.readouterr()
    assert "by validation/loss: less is better" in said.err
    found = json.loads(said.out)
    losses = [row["validation/loss"] for row in found]
    assert len(found) == 5
    assert losses == sorted(losses)
    assert main(["sweep", "best", "tiny", "-m", "no/such", "--runs-dir", str(done)]) == 2
    assert "there are: validation/" in capsys.readouterr().err


def test_status_and_logs_tell_of_the_sweep_and_of_a_trial(
    done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "8 trials: 8 done" in answer(capsys, "sweep", "status", "tiny", "--runs-dir", done)
    told = json.loads(answer(capsys, "sweep", "status", "tiny", "--json", "--runs-dir", done))
    assert told["states"] == {"done": 8}
    assert len(answer(capsys, "sweep", "logs", "tiny", "--runs-dir", done).splitlines()) == 8
    key = told["trials"][0]["trial"]
    answer(capsys, "sweep", "logs", "tiny", key[:10], "--runs-dir", done)
    assert main(["sweep", "logs", "tiny", "zzz", "--runs-dir", str(done)]) == 2


def test_runs_list_knows_a_sweeps_runs_and_does_not_take_its_directory_for_one(
    done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = json.loads(answer(capsys, "runs", "list", "sweep=tiny", "--json", "--runs-dir", done))
    assert len(found) == 8
    assert len({row["trial"] for row in found}) == 8
    everything = json.loads(answer(capsys, "runs", "list", "--json", "--runs-dir", done))
    assert len(everything) == 8
    assert (done / "sweeps" / "tiny").is_dir()


def test_a_sweep_that_has_not_begun_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("status", "table", "best", "logs", "stop"):
        assert main(["sweep", command, "nosuch", "--runs-dir", str(tmp_path)]) == 2
        assert "has not begun" in capsys.readouterr().err


def test_a_dry_run_reckons_every_trial_and_makes_nothing(
    nursery: Nursery, study: Study, tmp_path: Path
) -> None:
    sweep = study("grid: {model.size: [10k, 30k]}\nseeds: 3", steps=10)
    root = tmp_path / "runs"
    ended = nursery.run("sweep", sweep, "--dry-run", "--json", "--runs-dir", root)
    assert ended.code == 0, ended.said
    told = json.loads(ended.stdout)
    assert not root.exists()
    assert (told["size"], told["done"]) == (6, 0)
    assert nursery.run("sweep", sweep, "--workers", 2, "--runs-dir", root).code == 0
    folder = SweepFolder(root, "tiny")
    for trial in told["trials"]:
        run = folder.look(trial["trial"]).path
        assert run is not None
        last = list(read_metrics(run / "metrics.jsonl"))[-1]
        assert last["flops"] == pytest.approx(trial["flops"])
        assert last["tokens"] == trial["tokens"]
        assert last["parameters"] == trial["parameters"]
        states = (run / "checkpoints").glob("*/*.safetensors")
        assert sum(path.stat().st_size for path in states) == pytest.approx(
            trial["bytes"], rel=0.25
        )


def test_a_sweep_is_judged_and_reported_with_what_it_varies_keeping_curves_apart(
    done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = json.loads(
        answer(capsys, "analyze", "emergence", "tiny", "--x", "flops", "--runs-dir", done, "--json")
    )
    assert {ability["group"] for ability in found["abilities"]} == {"lr 0.001", "lr 0.01"}
    assert all(ability["seeds"] == [2, 2] for ability in found["abilities"])
    page = Path(answer(capsys, "report", "tiny", "--x", "flops", "--runs-dir", done).strip())
    assert page == done / "sweeps" / "tiny" / "report" / "report.html"
    text = page.read_text(encoding="utf-8")
    for run in list_runs(done):
        assert f'href="../../../{run.name}"' in text
        assert f'href="../../../{run.name}/measurements.jsonl"' in text
    assert "emergectl sweep tiny" in text


def test_a_sweep_is_judged_as_its_runs_are(done: Path) -> None:
    runs = [run.name for run in list_runs(done)]
    as_sweep = read_source(TableSource(["tiny"], {}, done))
    as_runs = read_source(TableSource(runs, {}, done))
    assert {repr(row) for row in as_sweep.rows} == {repr(row) for row in as_runs.rows}
    assert len(as_sweep.rows) == len(as_runs.rows) > 0
    assert choose_axis(as_sweep) == choose_axis(as_runs)
    assert {row.count for row in (*as_sweep.rows, *as_runs.rows)} == {"non-embedding"}
    assert {row.group for row in as_sweep.rows} == {"lr 0.001", "lr 0.01"}
    assert {row.model for row in as_sweep.rows} == {"gpt2 10k", "gpt2 30k"}
