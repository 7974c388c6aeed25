"""The error rates of the verdicts, by simulation: what is claimed is measured here.

Smooth abilities (a line, growing powers, powers to a ceiling, wide sigmoids, exact match p^L of a
smoothly improving p) must not be called emergent more than 5% of the time; breaks of 50 points
within 0.3 decades must be found 90% of the time and their intervals cover the truth about 95% of
the time. Each ability is judged by itself, so that no correction for many helps.

The interval of a difference of two breaks is measured where the rungs can tell: rises of 0.3
decades on a ladder whose rungs double and on one whose rungs lie twice as close, and, with any
widths on the doubling ladder, differences drawn at random. What is left out is a difference that is
truly zero between two steps in one gap: no data can tell where in the gap either of them lies, so
any honest interval covers zero every time (98 to 99% over all widths), which is no error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from emergectl.analysis.breaks import break_difference, locate
from emergectl.analysis.curve_families import gompertz, hinge_rise, logistic_rise
from emergectl.analysis.curves import Curve, Floats, make_curve
from emergectl.analysis.processes import processes
from emergectl.analysis.verdict import ALPHA, gather
from emergectl.store.measurements import MetricFacts

SMOOTH = ("line", "growth", "power", "sigmoid", "exact match")
COMPACT = ("logistic", "ramp")
SHARE = MetricFacts("discontinuous", "up", "share", least=0, most=1)


@dataclass(frozen=True)
class Ladder:
    """What somebody brings: rungs, seeds at each, items of one seed; None: as it is promised for.

    That is 6–12 rungs, 1–8 seeds and 50–1,000 items for smooth abilities, drawn for each; 8 rungs,
    4 seeds and 500 items for breaks.
    """

    rungs: int | None = None
    seeds: int | None = None
    items: int | None = None

    @property
    def is_promised(self) -> bool:
        """Whether breaks are promised to be found on it."""
        return self == Ladder()


PROMISED = Ladder()


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


def smooth_ability(
    kind: str,
    rng: np.random.Generator,
    *,
    seed_deviation: float = 0.0,
    ladder: Ladder = PROMISED,
) -> Curve:
    """A smooth ability over 2–5 decades, with binomial noise.

    `seed_deviation`: what seeds differ by beyond their items, as a standard deviation.
    """
    rungs = ladder.rungs or int(rng.integers(6, 13))
    seeds = ladder.seeds or int(rng.integers(1, 9))
    items = ladder.items or int(rng.choice([50, 100, 200, 500, 1000]))
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


def _ramp_rise(t: Floats, at: Floats, width: Floats) -> Floats:
    return np.clip(0.5 + 0.8 * (t - at) / width, 0.0, 1.0)


def broken_ability(
    kind: str,
    rng: np.random.Generator,
    *,
    span: float | None = None,
    position: float | None = None,
    width: float | None = None,
    ladder: Ladder = PROMISED,
) -> tuple[Curve, float]:
    """A break of 50 points within 0.3 decades, and its log10 position.

    Rungs lie 0.3 (each doubles the last) to 0.6 decades apart; positions lie anywhere between the
    second and the last but one, widths anywhere up to 0.3 decades, where they are not given.
    """
    rungs = ladder.rungs or 8
    span = float(rng.uniform(0.3, 0.6)) * (rungs - 1) if span is None else span
    t = np.linspace(0, span, rungs)
    position = float(rng.uniform(t[1], t[-2])) if position is None else position
    width = float(rng.uniform(0.02, 0.3)) if width is None else width
    chance = float(rng.choice([0.0, 0.25]))
    shape = {"logistic": logistic_rise, "ramp": _ramp_rise, "hinge": hinge_rise}[kind]
    rise = shape(t, np.full(1, position), np.full(1, width))
    seeds, items = ladder.seeds or 4, ladder.items or 500
    return _noisy(t, chance + 0.5 * rise, chance, seeds, items, 0.0, rng), 6 + position


def false_emergent(
    kind: str, trials: int, seed: int, *, seed_deviation: float = 0.0, ladder: Ladder = PROMISED
) -> list[Rate]:
    """How often one kind of smooth ability is called emergent."""
    rng = np.random.default_rng([seed, SMOOTH.index(kind)])
    found = 0
    for trial in range(trials):
        curve = smooth_ability(kind, rng, seed_deviation=seed_deviation, ladder=ladder)
        found += bool(gather(curve, seed=trial).p_breaks <= ALPHA)
    noise = f", seeds differ by {seed_deviation:g}" if seed_deviation else ""
    return [Rate(f"false emergent: {kind}{noise}", found, trials, 0.0, 0.05)]


def found_breaks(kind: str, trials: int, seed: int, *, ladder: Ladder = PROMISED) -> list[Rate]:
    """How often a break is found, and how often its interval covers where it is."""
    rng = np.random.default_rng([seed, 100 + COMPACT.index(kind)])
    found = covered = 0
    for trial in range(trials):
        curve, truth = broken_ability(kind, rng, ladder=ladder)
        evidence = gather(curve, seed=trial)
        found += bool(evidence.p_breaks <= ALPHA)
        at = evidence.break_.position if evidence.break_ else None
        covered += at is not None and at.low <= 10**truth <= at.high
    return [
        Rate(f"breaks found: {kind}", found, trials, 0.9 if ladder.is_promised else 0.0, 1.0),
        Rate(f"position covered: {kind}", covered, trials, 0.92, 0.98),
    ]


def differences(
    name: str,
    trials: int,
    seed: int,
    *,
    gap: float,
    width: float | None = None,
    apart: float = 0.0,
    ladder: Ladder = PROMISED,
) -> list[Rate]:
    """How often the interval of the difference of two breaks covers what it is.

    Two metrics with noise of their own (and widths, where none is given), whose rises have middles
    up to `apart` decades from each other, on rungs `gap` decades apart.
    """
    rng = np.random.default_rng([seed, 200, round(1000 * gap), round(1000 * apart)])
    rungs = ladder.rungs or 8
    low, high = gap, gap * (rungs - 2)
    covered = 0
    for _ in range(trials):
        truth = float(rng.uniform(-apart, apart)) if apart else 0.0
        first = float(rng.uniform(low + max(0, -truth), high - max(0, truth)))
        pair = [
            locate(
                broken_ability(
                    "logistic",
                    rng,
                    span=gap * (rungs - 1),
                    position=at,
                    width=width,
                    ladder=ladder,
                )[0],
                rng,
            )
            for at in (first, first + truth)
        ]
        found = break_difference(*pair)
        covered += found.low <= truth <= found.high
    return [Rate(f"difference covered: {name}", covered, trials, 0.92, 0.98)]


def all_rates(
    trials: int, seed: int = 0, *, ladder: Ladder = PROMISED, workers: int = 1
) -> Iterator[Rate]:
    """Every rate that is promised, as it is measured; the same however many processes there are."""
    jobs: list[Callable[[], list[Rate]]] = [
        *(partial(false_emergent, kind, trials, seed, ladder=ladder) for kind in SMOOTH),
        *(
            partial(false_emergent, kind, trials, seed, seed_deviation=0.02, ladder=ladder)
            for kind in SMOOTH
        ),
        *(partial(found_breaks, kind, trials, seed, ladder=ladder) for kind in COMPACT),
        *(
            partial(
                differences,
                f"none, rungs {gap:g} decades apart",
                trials,
                seed,
                gap=gap,
                width=0.3,
                ladder=ladder,
            )
            for gap in (0.3, 0.15)
        ),
        partial(
            differences, "up to half a decade", trials, seed, gap=0.3, apart=0.5, ladder=ladder
        ),
    ]
    if workers == 1:
        for job in jobs:
            yield from job()
        return
    with processes(workers) as pool:
        for rates in pool.map(_run, jobs):
            yield from rates


def _run(job: Callable[[], list[Rate]]) -> list[Rate]:
    return job()


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
    return make_curve(10 ** (6 + t), values, what=SHARE, items=items, chance=chance)
