"""The error rates of the verdicts, by simulation: what is claimed is measured here.

Smooth abilities (a line, growing powers, powers to a ceiling, wide sigmoids, exact match p^L of a
smoothly improving p) must not be called emergent more than 5% of the time; breaks of 50 points
within 0.3 decades must be found 90% of the time and their intervals cover the truth about 95% of
the time. Each ability is judged by itself, so that no correction for many helps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from emergectl.analysis.breaks import difference, locate
from emergectl.analysis.curves import Curve, Floats, make_curve
from emergectl.analysis.families import gompertz, hinge_rise, logistic_rise, ramp_rise
from emergectl.analysis.verdict import ALPHA, gather

SMOOTH = ("line", "growth", "power", "sigmoid", "exact match")
COMPACT = ("logistic", "ramp")


@dataclass(frozen=True)
class Rate:
    """A measured rate beside what is promised: `low` ≤ rate ≤ `high` (in probabilities)."""

    name: str
    count: int
    trials: int
    low: float
    high: float

    @property
    def rate(self) -> float:
        """Share of trials."""
        return self.count / self.trials

    @property
    def error(self) -> float:
        """Standard error of the rate."""
        return float(np.sqrt(max(self.rate * (1 - self.rate), 1e-4) / self.trials))

    @property
    def holds(self) -> bool:
        """Whether the rate lies inside what is promised."""
        return self.low <= self.rate <= self.high


def smooth_ability(kind: str, rng: np.random.Generator, *, seed_deviation: float = 0.0) -> Curve:
    """A smooth ability: 6–12 rungs over 2–5 decades, 1–8 seeds, 50–1,000 items, binomial noise.

    `seed_deviation`: what seeds differ by beyond their items, as a standard deviation.
    """
    rungs, seeds = int(rng.integers(6, 13)), int(rng.integers(1, 9))
    items = int(rng.choice([50, 100, 200, 500, 1000]))
    chance = float(rng.choice([0.0, 0.25, 0.5]))
    span = float(rng.uniform(2, 5))
    t = np.linspace(0, span, rungs)
    height = float(rng.uniform(0.1, 1 - chance))
    one = np.ones(1)
    shapes: dict[str, Callable[[], Floats]] = {
        "line": lambda: t / span,
        "growth": lambda: 10 ** (rng.uniform(0.3, 0.95) * (t - span)),
        "power": lambda: 1 - 10 ** (-rng.uniform(0.2, 0.95) * t),
        "sigmoid": lambda: logistic_rise(t, rng.uniform(0, span) * one, rng.uniform(1, 3) * one),
        "exact match": lambda: gompertz(
            np.log(10) * rng.uniform(0.2, 0.6) * t - np.log(rng.uniform(3, 20))
        ),
    }
    return _noisy(t, chance + height * shapes[kind](), chance, seeds, items, seed_deviation, rng)


def broken_ability(
    kind: str,
    rng: np.random.Generator,
    *,
    span: float | None = None,
    position: float | None = None,
    width: float | None = None,
) -> tuple[Curve, float]:
    """A break of 50 points within 0.3 decades, n = 500, 8 rungs, 4 seeds; and its log10 position.

    The rungs span 2.1 decades (each doubles the last) to 4.2; positions lie anywhere between the
    second and the last but one, widths anywhere up to 0.3 decades, where they are not given.
    """
    span = float(rng.uniform(2.1, 4.2)) if span is None else span
    t = np.linspace(0, span, 8)
    position = float(rng.uniform(t[1], t[-2])) if position is None else position
    width = float(rng.uniform(0.02, 0.3)) if width is None else width
    chance = float(rng.choice([0.0, 0.25]))
    shape = {"logistic": logistic_rise, "ramp": ramp_rise, "hinge": hinge_rise}[kind]
    rise = shape(t, np.full(1, position), np.full(1, width))
    return _noisy(t, chance + 0.5 * rise, chance, 4, 500, 0.0, rng), 6 + position


def false_emergent(trials: int, seed: int = 0, *, seed_deviation: float = 0.0) -> Iterator[Rate]:
    """How often each kind of smooth ability is called emergent."""
    for index, kind in enumerate(SMOOTH):
        rng = np.random.default_rng([seed, index])
        found = 0
        for trial in range(trials):
            curve = smooth_ability(kind, rng, seed_deviation=seed_deviation)
            found += bool(gather(curve, seed=trial).p_emergent <= ALPHA)
        noise = f", seeds differ by {seed_deviation:g}" if seed_deviation else ""
        yield Rate(f"false emergent: {kind}{noise}", found, trials, 0.0, 0.05)


def found_breaks(trials: int, seed: int = 0) -> Iterator[Rate]:
    """How often a break is found, and how often its interval covers where it is."""
    for index, kind in enumerate(COMPACT):
        rng = np.random.default_rng([seed, 100 + index])
        found = covered = 0
        for trial in range(trials):
            curve, truth = broken_ability(kind, rng)
            evidence = gather(curve, seed=trial)
            found += bool(evidence.p_emergent <= ALPHA)
            place = evidence.break_.position if evidence.break_ else None
            covered += place is not None and place.low <= 10**truth <= place.high
        yield Rate(f"breaks found: {kind}", found, trials, 0.9, 1.0)
        yield Rate(f"position covered: {kind}", covered, trials, 0.92, 0.98)


def differences_of_none(trials: int, seed: int = 0, *, span: float = 2.1) -> Rate:
    """How often the interval of the difference of two breaks covers zero when it is zero.

    Two metrics whose rises have one middle, widths of their own and noise of their own.
    """
    rng = np.random.default_rng([seed, 200])
    covered = 0
    for _ in range(trials):
        position = float(rng.uniform(span / 7, span * 6 / 7))
        pair = [
            locate(broken_ability("logistic", rng, span=span, position=position)[0], rng)
            for _ in range(2)
        ]
        gap = difference(*pair)
        covered += gap.low <= 0 <= gap.high
    return Rate(f"difference of none covered ({span:g} decades)", covered, trials, 0.92, 0.98)


def all_rates(trials: int, seed: int = 0) -> Iterator[Rate]:
    """Every rate that is promised, as it is measured."""
    yield from false_emergent(trials, seed)
    yield from false_emergent(trials, seed, seed_deviation=0.02)
    yield from found_breaks(trials, seed)
    yield differences_of_none(trials, seed)


def _noisy(
    t: Floats,
    p: Floats,
    chance: float,
    seeds: int,
    items: int,
    seed_deviation: float,
    rng: np.random.Generator,
) -> Curve:
    truth = np.tile(p[:, None], (1, seeds))
    truth = truth + seed_deviation * rng.standard_normal(truth.shape)
    values = rng.binomial(items, np.clip(truth, 0, 1)) / items
    return make_curve(10 ** (6 + t), values, items=items, chance=chance)
