"""Simulated abilities, with everything that is known of them: what error rates are measured on.

Nothing of the analysis is imported here, so that a fault of a formula there cannot hide in a truth
that was made with the same formula. What is drawn is said by a `Condition`, which is data: a field
with several values is drawn from them evenly, one with a range uniformly. What a ladder shows of a
rise may be less than its formula has: the truth is always what the ladder shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from emergectl.analysis.simulated_shapes import SHAPES, Floats, logistic

Range = tuple[float, float]
Partner = Literal["none", "same rise", "tokens"]
WidthOf = Literal["formula", "10-90", "core"]
Spread = Literal["beta", "logit-normal", "power", "triangle", "two humps"]

FINE = 4001
"""points at which the truth is integrated"""
SMALLEST = 6.0
"""log10 of the smallest scale"""
FLOOR, TOP = 0.05, 0.99
"""probability of one right token, far below and far above a mirage"""
PARTNER_LOW, PARTNER_RISE = -2.0, 1.5
"""nats: where a continuous partner of the same rise begins, and by how much it rises"""


@dataclass(frozen=True)
class Condition:
    """What is drawn for one ability; lengths in decades, heights in probability.

    `width`: as the formula has it, or such that the ladder shows this 10–90 width or core (`Truth`;
    for rises that level off). `position`: of the middle, as a share of the ladder. `height` is cut
    where it would exceed 1. `irregular`: rungs are moved by up to this share of half a gap.
    `skill`: standard deviation between runs, in probability; `onset`: that of where each run rises.
    `cluster` items share one draw, so that the variance is `design_effect` times that of
    independent items. `stated`: how many items are claimed for each that there is; 0: nobody says
    how many. `partner`: whether a continuous metric of the same outputs is measured, which rises as
    the ability does or is the log-probability of one of `tokens` right tokens; `partner_noise`: its
    standard deviation between runs, in nats.
    """

    shape: tuple[str, ...]
    width: Range = (1.0, 1.0)
    width_of: WidthOf = "formula"
    position: Range = (0.3, 0.7)
    height: Range = (0.5, 0.5)
    chance: tuple[float, ...] = (0.25,)
    rungs: tuple[int, ...] = (8,)
    decades: Range = (4.0, 4.0)
    irregular: float = 0.0
    runs: tuple[int, ...] = (4,)
    items: tuple[int, ...] = (500,)
    skill: float = 0.0
    onset: float = 0.0
    cluster: int = 1
    design_effect: float = 1.0
    stated: float = 1.0
    partner: Partner = "none"
    partner_noise: float = 0.02
    tokens: int = 20


@dataclass(frozen=True)
class Truth:
    """A rise as the ladder shows it, without noise; NaN where nothing rises.

    `position`: log10 of the scale at half of it. `width`: from 10 to 90 percent of it. `core`: the
    shortest stretch that holds 80 percent of it. Widths in decades.
    """

    position: float
    width: float
    core: float


@dataclass(frozen=True)
class Simulated:
    """One ability: `scales` [rungs], right answers `correct` [rungs, runs] of `items` each.

    `stated`: the number of items that is claimed, None where none is. `continuous`: the partner's
    values, or None. `right`: the probability of a right answer without noise, at log10 of a scale;
    `probability`: that of each run at its rung, [rungs, runs].
    """

    scales: Floats
    correct: NDArray[np.int64]
    items: int
    stated: int | None
    chance: float
    truth: Truth
    continuous: Floats | None = None
    continuous_truth: Truth | None = None
    right: Callable[[Floats], Floats] | None = None
    probability: Floats | None = None

    @property
    def shares(self) -> Floats:
        """Right answers as shares: [rungs, runs]."""
        return self.correct / self.items


def simulate(
    condition: Condition,
    rng: np.random.Generator,
    *,
    shared: Floats | None = None,
    correlation: float = 0.0,
) -> Simulated:
    """Draw one ability.

    shared: standard normals [2, rungs, runs] (skill, onset) that abilities of the same runs share;
    `correlation` is how much of each run's scatter is theirs.
    """
    c = condition
    rungs, runs, items = (int(rng.choice(kind)) for kind in (c.rungs, c.runs, c.items))
    chance, length = float(rng.choice(c.chance)), float(rng.uniform(*c.decades))
    shape = SHAPES[str(rng.choice(c.shape))]
    at, width = length * float(rng.uniform(*c.position)), float(rng.uniform(*c.width))
    height = min(float(rng.uniform(*c.height)), 1 - chance)
    t = np.linspace(0, length, rungs)
    t[1:-1] += c.irregular * length / (rungs - 1) / 2 * rng.uniform(-1, 1, rungs - 2)
    skill, onset = rng.standard_normal((2, rungs, runs))
    if shared is not None:
        skill, onset = math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * np.stack(
            [skill, onset]
        )
    own = t[:, None] - c.onset * onset
    fine = np.linspace(0, length, FINE)
    if c.width_of != "formula":
        width = _shown_as(width, c.width_of, lambda w: shape(fine, length, at, w), fine)

    def risen(where: Floats) -> Floats:
        return shape(where.ravel(), length, at, width).reshape(where.shape)

    def right(where: Floats) -> Floats:
        if c.partner == "tokens":
            return _token(risen(where)) ** c.tokens
        return chance + height * risen(where)

    noise = c.partner_noise * rng.standard_normal((rungs, runs))
    continuous = continuous_truth = None
    if c.partner != "none":
        told = np.log(_token(risen(own))) if c.partner == "tokens" else _as_nats(risen(own))
        continuous = np.minimum(told + noise, 0.0)
        ideal = np.log(_token(risen(fine))) if c.partner == "tokens" else risen(fine)
        continuous_truth = _truth(fine, ideal)
    probability = np.clip(right(own) + c.skill * skill, 0, 1)
    return Simulated(
        scales=10 ** (SMALLEST + t),
        correct=_answered(c, probability, items, rng),
        items=items,
        stated=round(items * c.stated) or None,
        chance=chance,
        truth=_truth(fine, right(fine)),
        continuous=continuous,
        continuous_truth=continuous_truth,
        right=lambda log_scale: right(log_scale - SMALLEST),
        probability=probability,
    )


def simulate_more(
    drawn: Simulated, condition: Condition, log_scales: Floats, items: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Right answers of new runs of an ability: of `items`, at log10 of scales [runs]."""
    assert drawn.right is not None
    skill, onset = rng.standard_normal((2, len(log_scales)))
    expected = drawn.right(log_scales - condition.onset * onset) + condition.skill * skill
    return _answered(condition, expected, items, rng)


