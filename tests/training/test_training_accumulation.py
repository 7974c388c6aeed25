"""T15: however a batch is cut into micro-batches, its gradients are the same."""

import json
import random
from pathlib import Path

import pytest
import torch

from emergectl.config.experiment import load_experiment
from emergectl.runtime.listeners import ListenerGroup
from emergectl.runtime.ranks import Ranks
from emergectl.runtime.stop import StopRequest
from emergectl.training import loop
from emergectl.training.loop import Job
from emergectl.training.session import Session, prepare_job

BATCH_SIZE = 8
OBJECTIVES = {
    "clm": "stage: pretrain\nobjective: {name: clm}",
    "mlm": "stage: pretrain\nobjective: {name: mlm}",
    "answer": "stage: finetune\nobjective: {name: answer, prompt: 'Q {text} A', answer: '{label}'}",
    "multiclass": "stage: finetune\nobjective: {name: multiclass, class_weights: [0.2, 1.0, 3.0]}",
    "binary": "stage: finetune\nobjective: {name: binary, label_smoothing: 0.1}",
}


def prepared(folder: Path, name: str) -> Job:
    """A real job in fp64 on rows of very unequal length, of which the last batch is not full."""
    source = random.Random(5)
    classes = ["no", "yes"] if name == "binary" else ["a", "bb", "long answer"]
    rows = [
        {"text": "word " * source.randint(1, 12), "label": classes[row % len(classes)]}
        for row in range(BATCH_SIZE * 2 + 3)
    ]
    is_text = name in ("clm", "mlm")
    data = folder / ("data.txt" if is_text else "data.jsonl")
    lines = (row["text"] if is_text else json.dumps(row) for row in rows)
    data.write_text("\n".join(lines))
    path = folder / "experiment.yaml"
    columns = "" if is_text else ", columns: {text: text, label: label}"
    path.write_text(
        f"""{OBJECTIVES[name]}
model: {{family: {"bert" if name == "mlm" else "gpt2"}, size: 10k}}
tokenizer: {{kind: char}}
data: {{train: {{path: data{data.suffix}{columns}}}, seq_len: 64, validation_fraction: 0.0}}
train: {{steps: 5, batch_size: {BATCH_SIZE}, device: cpu, precision: fp32, compile: false}}
"""
    )
    session = Session(
        run=None,
        ranks=Ranks(rank=0, world=1, device=torch.device("cpu")),
        listener=ListenerGroup([]),
        stop=StopRequest(),
    )
    job = prepare_job(load_experiment(path).experiment, session)
    job.trained.model.double()
    return job


def gradients(job: Job, *, step: int, micro_batch_size: int) -> dict[str, torch.Tensor]:
    job.trained.progress.step = step
    job.trained.progress.micro_batch_size = micro_batch_size
    loop._gradients(job)
    named = job.trained.model.named_parameters()
    return {name: p.grad.clone() for name, p in named if p.grad is not None}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_accumulated_gradients_are_those_of_one_batch(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMERGECTL_CACHE", str(tmp_path / "cache"))
    job = prepared(tmp_path, name)
    for step in (0, 2, 3):  # The third and fourth batches reach into the next epoch.
        whole = gradients(job, step=step, micro_batch_size=BATCH_SIZE)
        assert any(gradient.abs().max() > 1e-3 for gradient in whole.values())
        for accumulated in (2, 4, 8):
            parts = gradients(job, step=step, micro_batch_size=BATCH_SIZE // accumulated)
            assert parts.keys() == whole.keys()
            for key, gradient in parts.items():
                assert torch.allclose(gradient, whole[key], rtol=0, atol=1e-6), key
        # Three rows at a time leave a last micro-batch of two.
        parts = gradients(job, step=step, micro_batch_size=3)
        for key, gradient in parts.items():
            assert torch.allclose(gradient, whole[key], rtol=0, atol=1e-6), key


def test_a_batch_without_a_target_is_no_broken_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Masking may choose no token at all of a small batch: there is nothing to learn from it."""
    monkeypatch.setenv("EMERGECTL_CACHE", str(tmp_path / "cache"))
    job = prepared(tmp_path, "mlm")
    original = job.feed.batch

    def batch(*args: int) -> dict[str, torch.Tensor]:
        made = original(*args)
        return made | {"labels": torch.full_like(made["labels"], -100)}

    monkeypatch.setattr(job.feed, "batch", batch)
    result = loop.take_step(job)
    assert (result.loss, result.grad_norm) == (0.0, 0.0)
    assert job.trained.progress.skipped == 0
