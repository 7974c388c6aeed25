"""Which checkpoints stay: the last, the best, and never fewer than two."""

from pathlib import Path

from training_runs import Bench, status

from emergectl.store.checkpoints import list_steps
from emergectl.store.metrics_log import read_metrics
from emergectl.store.origins import pick_checkpoint

WORSE_AFTER_20 = {"what": "poison", "where": "evaluation", "value": "inf", "step": 21, "steps": 40}
SKIP = "train.nan=skip 1"


def test_the_best_checkpoint_stays_beside_the_last(bench: Bench, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert bench.run(run, SKIP, sabotage=[WORSE_AFTER_20]).code == 0
    assert list_steps(run / "checkpoints") == [15, 60]
    assert pick_checkpoint(run, "best").name == "step-00000015"


def test_where_the_last_is_the_best_the_one_before_stays(bench: Bench) -> None:
    losses = {
        r["validation/loss"]: r["step"]
        for r in read_metrics(bench.plain / "metrics.jsonl")
        if "validation/loss" in r
    }
    assert losses[min(losses)] == 60
    assert list_steps(bench.plain / "checkpoints") == [56, 60]


def test_early_stopping_ends_the_run_as_done(bench: Bench, tmp_path: Path) -> None:
    run = tmp_path / "run"
    patience = "train.early_stopping.patience=2"
    assert bench.run(run, SKIP, patience, sabotage=[WORSE_AFTER_20]).code == 0
    assert (status(run)["state"], status(run)["step"]) == ("done", 45)
    assert list_steps(run / "checkpoints") == [15, 45]