def simulate_together(
    conditions: Sequence[Condition], rng: np.random.Generator, *, correlation: float
) -> list[Simulated]:
    """Abilities of the same runs, whose skill and onset they share in part.

    The conditions must have one number of rungs and one of runs, all the same.
    """
    ((rungs,),), ((runs,),) = {c.rungs for c in conditions}, {c.runs for c in conditions}
    shared = rng.standard_normal((2, rungs, runs))
    return [simulate(c, rng, shared=shared, correlation=correlation) for c in conditions]


def simulate_losses(
    rng: np.random.Generator, *, rungs: int, runs: int, decades: float, noise: float
) -> tuple[Floats, Floats]:
    """Losses that fall as a power law to a floor: (scales [rungs], nats [rungs, runs])."""
    t = np.linspace(0, decades, rungs)
    floor, above, power = rng.uniform([1.5, 1.0, 0.1], [2.5, 4.0, 0.5])
    losses = floor + above * 10 ** (-power * t)
    return 10 ** (SMALLEST + t), losses[:, None] + noise * rng.standard_normal((rungs, runs))


def simulate_seeds(
    spread: Spread,
    rng: np.random.Generator,
    *,
    rungs: int = 8,
    runs: int = 32,
    items: int = 200,
    apart: float = 0.3,
) -> Simulated:
    """One ability whose runs differ, with one hump at every scale, or with two at one of them.

    One hump: the mean follows a rise two decades wide, and runs lie around it as `spread` says,
    skewed and bounded by 0 and 1. Two humps: the runs of one scale lie about two levels `apart` (a
    share of .3 to .7 in the higher), those of smaller scales about the lower, those of larger ones
    about the higher.
    """
    t = np.linspace(0, 4, rungs)
    mean = np.clip(logistic((t - rng.uniform(1.2, 2.8)) * math.log(9)), 0.01, 0.99)[:, None]
    shape = (rungs, runs)
    if spread == "beta":
        precision = rng.uniform(3, 20)
        p = rng.beta(mean * precision, (1 - mean) * precision, shape)
    elif spread == "logit-normal":
        logits = np.log(mean / (1 - mean)) + rng.uniform(0.3, 1.3) * rng.standard_normal(shape)
        p = logistic(logits)
    elif spread == "power":
        p = rng.uniform(size=shape) ** ((1 - mean) / mean)  # its mean is `mean`
    elif spread == "triangle":
        p = rng.triangular(0.0, np.broadcast_to(mean, shape), 1.0)
    else:
        low, share = rng.uniform(0.02, 0.9 - apart), rng.uniform(0.3, 0.7)
        high = np.zeros(shape, bool)
        at = rungs // 2
        high[at] = rng.uniform(size=runs) < share
        high[at + 1 :] = True
        p = np.clip(low + apart * high + 0.02 * rng.standard_normal(shape), 0, 1)
    nowhere = Truth(math.nan, math.nan, math.nan)
    return Simulated(10 ** (SMALLEST + t), rng.binomial(items, p), items, items, 0.0, nowhere)


