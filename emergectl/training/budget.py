"""How long a run is: a budget of steps, tokens, epochs, FLOPs or minutes, as a number of steps."""

from __future__ import annotations

import math
from dataclasses import dataclass

from emergectl.config.schema import TrainSpec

DEFAULT_STEPS = 1000


@dataclass(frozen=True)
class Budget:
    """The end of a run: after `steps` steps or `seconds` of training, whichever comes first."""

    steps: int | None
    seconds: float | None

    def elapsed(self, step: int, seconds: float) -> float:
        """Share of the run that is over before `step`, in [0, 1]."""
        by_steps = step / self.steps if self.steps else 0.0
        by_time = seconds / self.seconds if self.seconds else 0.0
        return min(1.0, by_steps if self.steps else by_time)

    def is_spent(self, step: int, seconds: float) -> bool:
        """Whether the run ends after `step` steps and `seconds` of training."""
        if self.steps is not None and step >= self.steps:
            return True
        return self.seconds is not None and seconds >= self.seconds


def plan_budget(
    spec: TrainSpec, *, rows_per_epoch: int, tokens_per_step: float, flops_per_step: float
) -> Budget:
    """The budget of `spec`, rounded up to whole steps.

    Tokens and FLOPs of a step are those of its rows' own lengths, in the mean over an epoch.
    """
    steps: float | None = None
    if spec.steps is not None:
        steps = spec.steps
    elif spec.tokens is not None:
        steps = spec.tokens / tokens_per_step
    elif spec.epochs is not None:
        steps = spec.epochs * rows_per_epoch / spec.batch_size
    elif spec.flops is not None:
        steps = spec.flops / flops_per_step
    elif spec.minutes is None:
        steps = DEFAULT_STEPS
    seconds = spec.minutes * 60 if spec.minutes is not None else None
    return Budget(steps=None if steps is None else max(1, math.ceil(steps)), seconds=seconds)
