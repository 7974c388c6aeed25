"""What `auto` means for precision, compilation and micro-batches: measured, then remembered.

Measuring costs some steps' time and compiling costs tens of seconds, so both are weighed against
the length of the run: a run that is over in a minute is left eager and in fp32. What was found is
kept per machine, shape and library version; a run keeps what it began with, since another choice
would change its numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import nn

from emergectl.config.schema import Experiment
from emergectl.data.feeds import Feed
from emergectl.training.budget import Budget
from emergectl.training.ranks import Ranks

MEASURED_STEPS = 3
# On CPU, bf16 loses digits and gains little in small models: it has to pay clearly.
BF16_MUST_GAIN = 1.15
# A run shorter than this is not worth measuring or compiling for.
SHORT_RUN_SECONDS = 60.0
COMPILE_PAYS_AFTER_SECONDS = 240.0


@dataclass(frozen=True)
class Arithmetic:
    """How steps are computed."""

    precision: str
    compile: bool
    micro_batch_size: int
    measured: Mapping[str, float] | None = None
    """seconds of forward and backward pass of each candidate, where measured"""

    def to_dict(self) -> dict[str, Any]:
        """For run.json."""
        return asdict(self)

    def compiled(self, module: nn.Module) -> nn.Module:
        """The module, compiled where that was chosen."""
        return cast(nn.Module, torch.compile(module)) if self.compile else module


def choose_arithmetic(
    experiment: Experiment,
    module: nn.Module,
    feed: Feed,
    budget: Budget,
    ranks: Ranks,
    *,
    decided: Mapping[str, Any] | None,
) -> Arithmetic:
    """Precision, compilation and micro-batch of a run, the same on all ranks.

    `decided` is what an earlier session of the same run settled on.
    """
    if decided is not None:
        return Arithmetic(**decided)
    return cast(Arithmetic, ranks.from_main(_choose(experiment, ranks)))


def _choose(experiment: Experiment, ranks: Ranks) -> Arithmetic:
    spec = experiment.train
    rows = -(-spec.batch_size // ranks.world)
    micro = rows if spec.micro_batch_size == "auto" else min(rows, spec.micro_batch_size)
    if ranks.device.type == "cuda":
        return _choose_on_cuda(experiment, micro)
    precision = "fp32" if spec.precision == "auto" else spec.precision
    compiles = spec.compile is True
    return Arithmetic(precision, compiles, micro)


def _choose_on_cuda(experiment: Experiment, micro: int) -> Arithmetic:
    spec = experiment.train
    precision = spec.precision
    if precision == "auto":
        precision = "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    return Arithmetic(precision, spec.compile is True, micro)
