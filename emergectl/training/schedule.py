"""When things happen: the learning rate over the run, and log-spaced or fixed schedules.

Everything is a pure function of the step, so that a resumed run needs no memory of the past.
"""

from __future__ import annotations

import math
from fractions import Fraction

from emergectl.config.schema import ScheduleSpec

LOG_POINTS_PER_DECADE = 8


def learning_rate_factor(
    spec: ScheduleSpec, step: int, *, total_steps: int | None, elapsed: float
) -> float:
    """Learning rate of `step` (0-based) as a share of the peak.

    `elapsed` is the share of the run that is over, in [0, 1]: of the steps, or of the wall time
    where that is the budget. `total_steps` (None under a budget of wall time alone) makes warm-up
    end before the decay begins.
    """
    if step < spec.warmup_steps:
        return (step + 1) / spec.warmup_steps
    if spec.name == "constant":
        return 1.0
    warm = spec.warmup_steps / total_steps if total_steps else 0.0
    if spec.name == "wsd":
        decay_begins = max(warm, 1.0 - spec.decay_fraction)
        fall = _share(elapsed, decay_begins)
    else:
        fall = _share(elapsed, warm)
    if spec.name == "cosine":
        fall = 0.5 * (1.0 - math.cos(math.pi * fall))
    return 1.0 - fall * (1.0 - spec.min_lr_ratio)


def _share(elapsed: float, begin: float) -> float:
    if begin >= 1.0:
        return 0.0
    return min(1.0, max(0.0, (elapsed - begin) / (1.0 - begin)))


def is_due(every: int | str | list[int] | None, step: int, *, steps_per_epoch: Fraction) -> bool:
    """Whether something on the schedule `every` happens after `step` steps.

    An integer N: every N steps; `log`: at the whole numbers nearest to 10^(k/8); `epoch`: after the
    steps that end an epoch; a list: at the steps in it; None: never.
    """
    if every is None:
        return False
    if isinstance(every, list):
        return step in every
    if step <= 0:
        return False
    if every == "epoch":
        return step // steps_per_epoch > (step - 1) // steps_per_epoch
    if every == "log":
        exponent = round(LOG_POINTS_PER_DECADE * math.log10(step))
        return any(
            round(10 ** (k / LOG_POINTS_PER_DECADE)) == step
            for k in (exponent - 1, exponent, exponent + 1)
        )
    return step % int(every) == 0
