"""measurements.jsonl: what was measured stands there whole and once, however many write at once."""

import json
import math
import os
import random
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from store_children import start_child, wait

from emergectl.errors import DataError
from emergectl.store.measurements import (
    FILE,
    Measurement,
    MetricFacts,
    append_measurements,
    forget_after,
    read_measurements,
)
from emergectl.store.rows import Row, rows_of_run

MATCH = MetricFacts("discontinuous", "up", "share", least=0.0, most=1.0)
LOSS = MetricFacts("continuous", "down", "loss", least=0.0)
PERPLEXITY = MetricFacts("continuous", "down", "loss", scale="log", least=1.0)


def measured(step: int, value: float = 0.5, **fields: Any) -> Measurement:
    plain: dict[str, Any] = {"task": "addition", "metric": "exact_match", "source": "loop"}
    return Measurement(**(plain | {"what": MATCH, "step": step, "value": value} | fields))


def test_what_was_written_is_read_back_with_every_field(tmp_path: Path) -> None:
    full = measured(
        7,
        0.25,
        low=0.1,
        high=0.4,
        n=823,
        unit="item",
        chance=0.01,
        shortcut=0.34,
        shortcut_by="naming the most frequent listed value",
        ceiling=1.0,
        group=("digits", 3),
        asked={"shots": 5, "filter": "strict-match"},
        items="abc",
    )
    rows = [full, measured(8), measured(8, math.inf, metric="perplexity", what=PERPLEXITY)]
    append_measurements(tmp_path, rows)
    assert read_measurements(tmp_path) == rows


def test_a_value_measured_again_stands_once_and_the_last_one_counts(tmp_path: Path) -> None:
    append_measurements(tmp_path, [measured(1, 0.1), measured(2, 0.2)])
    append_measurements(tmp_path, [measured(1, 0.3)])
    assert [(one.step, one.value) for one in read_measurements(tmp_path)] == [(1, 0.3), (2, 0.2)]


@pytest.mark.parametrize(
    "other",
    [
        {"task": "sorting"},
        {"metric": "accuracy"},
        {"group": ("digits", 2)},
        {"asked": {"shots": 5}},
        {"source": "eval"},
        {"step": 2},
    ],
)
def test_what_was_asked_otherwise_is_another_value(tmp_path: Path, other: dict[str, Any]) -> None:
    append_measurements(tmp_path, [measured(1), replace(measured(1), value=0.9, **other)])
    assert [one.value for one in read_measurements(tmp_path)] == [0.5, 0.9]


def test_going_on_from_a_checkpoint_leaves_the_file_of_a_run_that_never_stopped(
    tmp_path: Path,
) -> None:
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    for run, steps in ((straight, [1, 2, 4, 8]), (stopped, [1, 2, 4])):
        run.mkdir()
        for step in steps:
            append_measurements(run, [measured(step), measured(step, 2.0, metric="loss")])
    forget_after(stopped, 2)
    for step in (4, 8):
        append_measurements(stopped, [measured(step), measured(step, 2.0, metric="loss")])
    assert (stopped / FILE).read_bytes() == (straight / FILE).read_bytes()


def test_going_on_keeps_what_others_measured_of_later_snapshots(tmp_path: Path) -> None:
    append_measurements(tmp_path, [measured(1), measured(9), measured(9, 0.7, source="eval")])
    forget_after(tmp_path, 4)
    assert [(one.step, one.source) for one in read_measurements(tmp_path)] == [
        (1, "loop"),
        (9, "eval"),
    ]


def test_a_torn_tail_is_passed_over_and_cut_off_by_the_next_writer(tmp_path: Path) -> None:
    append_measurements(tmp_path, [measured(1)])
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"task": "addi')
    assert [one.step for one in read_measurements(tmp_path)] == [1]
    append_measurements(tmp_path, [measured(2)])
    assert [one.step for one in read_measurements(tmp_path)] == [1, 2]


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("[1, 2]", "list"),
        ('{"task": "a", "metric": "b"}', "not a measurement"),
        ('{"task": "a", "metric": "b", "value": "x", "kind": "continuous"}', "not a measurement"),
        (None, "no field 'colour'"),
    ],
)
def test_a_line_that_is_no_measurement_is_named(
    tmp_path: Path, line: str | None, word: str
) -> None:
    line = line or json.dumps(measured(1).to_json() | {"colour": 3})
    append_measurements(tmp_path, [measured(1)])
    with (tmp_path / FILE).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=rf"{FILE}:2: .*{word}"):
        read_measurements(tmp_path)


