"""Epochs as the clock of evaluation, and test data that is asked once and chooses nothing."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import accuracy_score
from transformers import pipeline

from emergectl.cli.main import main
from emergectl.store.checkpoints import list_steps
from emergectl.store.measurements import Measurement, read_measurements
from emergectl.store.metrics_log import read_metrics
from emergectl.store.origins import best_step

RUN = """\
name: tuned
stage: finetune
seed: 1
model: {family: bert, size: 10k}
tokenizer: {kind: char}
data: {train: {path: train.jsonl}, validation: {path: dev.jsonl}, test: {path: test.jsonl},
  seq_len: 16}
objective: {name: multiclass}
train: {epochs: 3, batch_size: 8, device: cpu, precision: fp32, compile: false, log_every: 1}
optimizer: {lr: 0.01}
evaluation: {every: epoch, best: loss}
"""
Trained = Callable[..., Path]


def rows(count: int, seed: int, *, wrong: bool = False) -> list[dict[str, str]]:
    """Texts of one letter mostly, labelled by it; `wrong`: by the other one."""
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        label = draw.choice("ab")
        text = "".join(draw.choices([label, "c"], [3, 1], k=12))
        found.append({"text": text, "label": {"a": "b", "b": "a"}[label] if wrong else label})
    return found


@pytest.fixture
def train(tmp_path: Path) -> Trained:
    def trained(*overrides: str, dev_is_wrong: bool = False, code: int = 0) -> Path:
        sets = {
            "train": rows(44, 1),
            "dev": rows(20, 2, wrong=dev_is_wrong),
            "test": rows(30, 3),
        }
        for name, some in sets.items():
            (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
        (tmp_path / "run.yaml").write_text(RUN)
        run = tmp_path / "run"
        assert (
            main(["train", str(tmp_path / "run.yaml"), *overrides, "--run-dir", str(run)]) == code
        )
        return run

    return trained


def test_lines(run: Path) -> list[dict[str, Any]]:
    return [line for line in read_metrics(run / "metrics.jsonl") if "test/loss" in line]


test_lines.__test__ = False  # type: ignore[attr-defined]


def asked(run: Path) -> dict[str, Measurement]:
    return {one.metric: one for one in read_measurements(run) if one.task == "test"}


def test_every_epoch_is_evaluated_when_it_ends_and_only_then(train: Trained) -> None:
    run = train()
    steps = [
        line["step"] for line in read_metrics(run / "metrics.jsonl") if "validation/loss" in line
    ]
    # 44 rows in batches of 8: epochs end within steps 6, 11 and 17.
    assert steps == [0, 6, 11, 17]


def test_test_data_is_asked_once_of_the_best_checkpoint_as_transformers_sees_it(
    train: Trained, tmp_path: Path
) -> None:
    # What the run learns is wrong of the dev rows, so the best step is an early one.
    run = train(dev_is_wrong=True)
    best = best_step(run)
    assert best < 17
    if best == 0:
        best = 17  # of the untrained model no checkpoint is kept
    (line,) = test_lines(run)
    assert line["step"] == 17
    found = asked(run)
    assert {one.step for one in found.values()} == {best}
    assert found["accuracy"].n == 30
    texts = [json.loads(text) for text in (tmp_path / "test.jsonl").read_text().splitlines()]
    classify = pipeline("text-classification", str(run / "checkpoints" / f"step-{best:08}"))
    said = [classify(row["text"])[0]["label"] for row in texts]
    expected = accuracy_score([row["label"] for row in texts], said)
    assert found["accuracy"].value == line["test/accuracy"] == pytest.approx(expected)
    low, high = found["accuracy"].low, found["accuracy"].high
    assert low is not None
    assert high is not None
    assert low < found["accuracy"].value <= high


def test_test_data_chooses_nothing(train: Trained, tmp_path: Path) -> None:
    with_test = train("train.early_stopping={patience: 1}", dev_is_wrong=True)
    lines = [line for line in read_metrics(with_test / "metrics.jsonl") if "test/loss" not in line]
    (tmp_path / "run").rename(tmp_path / "first")
    without = train("train.early_stopping={patience: 1}", "data.test=[]", dev_is_wrong=True)
    times = ("seconds", "tokens_per_second")
    kept = [
        [{k: v for k, v in line.items() if k not in times} for line in some]
        for some in (lines, read_metrics(without / "metrics.jsonl"))
    ]
    assert kept[0] == kept[1]
    assert list_steps(tmp_path / "first" / "checkpoints") == list_steps(without / "checkpoints")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_that_is_killed_at_its_end_and_resumed_has_asked_once(
    train: Trained, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Killed before its test data is asked, or after, before anybody knows that it is done."""
    from emergectl.training.final_test import FinalTest

    class Killed(BaseException):
        pass

    ask = FinalTest.__call__
    times: list[bool] = []

    def killed(self: FinalTest, *, anew: bool) -> bool:
        times.append(anew)
        if len(times) == 1:
            if when == "after":
                ask(self, anew=anew)
            raise Killed
        return ask(self, anew=anew)

    monkeypatch.setattr(FinalTest, "__call__", killed)
    with pytest.raises(Killed):
        train()
    run = next(Path(train.__closure__[0].cell_contents).glob("run"))  # type: ignore[attr-defined]
    written = (run / "measurements.jsonl").read_text().count('"task": "test"')
    assert main(["train", "--resume", str(run)]) == 0
    assert times == [True, False]
    again = (run / "measurements.jsonl").read_text().count('"task": "test"')
    assert again == (written or len(asked(run)))
    assert len(test_lines(run)) == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("evaluation.best=test/loss", "asked once, at the end, and chooses nothing"),
        ("evaluation.best=-test/accuracy", "such as validation/accuracy"),
        ("data.test.0.path=nowhere.jsonl", "nowhere.jsonl"),
    ],
)
def test_what_cannot_be_is_one_line(
    train: Trained, capsys: pytest.CaptureFixture[str], override: str, message: str
) -> None:
    train(override, code=2)
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "\n" not in said


def test_a_search_by_test_data_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sweep.yaml").write_text(
        "experiment: {data: {train: {task: copying}}}\n"
        "search: {space: {optimizer.lr: {log: [1e-4, 1e-2]}}, metric: test/accuracy, trials: 2}\n"
    )
    assert main(["validate", str(tmp_path / "sweep.yaml")]) == 2
    said = capsys.readouterr().err
    assert "sweep.yaml:2: search.metric: the test data is asked once" in said
