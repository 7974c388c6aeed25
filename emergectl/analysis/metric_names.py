"""What a metric's name tells: whether it falls when a model gets better, whether it is logged.

Names alone, without numpy, so that what only sorts metrics starts fast.
"""

from __future__ import annotations

LOGGED = ("perplexity", "ppl")
RESTATED_LOSS = ("perplexity", "bits_per_byte")
"""the held-out loss in other words"""
FALLING = (
    "loss",
    "nll",
    "brier",
    "bits_per_byte",
    "bits_per_character",
    "edit_distance",
    "error",
    "ece",
    "wer",
    "cer",
    "mse",
    "mae",
)
"""last words of metrics that fall when a model gets better"""


def is_falling(metric: str) -> bool:
    """Whether a metric, by its name, falls when a model gets better."""
    return is_logged(metric) or _ends_in(metric, FALLING)


def is_logged(metric: str) -> bool:
    """Whether a metric, by its name, spans orders of magnitude and is logged before fitting."""
    return _ends_in(metric, LOGGED)


def _ends_in(metric: str, words: tuple[str, ...]) -> bool:
    name = metric.lower().rsplit("/", 1)[-1]
    return any(name == word or name.endswith("_" + word) for word in words)
