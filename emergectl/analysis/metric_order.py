"""Which of several metrics of the same outputs tells most, and which only tells a loss again.

By what the metrics are, never by their names; without numpy, so that what only sorts metrics starts
fast.
"""

from __future__ import annotations

from collections.abc import Mapping

from emergectl.store.measurements import MetricFacts

LIKELIHOODS = ("token", "item", "byte")
QUANTITIES = ("mean", "ratio", "area", "share", "loss")
"""what a continuous metric is, the most telling beside a discontinuous one first"""


def rank(metric: str, what: MetricFacts) -> tuple[object, ...]:
    """What continuous metrics of the same outputs are ordered by, the most telling first.

    Likelihoods first (per token, then per answer, then per byte), for the theory is about these;
    then means, ratios, areas, of bounded numbers first, which no single item can carry away. What
    spans orders of magnitude comes last; of equals what rises before what falls, then by name.
    """
    told = what.likelihood is not None
    return (
        what.scale == "log",
        not told,
        LIKELIHOODS.index(what.likelihood) if what.likelihood is not None else 0,
        0 if told else QUANTITIES.index(what.quantity),
        not told and (what.least is None or what.most is None),
        what.direction == "down",
        metric,
    )


def restates_loss(metric: str, same_outputs: Mapping[str, MetricFacts]) -> bool:
    """Whether a metric tells the loss of the same outputs in other words, as a perplexity does.

    same_outputs: what each metric of these outputs is, `metric` among them.
    """
    losses = {name: what for name, what in same_outputs.items() if is_loss(what)}
    return metric in losses and metric != min(losses, key=lambda name: rank(name, losses[name]))


def is_loss(what: MetricFacts) -> bool:
    """Whether a metric is a loss, or tells one in other words: a likelihood that falls."""
    return what.likelihood is not None and what.direction == "down"
