"""The metrics of what was asked of a model, each one function from item records to a `Measure`.

A new metric is one function here, marked `@metric`. It gets the records of items that were asked
(none that was skipped) and returns None where they cannot give it: ROC AUC of one class alone is
left out, never invented. Discontinuous metrics judge an item right or wrong; continuous ones move
as the model does, a little at a time. The same outputs are told in both, since a jump in the one
may be none in the other (Schaeffer et al. 2023).

`recall@5`, `ndcg@10`, `pass@100`: a function with a `k` takes it from behind the name.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from inspect import Parameter, signature
from typing import Any, Literal

import numpy as np

from emergectl.errors import RequestError
from emergectl.evaluation.classes import (
    as_classes,
    f1_of_counts,
    mcc_of_counts,
    probabilities,
    roc_area,
)
from emergectl.evaluation.estimates import Measure, mean, of_sums, ratio, share
from emergectl.evaluation.pass_until import PassRate, mean_rate_interval, pass_at_k
from emergectl.evaluation.pass_until import pass_rate as estimated_rate
from emergectl.evaluation.ranking import discounted_gain, random_reciprocal_rank
from emergectl.evaluation.records import ItemRecord
from emergectl.evaluation.text_overlap import (
    edits_between,
    overlap_counts,
    overlap_score,
    overlap_scorer,
    text_tokens,
)
from emergectl.store.measurements import Direction, Likelihood, MetricFacts, Quantity

Records = Sequence[ItemRecord]
Kind = Literal["discontinuous", "continuous"]

CALIBRATION_BINS = 15


@dataclass(frozen=True)
class Metric:
    """A metric by its name; `needs_text` where the model has to write for it."""

    name: str
    kind: Kind
    needs_text: bool
    lower_is_better: bool
    measure: Callable[[Records], Measure | None]


@dataclass(frozen=True)
class _Entry:
    kind: Kind
    needs_text: bool
    lower_is_better: bool
    function: Callable[..., Measure | None]
    takes_k: bool
    needs_k: bool


_METRICS: dict[str, _Entry] = {}


def metric(
    kind: Kind, *, name: str = "", needs_text: bool = False, lower_is_better: bool = False
) -> Callable[[Callable[..., Measure | None]], Callable[..., Measure | None]]:
    """Enter a function as a metric, under its own name unless another is given."""

    def enter(function: Callable[..., Measure | None]) -> Callable[..., Measure | None]:
        k = signature(function).parameters.get("k")
        needs_k = k is not None and k.default is Parameter.empty
        _METRICS[name or function.__name__] = _Entry(
            kind, needs_text, lower_is_better, function, k is not None, needs_k
        )
        return function

    return enter


def find_metric(name: str) -> Metric:
    """The metric of that name; RequestError naming the nearest one where there is none."""
    stem, at, number = name.partition("@")
    entry = _METRICS.get(stem)
    counts = number.isdecimal() and int(number) > 0
    if entry is None or (at and not (entry.takes_k and counts)) or (entry.needs_k and not at):
        near = difflib.get_close_matches(name, metric_names(), n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"there are: {', '.join(metric_names())}"
        raise RequestError(f"no metric `{name}`; {hint}")
    measure = partial(entry.function, k=int(number)) if at else entry.function
    return Metric(name, entry.kind, entry.needs_text, entry.lower_is_better, measure)


def metric_names() -> list[str]:
    """The names of all metrics; `@k` stands for any number."""
    return [f"{name}@k" if entry.needs_k else name for name, entry in _METRICS.items()]


# Right or wrong.


@metric("discontinuous")
def accuracy(records: Records) -> Measure | None:
    """Share of items whose likeliest choice is right."""
    asked = _with_choices(records)
    return share([record.correct is True for record in asked], chance=_chance_of_choices(asked))


@metric("discontinuous")
def accuracy_per_byte(records: Records) -> Measure | None:
    """Accuracy with each choice's log-probability divided by its bytes, so that short ones do not
    win for being short."""
    asked = _with_choices(records)
    chosen = [
        max(range(len(r.choices)), key=lambda i, r=r: _per_byte(r, i))  # type: ignore[misc]
        for r in asked
    ]
    right = [choice in record.right for choice, record in zip(chosen, asked, strict=True)]
    return share(right, chance=_chance_of_choices(asked))


@metric("discontinuous")
def exact_match(records: Records) -> Measure | None:
    """Share of items answered exactly right: by greedy decoding, or as the task judges texts."""
    asked = [record for record in records if not record.choice_scores]
    return share([record.correct is True for record in asked if record.correct is not None])


@metric("discontinuous")
def f1(records: Records) -> Measure | None:
    """Of classes: F1 of the second where there are two, else the unweighted mean over them. Of
    written answers: the mean of what the task grades them."""
    graded = [record.extra["f1"] for record in records if "f1" in record.extra]
    if graded:
        return mean(graded)
    classes = as_classes(_one_right(records))
    return None if classes is None else of_sums(classes.counts(), f1_of_counts)


@metric("discontinuous")
def mcc(records: Records) -> Measure | None:
    """Matthews' correlation coefficient, for any number of classes."""
    classes = as_classes(_one_right(records))
    return None if classes is None else of_sums(classes.counts(), mcc_of_counts, chance=0.0)


