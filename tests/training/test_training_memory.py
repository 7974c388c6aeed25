"""T17: where memory does not suffice, smaller micro-batches, or a clear end with advice."""

import json
import signal
from pathlib import Path

from training_runs import Bench, checkpoint_step, outcome, status

KILL = {"what": "in_step", "step": 20, "signum": signal.SIGKILL}


def micro_batch_size(run: Path) -> int:
    (path,) = (run / "checkpoints").glob("step-00000060")
    state = json.loads((path / "training_state.json").read_bytes())
    return int(state["progress"]["micro_batch_size"])


def test_auto_halves_the_micro_batch_until_it_fits_and_says_so(
    bench: Bench, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    harm = {"what": "out_of_memory", "above_rows": 1}
    ended = bench.run(run, sabotage=[harm])
    assert ended.code == 0, ended.said
    log = (run / "log.txt").read_text()
    assert "micro_batch_size is now 2" in log
    assert "micro_batch_size is now 1" in log
    assert micro_batch_size(run) == 1
    assert outcome(run)["metrics"] != outcome(bench.plain)["metrics"], "dropout draws differ"


def test_what_was_halved_stays_so_when_the_run_goes_on(bench: Bench, tmp_path: Path) -> None:
    harm = {"what": "out_of_memory", "above_rows": 2}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert bench.run(whole, sabotage=[harm]).code == 0
    assert bench.run(killed, sabotage=[harm, KILL]).code == -signal.SIGKILL
    assert bench.run(killed).code == 0
    assert outcome(killed) == outcome(whole)


def test_a_size_that_was_asked_for_is_not_changed_and_the_end_gives_advice(
    bench: Bench, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    harm = {"what": "out_of_memory", "above_rows": 1}
    ended = bench.run(run, "train.micro_batch_size=4", sabotage=[harm])
    assert ended.code == 1
    assert "out of memory at step 1 with 4 sequences" in ended.stderr
    assert "set train.micro_batch_size=2" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "out of memory" in status(run)["reason"]


def test_one_sequence_that_does_not_fit_ends_the_run_with_advice(
    bench: Bench, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    ended = bench.run(run, sabotage=[{"what": "out_of_memory", "above_rows": 0}])
    assert ended.code == 1
    assert "use a smaller model or data.seq_len" in ended.stderr


def test_a_limit_on_the_address_space_ends_in_smaller_batches_or_advice(
    bench: Bench, tmp_path: Path
) -> None:
    """A real one: 1,024 sequences of 64 tokens want more than a few hundred MiB at once."""
    overrides = ("train.batch_size=1024", "data.seq_len=64", "train.steps=1")
    overrides += ("evaluation.every=null", "snapshots.every=null")
    limit = {"what": "address_space", "mebibytes": 400}
    small = tmp_path / "small"
    ended = bench.run(small, *overrides, sabotage=[limit])
    assert ended.code == 0, ended.said
    assert "micro_batch_size is now" in (small / "log.txt").read_text()
    fixed = tmp_path / "fixed"
    ended = bench.run(fixed, *overrides, "train.micro_batch_size=1024", sabotage=[limit])
    assert ended.code == 1
    assert "out of memory at step 1" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_after_running_out_of_memory_a_run_goes_on_from_its_checkpoint(
    bench: Bench, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    bench.run(run, sabotage=[KILL])
    ended = bench.run(run, sabotage=[{"what": "out_of_memory", "above_rows": 0}])
    assert ended.code == 1
    assert checkpoint_step(run) == 16
    # The failed start had found no size that fits, which is no part of the checkpoint.
    assert bench.run(run).code == 0
    bench.assert_equal_to_plain(run)
