"""What training leaves behind: metric lines, checkpoints, snapshots, signs of life.

Only rank 0 has a run directory and listeners; on the other ranks every call returns at once.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from emergectl.config.schema import Experiment
from emergectl.models.counting import ParameterCount
from emergectl.runtime.listeners import Listener
from emergectl.store.measurements import Measurement, append_measurements
from emergectl.store.run import Run
from emergectl.training.checkpointing import Progress, Trained


@dataclass(frozen=True)
class StepResult:
    """What one step gave, over all ranks."""

    loss: float
    """mean over the global batch's targets"""
    grad_norm: float
    """before clipping"""
    learning_rate: float
    tokens: int
    """input tokens of the global batch, padding left out"""
    flops: float
    """what the global batch's rows take, forward and backward"""
    seconds: float


@dataclass
class Recorder:
    """Writes one run; `run` is None on all ranks but the first."""

    run: Run | None
    listener: Listener
    experiment: Experiment
    trained: Trained
    fingerprint: str
    parameters: ParameterCount
    peak_flops: float | None
    """FLOP/s of all devices together at their best, where known"""
    saved: Progress | None = None
    """what the last checkpoint says of progress; the one gone on from, at the start"""
    _saved_at: float = field(default_factory=time.monotonic)
    _window_tokens: int = 0
    _window_flops: float = 0.0
    _window_seconds: float = 0.0

    def step(self, result: StepResult, *, final: bool = False) -> None:
        """Count a step; write its line where one is due, and after the `final` one."""
        if self.run is None:
            return
        step = self.trained.progress.step
        self._window_tokens += result.tokens
        self._window_flops += result.flops
        self._window_seconds += result.seconds
        self.run.heartbeat(step)
        if step % self.experiment.train.log_every and step != 1 and not final:
            return
        speed = self._window_tokens / self._window_seconds
        record = {
            "loss": result.loss,
            "lr": result.learning_rate,
            "grad_norm": result.grad_norm,
            "tokens_per_second": round(speed, 1),
        }
        if self.peak_flops is not None:
            used = self._window_flops / self._window_seconds
            record["mfu"] = round(used / self.peak_flops, 4)
        self._window_tokens, self._window_flops, self._window_seconds = 0, 0.0, 0.0
        self._write(record)

    def evaluation(self, measured: Sequence[Measurement]) -> None:
        """Write what an evaluation measured: the measurements, and their line in the log."""
        if self.run is None or not measured:
            return
        append_measurements(self.run.path, measured)
        self._write({one.name: one.value for one in measured})
        self.listener.measured(measured)

    def log(self, values: Mapping[str, float]) -> None:
        """Write a line of values that were measured before, and stand with the measurements."""
        if self.run is not None and values:
            self._write(values)

    def _write(self, values: Mapping[str, float]) -> None:
        assert self.run is not None
        progress = self.trained.progress
        record = {
            "step": progress.step,
            "tokens": progress.tokens,
            "flops": progress.flops,
            "seconds": round(progress.seconds, 3),
            "parameters": self.parameters.total,
            "non_embedding_parameters": self.parameters.non_embedding,
            **values,
        }
        self.run.metrics.append(record)
        self.listener.metrics(record)

    def checkpoint_if_due(self) -> None:
        """Commit a checkpoint where the experiment's schedule asks for one."""
        spec, step = self.experiment.checkpoints, self.trained.progress.step
        by_step = spec.every is not None and step > 0 and step % spec.every == 0
        waited = time.monotonic() - self._saved_at
        if by_step or (spec.minutes is not None and waited >= spec.minutes * 60):
            self.checkpoint()

    def checkpoint(self) -> None:
        """Commit a checkpoint of this moment, unless there is one.

        The weights of a step never differ; what is known of them does, where a stop came before
        the evaluation and the next start made up for it.
        """
        if self.run is None or self.saved == self.trained.progress:
            return
        self.trained.save(self.run, fingerprint=self.fingerprint)
        self.saved = replace(self.trained.progress)
        self._saved_at = time.monotonic()

    def snapshot(self) -> None:
        """Commit a snapshot of this step."""
        if self.run is not None:
            self.trained.snapshot(self.run, fingerprint=self.fingerprint)

    def message(self, text: str) -> None:
        """Tell the person, and the log."""
        if self.run is not None:
            self.run.log(text)
            self.listener.message(text)