@metric("discontinuous", name="recall")
def recall_at(records: Records, k: int) -> Measure | None:
    """Mean share of the relevant candidates that are among the first k."""
    ranked = _ranked(records)
    found = [sum(g > 0 for g in gains[:k]) / sum(g > 0 for g in gains) for gains in ranked]
    chance = [min(k, len(gains)) / len(gains) for gains in ranked]
    return mean(found, chance=_mean_of(chance))


@metric("discontinuous", name="pass", needs_text=True)
def pass_at(records: Records, k: int) -> Measure | None:
    """Probability that one of k samples is right, from n ≥ k samples (Chen et al. 2021)."""
    counted = [
        (len(record.written), record.extra["samples_right"])
        for record in records
        if len(record.written) >= k and "samples_right" in record.extra
    ]
    return mean([pass_at_k(n, right, k) for n, right in counted])


@metric("continuous", needs_text=True)
def pass_rate(records: Records) -> Measure | None:
    """Mean probability that a sample is right, estimated without bias item by item: of several
    samples, or of those drawn until enough of them passed (Haldane 1945; Hu et al. 2024). The
    interval is exact for a single item, and where none or every one of all samples passed."""
    rates = [rate for record in records if (rate := _pass_rate(record)) is not None]
    measure = mean([rate.rate for rate in rates])
    return measure and replace(measure, is_share=False, exact=mean_rate_interval(rates))


# How likely.


@metric("continuous")
def logprob(records: Records) -> Measure | None:
    """Mean log-probability of the right answer, in nats."""
    return mean([scored.logprob for scored in _right_scores(records)])


@metric("continuous")
def logprob_per_token(records: Records) -> Measure | None:
    """Log-probability of a token of the right answers, in nats: minus the loss."""
    scores = _right_scores(records)
    return ratio([one.logprob for one in scores], [float(one.tokens) for one in scores])


@metric("continuous")
def logprob_per_byte(records: Records) -> Measure | None:
    """Log-probability of a UTF-8 byte of the right answers, in nats: the same for any tokenizer."""
    scores = _right_scores(records)
    return ratio([one.logprob for one in scores], [float(one.bytes) for one in scores])


@metric("continuous", lower_is_better=True)
def brier(records: Records) -> Measure | None:
    """Mean squared distance between the choices' probabilities and the truth, from 0 to 2
    (Brier 1950)."""
    asked = _one_right(records)
    distances, chance = [], []
    for record in asked:
        truth = np.zeros(len(record.choices))
        truth[record.right[0]] = 1.0
        distances.append(float(((probabilities(record) - truth) ** 2).sum()))
        chance.append(1 - 1 / len(record.choices))
    return mean(distances, chance=_mean_of(chance))


@metric("continuous")
def margin(records: Records) -> Measure | None:
    """Mean probability of the right choice less that of the likeliest wrong one."""
    margins = []
    for record in _one_right(records):
        given = probabilities(record)
        wrong = np.delete(given, record.right[0])
        margins.append(float(given[record.right[0]] - wrong.max(initial=0.0)))
    return mean(margins, chance=0.0)


