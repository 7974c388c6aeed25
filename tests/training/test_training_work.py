"""Tokens and FLOPs of a run are those of its rows' own lengths."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

from emergectl.cli.main import main
from emergectl.store.metrics_log import read_metrics

RUN = """\
name: short-rows
stage: finetune
model: {family: llama, size: 10k}
tokenizer: {kind: char}
data: {train: {path: rows.jsonl}, validation_fraction: 0, seq_len: 512}
objective: {name: answer, prompt: "{q}=", answer: "{a}"}
train: {batch_size: 4, device: cpu, precision: fp32, compile: false, log_every: 1}
evaluation: {every: null}
"""
LENGTHS = (5, 9, 13, 17)
"""input tokens of the rows: a token a character; the last one, the end, is only predicted"""


def train(folder: Path, *overrides: str) -> tuple[dict[str, Any], dict[str, Any], Path]:
    """The facts and the last line of a run on four rows, one of each length, over and over."""
    rows = [{"q": "1" * (length - 2), "a": "2"} for length in LENGTHS]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "run.yaml").write_text(RUN)
    run = folder / "run"
    assert main(["train", str(folder / "run.yaml"), *overrides, "--run-dir", str(run)]) == 0
    lines = [line for line in read_metrics(run / "metrics.jsonl") if "loss" in line]
    return json.loads((run / "run.json").read_text()), lines[-1], run


def test_flops_are_those_of_the_rows_and_not_of_the_longest_that_could_be(tmp_path: Path) -> None:
    _, last, run = train(tmp_path, "train.steps=3")
    config = AutoConfig.from_pretrained(next((run / "checkpoints").iterdir()))
    width, layers = config.hidden_size, config.num_hidden_layers
    matrices = layers * (4 * width**2 + 3 * width * config.intermediate_size)
    multiplying = matrices + config.vocab_size * width
    row = [3 * (2 * multiplying * n + 4 * layers * width * n**2) for n in LENGTHS]
    assert last["tokens"] == 3 * sum(LENGTHS)
    assert last["flops"] == pytest.approx(3 * sum(row), rel=1e-9)


def test_a_budget_of_tokens_is_of_the_tokens_that_there_are(tmp_path: Path) -> None:
    facts, last, _ = train(tmp_path, "train.tokens=440")
    assert (facts["total_steps"], last["tokens"]) == (10, 440)


def test_a_budget_of_flops_is_spent_and_not_a_hundredth_of_it(tmp_path: Path) -> None:
    facts, last, _ = train(tmp_path, "train.flops=5e7")
    step = last["flops"] / last["step"]
    assert 5e7 <= last["flops"] < 5e7 + step
    assert facts["training_flops"] == pytest.approx(last["flops"])
