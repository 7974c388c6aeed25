"""T9: where a number is not finite, nothing is updated with it, kept with it, or hidden."""

import math
import signal
from pathlib import Path

import pytest
from safetensors.torch import load_file
from training_runs import Bench, checkpoint_step, outcome, status

from emergectl.store.checkpoints import list_steps, step_name, verify
from emergectl.store.metrics_log import read_metrics

STEP = 30
ROWS = "rows 116–120"
"""the batch of step 30, by places in the order of the training data"""


def assert_all_kept_is_finite(run: Path) -> None:
    """Every checkpoint verifies and holds finite numbers alone."""
    for step in list_steps(run / "checkpoints"):
        folder = verify(run / "checkpoints" / step_name(step)).path
        for name in ("model.safetensors", "optimizer.safetensors"):
            for tensor in load_file(folder / name).values():
                assert tensor.isfinite().all()


@pytest.mark.parametrize("value", ["nan", "inf"])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_broken_loss_or_gradient_stops_the_run_before_the_update(
    bench: Bench, tmp_path: Path, where: str, value: str
) -> None:
    run = tmp_path / "run"
    harm = {"what": "poison", "where": where, "value": value, "step": STEP}
    ended = bench.run(run, sabotage=[harm])
    assert ended.code == 1
    assert f"at step {STEP} ({ROWS})" in ended.stderr
    assert value in ended.stderr
    assert "Traceback" not in ended.stderr
    assert status(run)["state"] == "failed"
    assert f"step {STEP}" in status(run)["reason"]
    # The last checkpoint is of step 24, so nothing that came of the broken step was kept; and no
    # line tells of the step as if it had been done.
    assert checkpoint_step(run) == 24
    assert_all_kept_is_finite(run)
    assert max(record["step"] for record in read_metrics(run / "metrics.jsonl")) == STEP - 1
    # Without the cause it goes on as if nothing had been.
    assert bench.run(run).code == 0
    bench.assert_equal_to_plain(run)


def test_skip_leaves_out_so_many_updates_and_says_which(bench: Bench, tmp_path: Path) -> None:
    run = tmp_path / "run"
    harm = {"what": "poison", "where": "gradient", "value": "nan", "step": STEP, "steps": 2}
    ended = bench.run(run, "train.nan=skip 2", sabotage=[harm])
    assert ended.code == 0, ended.said
    log = (run / "log.txt").read_text()
    assert f"at step {STEP} ({ROWS}): update left out (1 of 2)" in log
    assert f"at step {STEP + 1} " in log
    assert_all_kept_is_finite(run)
    norms = {r["step"]: r["grad_norm"] for r in read_metrics(run / "metrics.jsonl") if "lr" in r}
    broken = [step for step, norm in norms.items() if not math.isfinite(norm)]
    assert broken == [STEP, STEP + 1], "a finite number stands for a broken one"


def test_one_broken_step_more_than_skip_allows_stops_the_run(bench: Bench, tmp_path: Path) -> None:
    run = tmp_path / "run"
    harm = {"what": "poison", "where": "loss", "value": "nan", "step": STEP, "steps": 3}
    ended = bench.run(run, "train.nan=skip 2", sabotage=[harm])
    assert ended.code == 1
    assert f"at step {STEP + 2} " in ended.stderr
    assert_all_kept_is_finite(run)


def test_an_update_left_out_changes_nothing(bench: Bench, tmp_path: Path) -> None:
    """Skipped at its last step, a run ends with the weights that it had before."""
    harm = {"what": "poison", "where": "gradient", "value": "inf", "step": STEP}
    ends = {}
    for name, steps, sabotage in (("shorter", STEP - 1, []), ("skipped", STEP, [harm])):
        overrides = (f"train.steps={steps}", "train.nan=skip 1", "schedule.name=constant")
        assert bench.run(tmp_path / name, *overrides, sabotage=sabotage).code == 0
        files = outcome(tmp_path / name)
        folder = f"checkpoints/{step_name(steps)}"
        ends[name] = [files[f"{folder}/{f}.safetensors"] for f in ("model", "optimizer")]
    assert ends["shorter"] == ends["skipped"]


@pytest.mark.parametrize("step", [31, 32])
def test_a_broken_weight_is_never_kept_in_a_checkpoint(
    bench: Bench, tmp_path: Path, step: int
) -> None:
    """After step 32 a checkpoint is due before the next loss could tell."""
    run = tmp_path / "run"
    harm = {"what": "poison", "where": "weight", "value": "nan", "step": step}
    ended = bench.run(run, sabotage=[harm])
    assert ended.code == 1
    assert f"step {32}" in ended.stderr
    assert_all_kept_is_finite(run)
    assert checkpoint_step(run) == 30
    assert bench.run(run).code == 0
    bench.assert_equal_to_plain(run)


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_broken_evaluation_stops_the_run_and_is_written_as_what_it_is(
    bench: Bench, tmp_path: Path, value: str
) -> None:
    run = tmp_path / "run"
    harm = {"what": "poison", "where": "evaluation", "value": value, "step": 45}
    ended = bench.run(run, sabotage=[harm])
    assert ended.code == 1
    assert f"validation/loss is {value} at step 45" in ended.stderr
    last = list(read_metrics(run / "metrics.jsonl"))[-1]
    assert (last["step"], repr(last["validation/loss"])) == (45, value)
    assert checkpoint_step(run) == 40
    assert bench.run(run).code == 0
    bench.assert_equal_to_plain(run)


def test_a_broken_evaluation_is_not_taken_for_the_best_under_skip(
    bench: Bench, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    harm = {"what": "poison", "where": "evaluation", "value": "nan", "step": 0, "steps": 20}
    ended = bench.run(run, "train.nan=skip 1", sabotage=[harm])
    assert ended.code == 0, ended.said
    assert (
        outcome(run)[f"checkpoints/{step_name(60)}/training_state.json"]["progress"]["best_step"]
        == outcome(bench.plain)[f"checkpoints/{step_name(60)}/training_state.json"]["progress"][
            "best_step"
        ]
    )


def test_a_kill_after_a_broken_step_was_skipped_changes_nothing(
    bench: Bench, tmp_path: Path
) -> None:
    harm = {"what": "poison", "where": "gradient", "value": "nan", "step": STEP}
    kill = {"what": "in_step", "step": 36, "signum": signal.SIGKILL}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert bench.run(whole, "train.nan=skip 1", sabotage=[harm]).code == 0
    assert bench.run(killed, "train.nan=skip 1", sabotage=[harm, kill]).code == -signal.SIGKILL
    assert bench.run(killed, sabotage=[harm]).code == 0
    assert outcome(killed) == outcome(whole)