def test_two_writers_one_that_takes_back_and_a_reader_lose_nothing(tmp_path: Path) -> None:
    """The loop goes on again and again from step 50 while two evaluations write; all are killed
    now and then: what was written and not taken back is there, and no reading fails."""
    append_measurements(tmp_path, [measured(step) for step in range(51)])

    def evaluate(seed: int) -> None:
        for number in range(60):
            append_measurements(
                tmp_path, [measured(1000 + number, 0.5, task=f"t{seed}", source="eval")]
            )

    def go_on() -> None:
        rng = random.Random(os.getpid())
        while True:
            append_measurements(tmp_path, [measured(51 + rng.randrange(50))])
            forget_after(tmp_path, 50)

    stop, failures = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            try:
                found = read_measurements(tmp_path)
            except DataError as error:
                failures.append(error)
                return
            assert sum(one.source == "loop" and (one.step or 0) <= 50 for one in found) == 51

    reader = threading.Thread(target=read)
    reader.start()
    writers = [start_child(lambda seed=seed: evaluate(seed)) for seed in (1, 2)]
    for _ in range(10):
        loop = start_child(go_on)
        time.sleep(0.03)
        os.kill(loop, 9)
        wait(loop)
    for child in writers:
        assert wait(child) == 0
    stop.set()
    reader.join()
    assert not failures
    forget_after(tmp_path, 50)
    found = read_measurements(tmp_path)
    for seed in (1, 2):
        assert [one.step for one in found if one.task == f"t{seed}"] == [
            1000 + number for number in range(60)
        ]


# Rows: measurements with what is known of their run.


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of 8 steps of 100 tokens: lines at 2, 4, 8; 6 FLOPs a parameter and token."""
    facts = {"id": "r1", "name": "small", "seed": 3}
    facts |= {"parameters": 1500, "non_embedding_parameters": 100}
    (tmp_path / "run.json").write_text(json.dumps(facts))
    (tmp_path / "experiment.yaml").write_text("model: {family: llama, size: 1m}\n")
    lines = [
        {"step": step, "tokens": 100 * step, "flops": 600.0 * 100 * step, "loss": 9 - step}
        for step in (2, 4, 8)
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def only(rows: list[Row], **wanted: object) -> Row:
    found = [
        row
        for row in rows
        if all(getattr(row.measurement, name) == value for name, value in wanted.items())
    ]
    assert len(found) == 1
    return found[0]


def test_a_row_knows_both_counts_tokens_flops_and_loss(run: Path) -> None:
    append_measurements(run, [measured(4), measured(4, 1.25, metric="loss", what=LOSS)])
    row = only(rows_of_run(run), metric="exact_match")
    assert (row.run.parameters, row.run.non_embedding_parameters) == (1500, 100)
    assert (row.run.model, row.run.seed, row.run.name) == ("llama 1m", 3, "small")
    assert (row.tokens, row.flops, row.loss) == (400, 240_000, 1.25)


def test_tokens_between_two_lines_lie_on_their_straight_line_and_no_loss_is_made_up(
    run: Path,
) -> None:
    append_measurements(run, [measured(6, source="eval"), measured(1, source="eval")])
    rows = rows_of_run(run)
    assert [(row.tokens, row.loss) for row in rows] == [(100, None), (600, None)]


def test_nothing_is_told_of_a_step_beyond_the_log(run: Path) -> None:
    append_measurements(run, [measured(9, source="eval")])
    assert [row.tokens for row in rows_of_run(run)] == [None]


def test_the_training_loss_stands_in_where_no_held_out_loss_was_measured(run: Path) -> None:
    append_measurements(run, [measured(8), measured(2)])
    assert [row.loss for row in rows_of_run(run)] == [7, 1]


def test_the_same_items_asked_under_two_names_stand_once_as_eval_measured_them(run: Path) -> None:
    append_measurements(
        run,
        [
            measured(4, 0.5, items="x"),
            measured(8, 0.6, items="x"),
            measured(8, 0.61, items="x", task="addition:digits=1", source="eval"),
            measured(8, 0.1, items="y", task="sorting", source="eval"),
        ],
    )
    rows = [(r.measurement.task, r.measurement.step, r.measurement.value) for r in rows_of_run(run)]
    assert rows == [("addition", 4, 0.5), ("addition", 8, 0.61), ("sorting", 8, 0.1)]


def test_an_older_run_is_read_where_its_metrics_are_known_and_else_says_what_to_do(
    run: Path,
) -> None:
    record = {"step": 8, "addition/exact_match": 0.5, "addition/odd": 3.0}
    facts = json.loads((run / "run.json").read_text())
    facts |= {"chance": {"addition/exact_match": 0.01}, "held_out": {"addition": 200}}
    (run / "run.json").write_text(json.dumps(facts))
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n")
    rows = rows_of_run(run, {"exact_match": MATCH, "odd": LOSS}.get)
    row = only(rows, metric="exact_match")
    assert (row.measurement.n, row.measurement.chance, row.measurement.what) == (200, 0.01, MATCH)
    with pytest.raises(DataError, match=r"addition/odd was measured before .* `emergectl eval r1`"):
        rows_of_run(run, {"exact_match": MATCH}.get)


def test_an_older_run_that_is_asked_something_keeps_what_its_loop_measured(tmp_path: Path) -> None:
    run = tmp_path / "20260101-000000-old-0000"
    run.mkdir()
    (run / "run.json").write_text(json.dumps({"id": run.name, "stage": "pretrain"}))
    (run / "metrics.jsonl").write_text('{"step": 5, "validation/loss": 2.5, "tokens": 10}\n')
    append_measurements(run, [measured(5, 0.75, source="eval")])
    rows = rows_of_run(run, lambda _: LOSS)
    assert [(row.measurement.task, row.measurement.value, row.loss) for row in rows] == [
        ("addition", 0.75, 2.5),
        ("validation", 2.5, 2.5),
    ]
