"""Many runs as one table, and runs side by side."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from emergectl.config.schema import Experiment
from emergectl.errors import DataError, RequestError
from emergectl.store.compare import (
    difference,
    metric_table,
    read_curve,
    run_table,
    short_names,
    side_by_side,
)
from emergectl.store.metrics_log import MetricsLog
from emergectl.store.run import create_run
from emergectl.store.status import State, timestamp, utc_now
from emergectl.store.table import flatten, is_filter, last_values, list_rows, read_row


def make_run(
    root: Path,
    name: str,
    *,
    state: State = "done",
    losses: tuple[float, ...] = (3.0, 2.0),
    days_old: float = 0,
    **sections: Any,
) -> Path:
    experiment = Experiment.model_validate(
        {"name": name, "data": {"train": [{"path": "a.txt"}]}} | sections
    )
    with create_run(root, experiment, argv=[]) as run:
        run.set_status("running")
        for index, loss in enumerate(losses):
            run.metrics.append({"step": index * 10, "loss": loss})
        run.metrics.append({"step": len(losses) * 10, "validation/loss": losses[-1] + 1})
        run.describe(created=timestamp(utc_now() - timedelta(days=days_old)))
        run.set_status(state, step=len(losses) * 10, exit_code=0)
    return run.path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs, which no test may change."""
    root = tmp_path_factory.mktemp("runs")
    make_run(root, "copy-a", losses=(3.0, 1.0), days_old=3)
    make_run(root, "copy-b", losses=(3.0, 2.0), optimizer={"lr": 1e-4}, days_old=2)
    make_run(root, "add", state="failed", losses=(4.0, 3.9, float("nan")), stage="finetune")
    return root


def names(root: Path, *where: str, sort: str = "-created", limit: int | None = None) -> list[str]:
    return [row.name for row in list_rows(root, where=where, sort=sort, limit=limit)]


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ((), ["add", "copy-b", "copy-a"]),
        (("status=failed",), ["add"]),
        (("status=FAILED,preempted",), ["add"]),
        (("status!=failed",), ["copy-b", "copy-a"]),
        (("name=copy*",), ["copy-b", "copy-a"]),
        (("name=copy*", "loss<1.5"), ["copy-a"]),
        (("stage=finetune",), ["add"]),
        (("since=1d",), ["add"]),
        (("until=1d",), ["copy-b", "copy-a"]),
        (("since=60h", "until=12h"), ["copy-b"]),
        (("since=2000-01-01",), ["add", "copy-b", "copy-a"]),
        (("step>=30",), ["add"]),
        (("validation/loss<=2",), ["copy-a"]),
        (("optimizer.lr=1e-4",), ["copy-b"]),
        (("optimizer.lr=0.001",), ["add", "copy-a"]),
        (("name=nothing",), []),
    ],
)
def test_filters_pass_what_they_name(runs: Path, where: tuple[str, ...], found: list[str]) -> None:
    assert names(runs, *where) == found


@pytest.mark.parametrize(
    ("filter_", "reason"),
    [
        ("failed", "expected KEY=VALUE, such as status=failed"),
        ("status=faild", "a status is one of pending, running, done, failed, preempted"),
        ("stauts=failed", "did you mean status"),
        ("optimiser.lr=1", "did you mean optimizer.lr"),
        ("since=yesterday", r"a time ago \(30m, 12h, 2d, 1w\) or a date"),
        ("since>2d", "write since="),
        ("step>many", "compares numbers"),
    ],
)
def test_a_filter_that_cannot_be_says_what_can(runs: Path, filter_: str, reason: str) -> None:
    with pytest.raises(RequestError, match=reason):
        names(runs, filter_)


def test_rows_are_sorted_by_any_key_with_those_that_lack_it_last(runs: Path) -> None:
    assert names(runs, sort="name") == ["add", "copy-a", "copy-b"]
    assert names(runs, sort="loss") == ["copy-a", "copy-b", "add"]  # nan is no loss
    assert names(runs, sort="-loss") == ["copy-b", "copy-a", "add"]
    assert names(runs, sort="optimizer.lr", limit=1) == ["copy-b"]
    with pytest.raises(RequestError, match="did you mean loss"):
        names(runs, sort="los")


def test_a_run_killed_while_it_was_made_is_listed_with_its_reason(root: Path) -> None:
    (root / "20200101-000000-half-0000").mkdir(parents=True)
    (make_run(root, "broken") / "run.json").write_text("{")
    broken, half = list_rows(root)
    assert (half.status, half.created) == ("failed", "2020-01-01T00:00:00.000Z")
    assert "killed while it was made" in (half.reason or "")
    assert (broken.name, broken.status) == ("broken", "failed")


