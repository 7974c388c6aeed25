"""What is advised can be followed: designs keep the rungs at hand, and their outcomes are drawn
from what the data allow."""

from collections.abc import Callable

import numpy as np
import pytest

from emergectl.analysis.advice import PROMISED, _designs, _outcome, advise
from emergectl.analysis.curves import Curve
from emergectl.analysis.verdict import judge
from emergectl.store.measurements import MetricFacts

Make = Callable[..., Curve]


def test_a_jump_of_one_run_is_settled_by_more_seeds(curve_through: Make) -> None:
    jump = [0.0, 0.01, 0.0, 0.01, 0.59, 0.6, 0.61, 0.6]
    (finding,) = judge([curve_through(jump, items=80)])
    assert finding.verdict == "undetermined"
    design = advise(finding, alpha=0.05, margin=0.05)
    assert design is not None
    assert design.power >= PROMISED
    assert "seeds" in design.said
    assert f"{design.power:.0%}" in str(design)


def test_what_a_design_adds_at_a_scale_that_is_there_joins_it(curve_through: Make) -> None:
    (finding,) = judge([curve_through([0.0, 0.01, 0.0, 0.01, 0.59, 0.6, 0.61, 0.6], items=80)])
    evidence = finding.evidence
    assert evidence.break_ is not None
    assert evidence.break_.draws is not None
    rng = np.random.default_rng(0)
    for extra in _designs(evidence, evidence.break_.draws):
        outcome = _outcome(evidence, extra, rng)
        new = len(set(np.round(extra.places, 6)) - set(np.round(np.log10(evidence.curve.x), 6)))
        assert len(outcome.x) == len(evidence.curve.x) + new
        assert outcome.seeds.sum() == evidence.curve.seeds.sum() + len(extra.places)
        assert outcome.items.sum() == pytest.approx(80 * extra.items_times * outcome.seeds.sum())


def test_where_chance_is_unknown_or_wrong_no_design_is_promised(curve_through: Make) -> None:
    jump = [[v] * 4 for v in (0.2, 0.21, 0.2, 0.21, 0.79, 0.8, 0.81, 0.8)]
    unknown, wrong = judge([curve_through(jump, chance=None), curve_through(jump, task="w")])
    for finding in (unknown, wrong):
        assert finding.verdict == "undetermined"
        assert advise(finding, alpha=0.05, margin=0.05) is None
    assert "right chance level" in wrong.settle


def test_no_outcome_lies_where_the_metric_cannot_be(curve_through: Make) -> None:
    what = MetricFacts("continuous", "down", "loss", least=0, likelihood="token")
    rng = np.random.default_rng(1)
    falling = [2.0, 2.0, 2.0, 1.5, 0.5, 0.01, 0.0, 0.01]
    values = [abs(v + 0.2 * rng.standard_normal(3)) for v in falling]
    (finding,) = judge([curve_through(values, what=what, items=None, chance=None)])
    evidence = finding.evidence
    assert evidence.break_ is not None
    assert evidence.break_.draws is not None
    for extra in _designs(evidence, evidence.break_.draws):
        for _ in range(20):
            outcome = _outcome(evidence, extra, rng)
            assert min(float(seeds.min()) for seeds in outcome.seed_values) >= 0
