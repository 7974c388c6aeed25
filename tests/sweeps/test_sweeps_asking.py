"""Trained trials are asked what their sweep file says, once, whatever is killed on the way."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nursery import Nursery

from emergectl.cli.main import main
from emergectl.config.sweep import load_sweep
from emergectl.errors import RequestError
from emergectl.store.locate import list_runs
from emergectl.store.status import read_status
from emergectl.sweeps.folder import SweepFolder
from emergectl.sweeps.plan import plan_sweep
from emergectl.sweeps.table import rows_of_sweep

OWN = ", tasks: [{task: addition, digits: 1, test_items: 10}]"
SWEEP = f"""\
name: tiny
ensemble: %(ensemble)s
experiment:
  model: {{family: gpt2, size: 10k}}
  tokenizer: {{kind: char}}
  data: {{train: {{task: addition, digits: 1, examples: 60, test_items: 10}}}}
  train:
    {{steps: 6, batch_size: 4, deterministic: true, device: cpu, threads: 1, precision: fp32,
     compile: false}}
  evaluation: {{every: null{OWN}}}
  snapshots: {{every: [3]}}
  checkpoints: {{minutes: null, keep_best: false}}
seeds: %(seeds)s
%(evaluate)s
"""
TASKS = "tasks: [{task: addition, digits: 1, test_items: 10}, 'addition:digits=2']"
ASKS = f"evaluate: {{{TASKS}, limit: 5}}"
FOLDERS = ("addition-digits=1,test_items=10", "addition-digits=2")

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(evaluate: str = ASKS, *, seeds: int = 2, ensemble: object = "'off'") -> Path:
        path = tmp_path / "tiny.yaml"
        path.write_text(SWEEP % {"evaluate": evaluate, "seeds": seeds, "ensemble": ensemble})
        return path

    return written


def answers(root: Path) -> dict[str, list[str]]:
    """Run and folder of each task that was asked → the items that were answered."""
    return {
        str(file.parent.relative_to(root)): [
            json.loads(line)["item"] for line in file.read_text().splitlines()
        ]
        for run in list_runs(root)
        for file in sorted(run.glob("evals/*/*/items.jsonl"))
    }


def assert_all_asked(root: Path, trials: int, steps: tuple[int, ...] = (3, 6)) -> None:
    """Each task of each model was asked, every item once."""
    found = answers(root)
    assert len(list_runs(root)) == trials
    assert set(found) == {
        f"{run.name}/evals/step-{step:08}/{task}"
        for run in list_runs(root)
        for step in steps
        for task in FOLDERS
    }
    for folder, items in found.items():
        assert len(items) == len(set(items)) == 5
        assert (root / folder / "results.json").exists()


@pytest.mark.parametrize("ensemble", [pytest.param("'off'", marks=pytest.mark.long), 2])
def test_every_kept_model_of_every_trial_is_asked_after_training(
    ensemble: object, nursery: Nursery, write: Write, tmp_path: Path
) -> None:
    root = tmp_path / "runs"
    ended = nursery.run("sweep", write(ensemble=ensemble), "--workers", 1, "--runs-dir", root)
    assert ended.code == 0, ended.said
    assert_all_asked(root, 2)
    assert {read_status(run).state for run in list_runs(root)} == {"done"}
    folder = SweepFolder(root, "tiny")
    measured = [each.row.measurement for each in rows_of_sweep(folder, folder.read_plan())]
    asked = [one for one in measured if one.source == "eval" and one.metric == "exact_match"]
    assert sorted({(one.step, one.n) for one in asked}) == [(3, 5), (6, 5)]
    assert len(asked) == 2 * 2  # Sums of two digits are longer than these models reach.
    before = {file: file.stat().st_mtime_ns for file in root.glob("*/evals/**/*")}
    again = nursery.run("sweep", write(ensemble=ensemble), "--runs-dir", root)
    assert again.code == 0, again.said
    assert before == {file: file.stat().st_mtime_ns for file in root.glob("*/evals/**/*")}


def test_what_is_asked_later_is_asked_of_trained_trials_without_training_them_anew(
    nursery: Nursery, write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "runs"
    assert nursery.run("sweep", write(evaluate=""), "--workers", 1, "--runs-dir", root).code == 0
    assert answers(root) == {}
    logs = {run: (run / "metrics.jsonl").read_bytes() for run in list_runs(root)}
    ended = nursery.run(
        "sweep", write(), "evaluate.checkpoint=last", "--workers", 1, "--runs-dir", root
    )
    assert ended.code == 0, ended.said
    assert_all_asked(root, 2, steps=(6,))
    assert logs == {run: (run / "metrics.jsonl").read_bytes() for run in list_runs(root)}
    assert main(["sweep", "status", "tiny", "--runs-dir", str(root)]) == 0
    assert "2 trials: 2 done" in capsys.readouterr().out


def test_a_trial_killed_while_it_is_asked_is_asked_the_rest_once(
    nursery: Nursery, write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep, root = write(), tmp_path / "runs"
    for _ in range(3):
        started = nursery.start("sweep", sweep, "--workers", 1, "--runs-dir", root)
        seen = len(list(root.glob("*/evals/*/*/results.json")))
        while len(list(root.glob("*/evals/*/*/results.json"))) <= seen and not started.has_ended():
            time.sleep(0.001)
        started.kill_all()
        started.wait()
    assert main(["sweep", "status", "tiny", "--runs-dir", str(root), "--json"]) == 0
    states = json.loads(capsys.readouterr().out)["states"]
    assert sum(states.values()) == 2
    assert states.get("done", 0) < 2
    ended = nursery.run("sweep", sweep, "--workers", 2, "--runs-dir", root)
    assert ended.code == 0, ended.said
    assert_all_asked(root, 2)


def test_trials_are_asked_their_own_tasks_where_the_sweep_names_none(
    nursery: Nursery, write: Write, tmp_path: Path
) -> None:
    root = tmp_path / "runs"
    sweep = write("evaluate: {checkpoint: last, metrics: [margin]}")
    ended = nursery.run("sweep", sweep, "--workers", 1, "--runs-dir", root)
    assert ended.code == 0, ended.said
    assert {folder.partition("/")[2] for folder in answers(root)} == {
        f"evals/step-00000006/{FOLDERS[0]}"
    }


def test_a_trial_that_cannot_be_asked_is_told_and_tried_again_only_when_that_is_asked_for(
    nursery: Nursery, write: Write, text: Path, tmp_path: Path
) -> None:
    sums = "{task: addition, digits: 1, examples: 60, test_items: 10}}"
    told = write().read_text().replace("family: gpt2", "family: bert").replace(OWN, "")
    sweep, root = tmp_path / "masked.yaml", tmp_path / "runs"
    sweep.write_text(told.replace(sums, f"{{path: {text}}}, seq_len: 16}}"))
    for retry, retries in ((0, 0), (0, 0), (1, 1)):
        ended = nursery.run("sweep", sweep, "--retry", retry, "--json", "--runs-dir", root)
        assert ended.code == 3, ended.said
        answer: dict[str, Any] = json.loads(ended.stdout)
        assert "trained, but cannot be asked: " in answer["failed"][0]["reason"]
        record = SweepFolder(root, "tiny").record(answer["failed"][0]["trial"])
        assert record is not None
        assert record.retries == retries
    assert {read_status(run).state for run in list_runs(root)} == {"done"}


@pytest.mark.parametrize(
    ("evaluate", "said"),
    [
        ("evaluate: {tasks: [additon]}", r"tiny.yaml:14: .*additon"),
        ("evaluate: {tasks: [addition], shotss: 1}", r"tiny.yaml:14: evaluate.shotss: unknown key"),
        ("evaluate: {tasks: [nosuch.yaml]}", r"tiny.yaml:14: .*no such task file"),
        ("evaluate: {samples: 2, until_passes: 3}", r"exclude each other"),
    ],
)
def test_what_cannot_be_asked_is_told_before_anything_is_trained(
    evaluate: str, said: str, write: Write
) -> None:
    with pytest.raises(RequestError, match=said):
        plan_sweep(load_sweep(write(evaluate)))


def test_a_sweep_that_would_ask_nothing_is_refused(write: Write, tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    path.write_text(write("evaluate: {shots: 1}").read_text().replace(OWN, ""))
    with pytest.raises(RequestError, match=r"none.yaml:14: evaluate: nothing to ask"):
        plan_sweep(load_sweep(path))
