"""Epochs as the clock of evaluation, and test data that is asked once and chooses nothing."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from emergectl.cli.main import main
from emergectl.store.checkpoints import list_steps
from emergectl.store.metrics_log import read_metrics

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


def test_every_epoch_is_evaluated_when_it_ends_and_only_then(train: Trained) -> None:
    run = train()
    steps = [
        line["step"] for line in read_metrics(run / "metrics.jsonl") if "validation/loss" in line
    ]
    # 44 rows in batches of 8: epochs end within steps 6, 11 and 17.
    assert steps == [0, 6, 11, 17]


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
