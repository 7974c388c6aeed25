"""Which trials may be trained as one ensemble, and how many at once.

Trials that differ only in seed, learning rate, weight decay, betas or data may go together; the
worker looks again at what they have become, and trains alone what does not fit after all. How many
pay is measured, never assumed: models of some thousand parameters gain six times and more, those
of a hundred thousand nothing at all on a CPU.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal

from emergectl.config.schema import Experiment
from emergectl.sweeps.protocol import plain_experiment

Wish = Literal["auto", "off"] | int
"""what a sweep file says: how many trials go together at most"""

FEWEST = 4
"""so many trials of a kind are worth measuring for"""
SIZES = (8, 32, 128)
"""members that are tried, besides a worker's whole share"""
MUST_GAIN = 1.05
"""times the tokens per second of one after the other"""

_FREE = ("name", "notes", "seed", "tracking")
_FREE_OF_OPTIMIZER = ("lr", "weight_decay", "betas")
_FREE_OF_DATA = ("train", "validation", "test")


def kind_of(experiment: Experiment) -> str | None:
    """What trials that may go together have in common; None for one that cannot."""
    train = experiment.train
    alone = (
        experiment.optimizer.name != "adamw"
        or train.compile is True
        or train.precision == "fp16"
        or train.micro_batch_size != "auto"
        or train.minutes is not None
        or bool(experiment.model.dropout)
    )
    if alone:
        return None
    plain = plain_experiment(experiment)
    for part, free in (("optimizer", _FREE_OF_OPTIMIZER), ("data", _FREE_OF_DATA)):
        plain[part] = {key: value for key, value in plain[part].items() if key not in free}
    return json.dumps({k: v for k, v in plain.items() if k not in _FREE}, sort_keys=True)


def candidates(share: int) -> list[int]:
    """Ensemble sizes to be measured for a worker that has so many trials to do."""
    return sorted({*(size for size in SIZES if size < share), min(share, SIZES[-1])})


def best_size(rates: Mapping[int, float]) -> int:
    """The size with the most tokens per second of those that were measured; 1 is alone."""
    best = max(rates, key=lambda size: rates[size])
    return best if rates[best] >= MUST_GAIN * rates[1] else 1


def in_words(rates: Mapping[int, float]) -> str:
    """What was measured and chosen, for people."""
    size = best_size(rates)
    chosen = f"ensembles of {size}" if size > 1 else "one trial at a time"
    found = ", ".join(f"{members}: {rate:,.0f}" for members, rate in sorted(rates.items()))
    return f"{chosen} (tokens/s of a worker by members: {found})"