def test_last_values_are_those_of_the_end_and_a_torn_or_bad_line_hides_none(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    for step in range(2000):
        log.append({"step": step, "loss": 1.0, **({"rare": step} if step == 1990 else {})})
    with path.open("ab") as file:
        file.write(b'not json\n{"step": 2000, "loss": 0.5}\n{"step": 2001, "lo')
    assert last_values(path) == {"step": 2000, "loss": 0.5, "rare": 1990}
    assert last_values(tmp_path / "none") == {}


def test_flattening_keeps_lists_of_scalars_and_empty_parts() -> None:
    data = {"a": {"b": 1, "c": []}, "d": [{"e": 2}, {"e": 3}], "f": [1, 2], "g": {}}
    flat = {"a.b": 1, "a.c": [], "d.0.e": 2, "d.1.e": 3, "f": [1, 2], "g": {}}
    assert flatten(data) == flat


def test_a_filter_is_told_from_a_name() -> None:
    assert is_filter("status=done")
    assert is_filter("loss<2")
    assert not is_filter("20261101-100000-copy-aaaa")
    assert not is_filter("./runs/x")


# Side by side -----------------------------------------------------------------------------------


def test_curves_stand_side_by_side_with_gaps_where_a_run_has_no_value(root: Path) -> None:
    long = read_curve(make_run(root, "long", losses=(3.0, 2.0, 1.0)), "loss")
    short = read_curve(make_run(root, "short", losses=(3.5,)), "loss")
    columns, rows = side_by_side([long, short])
    assert columns == ["step", "long", "short"]
    assert rows == [[0, 3.0, 3.5], [10, 2.0, None], [20, 1.0, None]]


def test_a_long_curve_is_thinned_to_rows_that_keep_both_ends(root: Path) -> None:
    run = make_run(root, "long", losses=tuple(range(1000)))
    _, rows = side_by_side([read_curve(run, "loss")], rows=11)
    assert [row[0] for row in rows] == [
        *(0, 1000, 2000, 3000, 4000, 5000, 5990, 6990, 7990, 8990, 9990)
    ]


def test_a_metric_that_was_not_logged_names_those_that_were(root: Path) -> None:
    with pytest.raises(RequestError, match="no metric 'accuracy'; it has loss, validation/loss"):
        read_curve(make_run(root, "a"), "accuracy")


def test_a_bad_line_is_named_when_the_curve_is_read(root: Path) -> None:
    run = make_run(root, "a")
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(b"oops\n")
    with pytest.raises(DataError, match=r"metrics.jsonl:4: not JSON"):
        read_curve(run, "loss")


def test_runs_of_one_name_are_told_apart_by_the_end_of_their_ids(root: Path) -> None:
    rows = [read_row(make_run(root, "same")) for _ in range(2)]
    assert short_names(rows) == [f"same-{row.id[-4:]}" for row in rows]
    assert short_names(rows[:1]) == ["same"]


def test_a_difference_holds_only_what_differs_unless_all_is_asked_for(root: Path) -> None:
    first = make_run(root, "a", optimizer={"lr": 0.1})
    second = make_run(root, "b", optimizer={"lr": 0.2}, seed=3)
    columns, rows = difference([first, second])
    assert columns == ["key", "a", "b"]
    assert rows == [["name", "a", "b"], ["seed", 0, 3], ["optimizer.lr", 0.1, 0.2]]
    _, everything = difference([first, second], everything=True)
    keys = [row[0] for row in everything]
    assert {"train.batch_size", "code.version", "versions.torch"} <= set(keys)
    assert len(keys) == len(set(keys))


def test_exported_rows_hold_status_experiment_and_last_metrics(runs: Path) -> None:
    columns, table = run_table(list_rows(runs, sort="name"))
    assert len(columns) == len(set(columns))
    rows = [dict(zip(columns, row, strict=True)) for row in table]
    assert [row["name"] for row in rows] == ["add", "copy-a", "copy-b"]
    assert rows[2]["optimizer.lr"] == 1e-4
    assert rows[1]["validation/loss"] == 2.0
    assert rows[0]["status"] == "failed"


def test_exported_metrics_hold_every_value_that_was_logged(root: Path) -> None:
    path = make_run(root, "a", losses=(3.0, 2.0), seed=7)
    columns, table = metric_table([read_row(path)])
    assert columns == [
        "run",
        "name",
        "seed",
        "step",
        "tokens",
        "flops",
        "seconds",
        "metric",
        "value",
    ]
    assert [[row[3], row[7], row[8]] for row in table] == [
        [0, "loss", 3.0],
        [10, "loss", 2.0],
        [20, "validation/loss", 3.0],
    ]
    logged = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert len(logged) == len(table)