@metric("continuous", lower_is_better=True)
def ece(records: Records) -> Measure | None:
    """Expected calibration error: how far confidence and accuracy are apart, in the mean over
    15 equal bins of confidence, weighted by items (Guo et al. 2017)."""
    asked = _one_right(records)
    rows = np.zeros((len(asked), CALIBRATION_BINS + 1))
    for row, record in zip(rows, asked, strict=True):
        confidence = float(probabilities(record).max())
        place = min(CALIBRATION_BINS - 1, max(0, math.ceil(confidence * CALIBRATION_BINS) - 1))
        row[place] = float(record.correct is True) - confidence
        row[-1] = 1.0
    return of_sums(rows, lambda sums: np.abs(sums[:, :-1]).sum(axis=1) / sums[:, -1])


@metric("continuous")
def roc_auc(records: Records) -> Measure | None:
    """Area under the ROC curve; the unweighted mean of each class against the others where there
    are more than two. Not defined where a class has no items."""
    classes = as_classes(_one_right(records))
    if classes is None:
        return None
    sides = [1] if len(classes.names) == 2 else range(len(classes.names))
    areas = [roc_area(classes.given[:, one], classes.true == one) for one in sides]
    return Measure(
        lambda weights: np.mean([area(weights) for area in areas], axis=0),
        len(classes.true),
        chance=0.5,
    )


# In order.


@metric("continuous")
def mrr(records: Records) -> Measure | None:
    """Mean of 1 / the place of the first relevant candidate."""
    ranked = _ranked(records)
    first = [next(1 / (i + 1) for i, gain in enumerate(gains) if gain > 0) for gains in ranked]
    return mean(
        first,
        chance=_mean_of(
            [
                random_reciprocal_rank(len(gains), sum(gain > 0 for gain in gains))
                for gains in ranked
            ]
        ),
    )


@metric("continuous", name="ndcg")
def ndcg_at(records: Records, k: int | None = None) -> Measure | None:
    """Normalised discounted cumulative gain of the first k (None: of all), gains linear (Järvelin &
    Kekäläinen 2002)."""
    ranked = _ranked(records)
    best = [discounted_gain(sorted(gains, reverse=True), k) for gains in ranked]
    found = [discounted_gain(gains, k) for gains in ranked]
    blind = [discounted_gain([sum(gains) / len(gains)] * len(gains), k) for gains in ranked]
    return mean(_shares(found, best), chance=_mean_of(_shares(blind, best)))


# Near in text.


@metric("continuous", needs_text=True, lower_is_better=True)
def edit_distance(records: Records) -> Measure | None:
    """Mean edits between answer and nearest reference, counted in words, digits, Chinese
    characters and marks."""
    distances = []
    for record in _texts(records):
        ours = text_tokens(_text(record))
        near = min(edits_between(ours, text_tokens(text)) for text in _references(record))
        distances.append(float(near))
    return mean(distances)


@metric("continuous", needs_text=True)
def bleu(records: Records) -> Measure | None:
    """BLEU of the corpus, 0 to 100, as sacrebleu computes it; Chinese character by character."""
    return _overlap("bleu", records)


@metric("continuous", needs_text=True)
def chrf(records: Records) -> Measure | None:
    """chrF2 of the corpus, 0 to 100, as sacrebleu computes it."""
    return _overlap("chrf", records)


def _overlap(kind: Literal["bleu", "chrf"], records: Records) -> Measure | None:
    asked = _texts(records)
    if not asked:
        return None
    references = [_references(record) for record in asked]
    scorer = overlap_scorer(kind, references)
    counts = overlap_counts(scorer, [_text(record) for record in asked], references)
    return of_sums(counts, lambda drawn: np.array([overlap_score(scorer, one) for one in drawn]))


# What the records give.


def _pass_rate(record: ItemRecord) -> PassRate | None:
    counts = record.extra
    if "passes" in counts:
        return estimated_rate(counts["passes"], counts["samples"], reached=counts["reached"])
    if "samples_right" in counts:
        return estimated_rate(counts["samples_right"], len(record.written), reached=False)
    return None


