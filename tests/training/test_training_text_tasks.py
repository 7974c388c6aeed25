"""Training on text tasks: killed and resumed bit for bit, and measured as it goes."""

import signal
from pathlib import Path

import pytest
from nursery import Nursery
from training_runs import Bench

from emergectl.store.metrics_log import read_metrics
from emergectl.store.run import read_facts

EXPERIMENT = """\
name: abilities
seed: 3
model: {family: gpt2, size: 10k, dropout: 0.1}
data: {train: TRAIN}
train:
  {steps: 40, batch_size: 16, deterministic: true, device: cpu, threads: 1, precision: fp32,
   compile: false, log_every: 1}
evaluation: {every: 20, batches: 2, train_rows: true, tasks: [{task: addition, digits: 3}]}
snapshots: {every: 25}
checkpoints: {every: 8, minutes: null}
"""
TRAIN = {
    "endless": "{task: addition, digits: 2, format: scratchpad}",
    "finite": "[{task: addition, digits: 2, examples: 100}, {task: multiplication, digits: 1}]",
}


@pytest.fixture(scope="module", params=TRAIN)
def abilities(
    request: pytest.FixtureRequest, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory
) -> Bench:
    """Forty steps on a task, or on two."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "abilities.yaml").write_text(EXPERIMENT.replace("TRAIN", TRAIN[request.param]))
    return Bench(nursery, folder / "abilities.yaml", folder / "plain")


def test_a_run_on_tasks_killed_twice_ends_as_if_it_had_not_been(
    abilities: Bench, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    for count in (60, 150):
        ended = abilities.run(run, sabotage=[{"what": "at_call", "count": count, "when": "after"}])
        assert ended.code == -signal.SIGKILL, ended.said
    assert abilities.run(run).code == 0
    abilities.assert_equal_to_plain(run)


def test_what_is_learnt_is_measured_on_items_held_out_on_those_trained_on_and_on_others(
    abilities: Bench,
) -> None:
    records = list(read_metrics(abilities.plain / "metrics.jsonl"))
    [first, *_, last] = [record for record in records if "addition/loss" in record]
    asked = ["addition", "addition:digits=3", "train"]
    for name in asked:
        for metric in ("loss", "token_accuracy", "exact_match"):
            assert f"{name}/{metric}" in last
    assert last["train/loss"] < first["train/loss"]
    assert read_facts(abilities.plain)["chance"]["addition:digits=3/exact_match"] == 1 / 1799
