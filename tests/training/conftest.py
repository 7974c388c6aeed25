"""What the tests of training share: a nursery of processes, a tiny experiment, its plain end."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from nursery import Nursery
from training_runs import Bench

EXPERIMENT = """\
name: tiny
seed: 3
model: {family: gpt2, size: 10k, dropout: 0.1}
tokenizer: {kind: char}
data: {train: {path: text.txt}, seq_len: 16}
train:
  {steps: 60, batch_size: 4, deterministic: true, device: cpu, threads: 1, precision: fp32,
   compile: false, log_every: 1}
optimizer: {lr: 0.01}
evaluation: {every: 15, batches: 2, batch_size: 4}
snapshots: {every: 25}
checkpoints: {every: 8, minutes: null}
"""
WORDS = "the cat sat on a mat and saw big red dogs run far away from home in rain or sun"


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    nursery = Nursery(
        tmp_path_factory.mktemp("nursery"), Path(__file__).with_name("training_nursery.py")
    )
    yield nursery
    nursery.close()


@pytest.fixture(scope="session")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty steps of a tiny model with dropout, on a small text; a second or so."""
    folder = tmp_path_factory.mktemp("experiment")
    source, words = random.Random(1), WORDS.split()
    lines = (" ".join(source.choice(words) for _ in range(12)) for _ in range(200))
    (folder / "text.txt").write_text("\n".join(lines))
    path = folder / "tiny.yaml"
    path.write_text(EXPERIMENT)
    return path


@pytest.fixture(scope="session")
def bench(nursery: Nursery, experiment: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The uninterrupted run, and how to hold others against it."""
    return Bench(nursery, experiment, tmp_path_factory.mktemp("plain") / "run")
