"""Metrics of answers that are texts: how likely they are, and whether they are written."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from emergectl.evaluation.estimates import Measure, mean, of_sums, ratio, share
from emergectl.evaluation.metrics.definition import Metrics

if TYPE_CHECKING:
    from emergectl.evaluation.columns import Columns

METRICS = Metrics()


@METRICS.metric(
    "continuous",
    "loss",
    direction="down",
    least=0.0,
    likelihood="token",
    held_out=("text", "masked", "answers", "classes", "labels"),
)
def loss(columns: Columns) -> Measure | None:
    """Mean negative log-likelihood in nats: of a token of the right answers; of classes, of an
    item's class among the classes (of several labels, the mean over them)."""
    losses = columns.losses
    return ratio(losses.nll, losses.weight) if losses else None


@METRICS.metric(
    "continuous",
    "ratio",
    direction="down",
    scale="log",
    least=1.0,
    likelihood="token",
    held_out=("text", "masked", "answers"),
)
def perplexity(columns: Columns) -> Measure | None:
    """exp of the mean loss of a token; infinite where that overflows."""
    import numpy as np

    answers = columns.answers
    if answers is None:
        return None

    def finish(sums: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            return np.exp(sums[:, 0] / sums[:, 1])

    return of_sums(np.stack([-answers.logprob, answers.tokens], axis=1), finish)


@METRICS.metric(
    "continuous", "loss", direction="down", least=0.0, likelihood="byte", held_out=("text",)
)
def bits_per_byte(columns: Columns) -> Measure | None:
    """Code length of a UTF-8 byte of the right answers, in bits: the same for any tokenizer."""
    return _per_byte(columns, -1 / math.log(2))


@METRICS.metric("continuous", "mean", most=0.0, likelihood="item")
def logprob(columns: Columns) -> Measure | None:
    """Mean log-probability of the right answer, in nats."""
    answers = columns.answers
    return mean(answers.logprob) if answers else None


@METRICS.metric("continuous", "ratio", most=0.0, likelihood="token")
def logprob_per_token(columns: Columns) -> Measure | None:
    """Log-probability of a token of the right answers, in nats: minus the loss."""
    answers = columns.answers
    return ratio(answers.logprob, answers.tokens) if answers else None


@METRICS.metric("continuous", "ratio", most=0.0, likelihood="byte")
def logprob_per_byte(columns: Columns) -> Measure | None:
    """Log-probability of a UTF-8 byte of the right answers, in nats: the same for any tokenizer."""
    return _per_byte(columns, 1.0)


def _per_byte(columns: Columns, unit: float) -> Measure | None:
    """Log-probability by the byte, of the answers whose tokens carry their text."""
    import numpy as np

    answers = columns.answers
    if answers is None or answers.bytes is None:
        return None
    carried = ~np.isnan(answers.bytes)
    return ratio(answers.logprob[carried] * unit, answers.bytes[carried]) if carried.any() else None


@METRICS.metric("discontinuous", "share", least=0.0, most=1.0, held_out=("answers",))
def exact_match(columns: Columns) -> Measure | None:
    """Share of items answered exactly right: by greedy decoding, or as the task judges texts."""
    right = columns.answered_right
    return None if right is None else share(right)


@METRICS.metric("discontinuous", "ratio", least=0.0, most=1.0, held_out=("answers",))
def token_accuracy(columns: Columns) -> Measure | None:
    """Share of the right answers' tokens that greedy prediction gets right, given those before."""
    answers = columns.answers
    if answers is None or answers.right_tokens is None:
        return None
    return ratio(answers.right_tokens, answers.tokens)