def _with_choices(records: Records) -> list[ItemRecord]:
    return [record for record in records if record.choice_scores]


def _one_right(records: Records) -> list[ItemRecord]:
    return [record for record in _with_choices(records) if len(record.right) == 1]


def _right_scores(records: Records) -> list[Any]:
    """The scores of the right answers: of the target, or of the only right choice."""
    scores = []
    for record in records:
        if record.target_score is not None:
            scores.append(record.target_score)
        elif record.choice_scores and len(record.right) == 1:
            scores.append(record.choice_scores[record.right[0]])
    return scores


def _per_byte(record: ItemRecord, choice: int) -> float:
    scored = record.choice_scores[choice]
    return scored.logprob / max(1, scored.bytes)


def _chance_of_choices(records: Records) -> float | None:
    return _mean_of([len(record.right) / len(record.choices) for record in records])


def _ranked(records: Records) -> list[list[float]]:
    """What the candidates are worth in the order that the model puts them in, item by item."""
    ranked = []
    for record in records:
        if not isinstance(record.prediction, list | tuple) or not record.right:
            continue
        worth = record.worth or [float(i in record.right) for i in range(len(record.choices))]
        gains = [worth[place] for place in record.prediction]
        if any(gain > 0 for gain in gains):
            ranked.append(gains)
    return ranked


def _texts(records: Records) -> list[ItemRecord]:
    return [record for record in records if record.written and _references(record)]


def _text(record: ItemRecord) -> str:
    return record.prediction if isinstance(record.prediction, str) else record.written[0]


def _references(record: ItemRecord) -> list[str]:
    own = [] if record.target is None else [record.target]
    return [*own, *record.references]


def _mean_of(values: Iterable[float]) -> float | None:
    some = list(values)
    return sum(some) / len(some) if some else None


def _shares(parts: Sequence[float], wholes: Sequence[float]) -> list[float]:
    return [part / whole for part, whole in zip(parts, wholes, strict=True)]


_OF_THE_LOOP = {
    "loss": MetricFacts("continuous", "down", "loss", least=0.0, likelihood="token"),
    "perplexity": MetricFacts(
        "continuous", "down", "ratio", scale="log", least=1.0, likelihood="token"
    ),
    "bits_per_byte": MetricFacts("continuous", "down", "loss", least=0.0, likelihood="byte"),
}


def metric_facts(name: str) -> MetricFacts | None:
    """What the metric of that name is; None if unknown."""
    entry = _METRICS.get(name.partition("@")[0])
    if entry is None:
        share = MetricFacts("discontinuous", "up", "share", least=0.0, most=1.0)
        return _OF_THE_LOOP.get(name, share if name.endswith("accuracy") else _of_others(name))
    quantity: Quantity = "share" if entry.kind == "discontinuous" else "mean"
    told: dict[str, Likelihood] = {"logprob": "item", "logprob_per_token": "token"}
    told["logprob_per_byte"] = "byte"
    direction: Direction = "down" if entry.lower_is_better else "up"
    least, most = (0.0, 1.0) if quantity == "share" else (None, None)
    return MetricFacts(
        entry.kind, direction, quantity, least=least, most=most, likelihood=told.get(name)
    )


_OF_OTHERS = {
    "share": "acc acc_norm em multiple_choice_grade mc1 pass",
    "log": "ppl word_perplexity byte_perplexity token_perplexity",
    "loss": "nll bits_per_character log_perplexity cross_entropy",
    "down": "error wer cer mse mae",
}


def _of_others(name: str) -> MetricFacts | None:
    """What others' metrics are, by their names."""
    kind = next((kind for kind, names in _OF_OTHERS.items() if name.lower() in names.split()), None)
    return {
        None: None,
        "share": MetricFacts("discontinuous", "up", "share", least=0, most=1),
        "log": MetricFacts("continuous", "down", "ratio", scale="log", least=0, likelihood="token"),
        "loss": MetricFacts("continuous", "down", "loss", likelihood="token"),
        "down": MetricFacts("continuous", "down", "mean", least=0),
    }[kind]
