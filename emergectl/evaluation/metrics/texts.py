"""Metrics of what a model writes freely: near in text, and how often samples are right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from emergectl.evaluation.estimates import Measure, mean, of_sums
from emergectl.evaluation.metrics.definition import Metrics

if TYPE_CHECKING:
    import numpy as np

    from emergectl.evaluation.columns import Columns

METRICS = Metrics()


@METRICS.metric("continuous", "mean", direction="down", least=0.0, needs_text=True)
def edit_distance(columns: Columns) -> Measure | None:
    """Mean edits between answer and nearest reference, counted in words, digits, Chinese
    characters and marks."""
    from emergectl.evaluation.text_overlap import edits_between, text_tokens

    distances = []
    for text, references in columns.texts:
        ours = text_tokens(text)
        distances.append(min(edits_between(ours, text_tokens(one)) for one in references))
    return mean(distances)


@METRICS.metric("continuous", "ratio", least=0.0, most=100.0, needs_text=True)
def bleu(columns: Columns) -> Measure | None:
    """BLEU of the corpus, 0 to 100, as sacrebleu computes it; Chinese character by character."""
    return _overlap("bleu", columns)


@METRICS.metric("continuous", "ratio", least=0.0, most=100.0, needs_text=True)
def chrf(columns: Columns) -> Measure | None:
    """chrF2 of the corpus, 0 to 100, as sacrebleu computes it."""
    return _overlap("chrf", columns)


@METRICS.metric("discontinuous", "mean", name="pass", least=0.0, most=1.0, needs_text=True)
def pass_at(columns: Columns, k: int) -> Measure | None:
    """Probability that one of k samples is right, from n ≥ k samples (Chen et al. 2021)."""
    from emergectl.evaluation.pass_until import pass_at_k

    counted = [one for one in columns.samples if one.until is None and one.count >= k]
    return mean([pass_at_k(one.count, one.right, k) for one in counted])


@METRICS.metric("continuous", "mean", least=0.0, most=1.0, needs_text=True)
def pass_rate(columns: Columns) -> Measure | None:
    """Mean probability that a sample is right, estimated without bias item by item: of several
    samples, or of those drawn until enough of them passed (Haldane 1945; Hu et al. 2024). The
    interval is exact for a single item, and where none or every one of all samples passed."""
    from emergectl.evaluation.pass_until import estimate_pass_rate as estimated
    from emergectl.evaluation.pass_until import mean_rate_interval

    rates = [estimated(o.right, o.count, reached=bool(o.until)) for o in columns.samples]
    return mean([rate.rate for rate in rates], exact=mean_rate_interval(rates))


def _overlap(kind: Literal["bleu", "chrf"], columns: Columns) -> Measure | None:
    import numpy as np

    from emergectl.evaluation.text_overlap import overlap_counts, overlap_score, overlap_scorer

    if not columns.texts:
        return None
    texts, references = zip(*columns.texts, strict=True)
    scorer = overlap_scorer(kind, references)
    counts = overlap_counts(scorer, texts, references)

    def finish(sums: np.ndarray) -> np.ndarray:
        return np.array([overlap_score(scorer, one) for one in sums])

    return of_sums(counts, finish)
