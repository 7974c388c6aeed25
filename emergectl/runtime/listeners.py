"""Who is told how training goes: the display, the trackers, whatever else wants to know.

The loop speaks to one `Listener` and knows nothing of terminals or services. It tells what the run
is (`start`), every line that it writes to metrics.jsonl (`metrics`), what a person should read
(`message`) and how it ended (`close`). Only rank 0 has listeners.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from emergectl.store.measurements import Measurement


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What is known of a run before its first step."""

    run_id: str
    run_path: Path
    name: str
    """the experiment's name"""
    model: str
    """family and size, as one would say it: `llama 1m`"""
    parameters: int
    """embeddings included"""
    non_embedding_parameters: int
    total_steps: int | None
    """None where the budget is wall time alone"""
    resumed_from: int | None = None
    """the checkpoint's step, if this is not the run's beginning"""
    budget_seconds: float | None = None
    """wall time after which training stops, counted from `start`"""
    training_flops: float | None = None
    """of the whole budget"""
    device: str = "cpu"
    ranks: int = 1
    precision: str = "fp32"
    compiled: bool = False


class Listener(Protocol):
    """Something that is told how training goes. No call may raise or wait for long."""

    def start(self, facts: RunFacts) -> None:
        """The run begins, or goes on."""

    def metrics(self, record: Mapping[str, float]) -> None:
        """One line of metrics.jsonl: `step` and what was measured there.

        Names without a slash are of training (loss, lr, tokens_per_second, mfu, grad_norm, tokens,
        flops, seconds); names with one are of an evaluation (validation/loss, copy/accuracy).
        """

    def measured(self, measurements: Sequence[Measurement]) -> None:
        """What an evaluation measured, with intervals; its line was told to `metrics` before."""

    def message(self, text: str) -> None:
        """Something a person should read, in one line."""

    def close(self, state: str) -> None:
        """The end: done, failed or preempted. Called once, also after an error."""


@dataclass(frozen=True)
class ListenerGroup:
    """Many listeners as one, told in the order given."""

    members: Sequence[Listener]

    def start(self, facts: RunFacts) -> None:
        for member in self.members:
            member.start(facts)

    def metrics(self, record: Mapping[str, float]) -> None:
        for member in self.members:
            member.metrics(record)

    def measured(self, measurements: Sequence[Measurement]) -> None:
        for member in self.members:
            member.measured(measurements)

    def message(self, text: str) -> None:
        for member in self.members:
            member.message(text)

    def close(self, state: str) -> None:
        for member in self.members:
            member.close(state)