def _answered(
    condition: Condition, p: Floats, items: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    c = condition
    return answers(np.clip(p, 0, 1), items, rng, cluster=c.cluster, effect=c.design_effect)


def answers(
    p: Floats, items: int, rng: np.random.Generator, *, cluster: int = 1, effect: float = 1.0
) -> NDArray[np.int64]:
    """Right answers of `items`, in clusters of some that share a beta-distributed probability.

    Items of one cluster correlate by (effect − 1) / (cluster − 1), so the count has `effect` times
    the variance p(1−p)·items of independent ones; items that fill no cluster are independent.
    """
    if cluster == 1 or effect == 1:
        return rng.binomial(items, p)
    alike = (effect - 1) / (cluster - 1)
    groups, rest = divmod(items, cluster)
    shape = (*p.shape, groups)
    inner = np.clip(p, 1e-9, 1 - 1e-9)[..., None]
    if alike >= 1:
        own = (rng.uniform(size=shape) < inner).astype(float)
    else:
        times = (1 - alike) / alike
        own = rng.beta(inner * times, (1 - inner) * times, shape)
    return rng.binomial(cluster, own).sum(axis=-1) + rng.binomial(rest, p)


def _truth(t: Floats, values: Floats) -> Truth:
    """Middle, 10–90 width and core of what rises among values [points] at t [points]."""
    steps = np.maximum(np.diff(values), 0)
    risen = np.concatenate([[0.0], np.cumsum(steps)])
    if risen[-1] <= 0:
        return Truth(math.nan, math.nan, math.nan)
    risen /= risen[-1]
    low, middle, high = (_quantile(t, risen, q) for q in (0.1, 0.5, 0.9))
    ends = np.searchsorted(risen, np.minimum(risen + 0.8, 1.0) - 1e-12)
    inside = risen <= 0.2 + 1e-12
    core = float((t[np.minimum(ends, len(t) - 1)] - t)[inside].min())
    return Truth(SMALLEST + middle, high - low, core)


def _quantile(t: Floats, risen: Floats, q: float) -> float:
    """Where a share q of the rise is reached; the middle of a stretch where it stands still."""
    found = []
    sides: tuple[Literal["left", "right"], ...] = ("left", "right")
    for side in sides:
        k = int(np.clip(np.searchsorted(risen, q, side), 1, len(t) - 1))
        part = (q - risen[k - 1]) / max(risen[k] - risen[k - 1], 1e-300)
        found.append(float(t[k - 1] + min(part, 1.0) * (t[k] - t[k - 1])))
    return sum(found) / 2


def _shown_as(
    wanted: float, of: WidthOf, shape_at: Callable[[float], Floats], fine: Floats
) -> float:
    """The width of a formula of which the ladder shows as much as is wanted.

    Raises ValueError where the ladder is too short to show it.
    """
    width = wanted
    for _ in range(30):
        truth = _truth(fine, shape_at(width))
        shown = truth.core if of == "core" else truth.width
        if abs(shown / wanted - 1) < 2e-3:
            return width
        width *= wanted / shown
    raise ValueError(f"a ladder of {fine[-1]:g} decades shows no such rise {wanted:g} wide")


def _token(risen: Floats) -> Floats:
    """Probability of one right token where a share of the rise is reached."""
    return FLOOR + (TOP - FLOOR) * risen


def _as_nats(risen: Floats) -> Floats:
    return PARTNER_LOW + PARTNER_RISE * risen
