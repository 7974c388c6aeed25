"""Metrics of candidates that a model puts in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emergectl.evaluation.estimates import Measure, mean
from emergectl.evaluation.metrics.definition import Metrics

if TYPE_CHECKING:
    from emergectl.evaluation.columns import Columns

METRICS = Metrics()


@METRICS.metric("discontinuous", "mean", name="recall", least=0.0, most=1.0)
def recall_at(columns: Columns, k: int) -> Measure | None:
    """Mean share of the relevant candidates that are among the first k."""
    found = [sum(g > 0 for g in gains[:k]) / sum(g > 0 for g in gains) for gains in columns.ranked]
    chance = [min(k, len(gains)) / len(gains) for gains in columns.ranked]
    return mean(found, chance=_mean_of(chance))


@METRICS.metric("continuous", "mean", least=0.0, most=1.0)
def mrr(columns: Columns) -> Measure | None:
    """Mean of 1 / the place of the first relevant candidate."""
    from emergectl.evaluation.ranking import random_reciprocal_rank

    first = [next(1 / (i + 1) for i, g in enumerate(gains) if g > 0) for gains in columns.ranked]
    chance = [random_reciprocal_rank(len(g), sum(x > 0 for x in g)) for g in columns.ranked]
    return mean(first, chance=_mean_of(chance))


@METRICS.metric("continuous", "mean", name="ndcg", least=0.0, most=1.0)
def ndcg_at(columns: Columns, k: int | None = None) -> Measure | None:
    """Normalised discounted cumulative gain of the first k (None: of all), gains linear (Järvelin &
    Kekäläinen 2002)."""
    from emergectl.evaluation.ranking import discounted_gain

    found, blind = [], []
    for gains in columns.ranked:
        best = discounted_gain(sorted(gains, reverse=True), k)
        found.append(discounted_gain(gains, k) / best)
        blind.append(discounted_gain([sum(gains) / len(gains)] * len(gains), k) / best)
    return mean(found, chance=_mean_of(blind))


def _mean_of(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
