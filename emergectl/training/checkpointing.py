"""What a checkpoint holds, and how training goes on from one.

A checkpoint is a model directory that transformers loads (weights, config, tokenizer) with the
optimizer's tensors and `training_state.json` beside it. How it is committed and verified is
`emergectl.store.checkpoints`' affair. There is no random state to keep: dropout, masking and data
order are functions of (seed, step).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from emergectl.errors import TrainingError
from emergectl.models.build import load_weights, save_model
from emergectl.store import checkpoints
from emergectl.store.atomic import write_json
from emergectl.store.run import Run
from emergectl.training.optimizers import Optimizers

STATE_FILE = "training_state.json"
OPTIMIZER_FILE = "optimizer.safetensors"


@dataclass
class Progress:
    """How far training has come: all that changes from step to step besides tensors."""

    step: int = 0
    """optimizer steps done (skipped updates included)"""
    tokens: int = 0
    """input tokens seen, padding left out"""
    flops: float = 0.0
    """of the steps done, by the rows' own lengths"""
    seconds: float = 0.0
    """wall time of training, over all its interruptions"""
    skipped: int = 0
    """updates left out because a number was not finite"""
    micro_batch_size: int = 0
    """sequences in a forward pass"""
    best_value: float | None = None
    """of the metric `evaluation.best`, lower is better (negated where higher is)"""
    best_step: int | None = None
    evaluations_without_improvement: int = 0
    looked_at: int = -1
    """the last step after which evaluation and snapshots, where due, were finished"""


@dataclass(frozen=True)
class Trained:
    """The tensors and numbers that a checkpoint keeps and restores."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    optimizers: Optimizers
    scaler: torch.amp.GradScaler
    progress: Progress

    def save(self, run: Run, *, fingerprint: str) -> Path:
        """Commit a checkpoint of this moment and drop all but the last and the best.

        Where these are one, the one before stays too: should the last be damaged some day, there
        is something to go on from. Raises TrainingError where a weight is not finite, since then
        the checkpoint before is the good one.
        """
        self._check_weights()

        def write(directory: Path) -> None:
            self.write_weights(directory)
            save_file(self.optimizers.tensors(), directory / OPTIMIZER_FILE)
            state = {"progress": asdict(self.progress), "scaler": self.scaler.state_dict()}
            write_json(directory / STATE_FILE, state)

        facts = {"data_fingerprint": fingerprint, "metrics_offset": run.metrics.offset}
        path = checkpoints.commit(
            run.checkpoints,
            self.progress.step,
            write,
            facts=facts,
            expected_bytes=_bytes_of(self.model.parameters()) + self.optimizers.bytes,
        )
        checkpoints.prune(run.checkpoints, self._worth_keeping(run))
        return path

    def _worth_keeping(self, run: Run) -> set[int]:
        steps = checkpoints.list_steps(run.checkpoints)
        keep = {step for step in steps if step in (self.progress.step, self.progress.best_step)}
        return keep if len(keep) > 1 else set(steps[-2:])

    def _check_weights(self) -> None:
        for name, parameter in self.model.named_parameters():
            if not torch.isfinite(parameter).all():
                raise TrainingError(
                    f"{name} is not finite after step {self.progress.step}: not saved, the last "
                    "checkpoint is good; lower optimizer.lr or set train.precision=fp32"
                )

    def snapshot(self, run: Run, *, fingerprint: str) -> Path:
        """Commit the weights of this moment for looking at later."""
        facts = {"data_fingerprint": fingerprint, "tokens": self.progress.tokens}
        return checkpoints.commit(
            run.snapshots,
            self.progress.step,
            self.write_weights,
            facts=facts,
            expected_bytes=_bytes_of(self.model.parameters()),
        )

    def write_weights(self, directory: Path) -> None:
        """Write a model directory: weights, config and tokenizer."""
        save_model(self.model, directory)
        self.tokenizer.save_pretrained(directory)

    def restore(self, directory: Path) -> None:
        """Take weights, optimizer and progress from a verified checkpoint, in place."""
        load_weights(self.model, directory)
        self.optimizers.load_tensors(load_file(directory / OPTIMIZER_FILE))
        state: dict[str, Any] = json.loads((directory / STATE_FILE).read_text("utf-8"))
        for name, value in state["progress"].items():
            setattr(self.progress, name, value)
        self.scaler.load_state_dict(state["scaler"])


def _bytes_of(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def newest_checkpoint(run: Run, *, fingerprint: str) -> tuple[Path | None, list[str]]:
    """The checkpoint to go on from, and what is wrong with each later one, which is set aside.

    Raises CheckpointError where none of several verifies, or where the data is not what the
    checkpoint was trained on.
    """
    manifest, rejected = checkpoints.newest(run.checkpoints)
    if manifest is None and rejected:
        raise checkpoints.CheckpointError(
            f"{run.id} has no good checkpoint left: {'; '.join(rejected)}; start a new run"
        )
    if manifest is None:
        run.metrics.truncate(0)
        return None, rejected
    if manifest.facts["data_fingerprint"] != fingerprint:
        raise checkpoints.CheckpointError(
            f"{manifest.path}: was trained on other data than the experiment names now; "
            "put the data back as it was, or start a new run with `model.from`"
        )
    run.metrics.truncate(manifest.facts["metrics_offset"])
    # Where it stands, a later step would be pruned as an old one once the run is on its way.
    checkpoints.set_aside(run.checkpoints, later_than=manifest.step)
    return manifest.path, rejected
