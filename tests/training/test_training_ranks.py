"""T18 and more: two ranks on CPU give one's losses, stop together, and survive a lost one.

Most of it starts the ranks as torchrun would, from the nursery; `--gpus 2` itself, which imports
torch in three processes, is gone through once in every run of the suite, and in each way under
`long`.
"""

import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from nursery import Started
from training_runs import Bench, checkpoint_step, status

from emergectl.store.metrics_log import read_metrics
from emergectl.store.status import read_status

# Dropout differs from rank to rank, so it is left out where numbers are compared.
PLAIN = ("model.dropout=0.0",)
CODES = {signal.SIGTERM: 75, signal.SIGUSR1: 75, signal.SIGINT: 130}


def values(run: Path, name: str) -> dict[int, float]:
    return {r["step"]: r[name] for r in read_metrics(run / "metrics.jsonl") if name in r}


def test_two_ranks_give_the_losses_of_one(bench: Bench, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    # Five rows: the ranks' shares differ; and two rows at a time: so do their micro-batches.
    overrides = (*PLAIN, "train.batch_size=5", "train.micro_batch_size=2", "train.steps=40")
    assert bench.run(one, *overrides).code == 0
    for started in bench.start_ranks(two, *overrides):
        ended = started.wait()
        assert ended.code == 0, ended.said
    # Adam makes the rounding of the gradients grow from step to step.
    for name, tolerance in (("loss", 1e-5), ("validation/loss", 1e-5), ("grad_norm", 1e-3)):
        expected, found = values(one, name), values(two, name)
        assert found.keys() == expected.keys()
        for step, value in expected.items():
            assert found[step] == pytest.approx(value, abs=tolerance), (name, step)


@pytest.mark.parametrize(
    "signum",
    [
        each if each == signal.SIGTERM else pytest.param(each, marks=pytest.mark.long)
        for each in CODES
    ],
)
def test_a_signal_to_one_rank_stops_all_with_one_checkpoint(
    bench: Bench, tmp_path: Path, signum: signal.Signals
) -> None:
    run = tmp_path / "run"
    whole = tmp_path / "whole"
    harm = {"what": "in_step", "step": 20, "signum": signum, "rank": 1}
    ranks = bench.start_ranks(run, *PLAIN, "train.steps=30", sabotage=[harm])
    ended = [rank.wait() for rank in ranks]
    # Rank 1 alone knows which signal it was; what rank 0 says is that it stopped.
    assert {e.code for e in ended} <= {75, 130}, ended[0].said + ended[1].said
    assert status(run)["state"] == "preempted"
    assert checkpoint_step(run) == 20
    ended = [rank.wait() for rank in bench.start_ranks(run)]
    assert [e.code for e in ended] == [0, 0]
    for rank in bench.start_ranks(whole, *PLAIN, "train.steps=30"):
        assert rank.wait().code == 0
    assert values(run, "loss") == values(whole, "loss")


@pytest.mark.parametrize("killed", [0, 1])
def test_where_one_of_two_ranks_is_killed_the_other_ends_and_the_run_goes_on(
    bench: Bench, tmp_path: Path, killed: int
) -> None:
    run = tmp_path / "run"
    harm = {"what": "in_step", "step": 20, "signum": signal.SIGKILL, "rank": killed}
    ranks = bench.start_ranks(run, "train.steps=30", sabotage=[harm])
    began = time.monotonic()
    ended = [rank.wait(40.0) for rank in ranks]
    assert time.monotonic() - began < 30
    assert ended[killed].code == -signal.SIGKILL
    survivor = ended[1 - killed]
    assert survivor.code == 1, survivor.said
    assert "Traceback" not in survivor.stderr, survivor.said
    assert "rank" in survivor.stderr
    assert read_status(run).state == "failed"
    assert checkpoint_step(run) == 16
    assert bench.run(run).code == 0
    assert list(values(run, "loss")) == list(range(1, 31))


def test_more_ranks_than_rows_are_refused(bench: Bench, tmp_path: Path) -> None:
    ranks = bench.start_ranks(tmp_path / "run", "train.batch_size=1")
    for ended in [rank.wait() for rank in ranks]:
        assert ended.code == 2, ended.said
        assert "train.batch_size" in ended.stderr


# --gpus 2 ---------------------------------------------------------------------------------------

LONG_ENOUGH = (*PLAIN, "train.steps=3000", "evaluation.every=null", "snapshots.every=null")


def started_in_earnest(bench: Bench, run: Path) -> tuple[Started, list[psutil.Process]]:
    """`emergectl train --gpus 2`, training; the launcher and its ranks."""
    launcher = bench.start(run, *LONG_ENOUGH, gpus=2)
    deadline = time.monotonic() + 60
    had = (run / "metrics.jsonl").stat().st_size if (run / "metrics.jsonl").exists() else 0
    while time.monotonic() < deadline:
        time.sleep(0.05)
        if (run / "metrics.jsonl").exists() and (run / "metrics.jsonl").stat().st_size > had + 500:
            break
    ranks = psutil.Process(launcher.pid).children()
    assert len(ranks) == 2, launcher.wait().said
    return launcher, ranks


def signal_in_earnest(bench: Bench, run: Path, signum: signal.Signals) -> None:
    launcher, _ = started_in_earnest(bench, run)
    before = len(values(run, "loss"))
    launcher.signal(signum)
    began = time.monotonic()
    ended = launcher.wait(60.0)
    assert time.monotonic() - began < 15, "it took longer to stop than it may"
    assert ended.code == CODES[signum], ended.said
    assert "Traceback" not in ended.stderr
    said = status(run)
    assert (said["state"], said["exit_code"]) == ("preempted", CODES[signum])
    assert checkpoint_step(run) == said["step"]
    assert said["step"] >= before
    assert ended.stderr.count("stopped at step") == 1, ended.stderr


def kill_in_earnest(bench: Bench, run: Path, rank: int) -> None:
    launcher, ranks = started_in_earnest(bench, run)
    environments: dict[str, Any] = {p.environ()["RANK"]: p for p in ranks}
    os.kill(environments[str(rank)].pid, signal.SIGKILL)
    began = time.monotonic()
    ended = launcher.wait(60.0)
    assert time.monotonic() - began < 30
    assert ended.code == 1, ended.said
    assert "Traceback" not in ended.stderr, ended.said
    assert read_status(run).state == "failed"
    assert not any(p.is_running() and p.status() != "zombie" for p in ranks)


@pytest.mark.long
def test_gpus_2_stops_for_a_scheduler_refuses_a_second_and_ends_with_a_lost_rank(
    bench: Bench, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    launcher, _ = started_in_earnest(bench, run)
    second = bench.run(run)
    assert second.code == 4, second.said
    launcher.signal(signal.SIGUSR1)
    ended = launcher.wait()
    assert ended.code == 75, ended.said
    assert status(run)["state"] == "preempted"
    kill_in_earnest(bench, run, 1)
    assert list(values(run, "loss"))[:3] == [1, 2, 3]


@pytest.mark.long
@pytest.mark.parametrize("signum", CODES)
def test_gpus_2_stops_with_a_checkpoint_for_each_signal(
    bench: Bench, tmp_path: Path, signum: signal.Signals
) -> None:
    for _ in range(3):
        signal_in_earnest(bench, tmp_path / "run", signum)


@pytest.mark.long
@pytest.mark.parametrize("rank", [0, 1])
def test_gpus_2_ends_soon_where_a_rank_is_killed(bench: Bench, tmp_path: Path, rank: int) -> None:
    for _ in range(3):
        kill_in_earnest(bench, tmp_path / "run", rank)
