"""The error rates of the verdicts, by simulation: what is claimed is measured here.

Each claim (`conditions`) is a simulated condition and what must be said of it how often. Abilities
are drawn by `simulated`, which shares no formula with what judges them. Each is judged by itself,
so that no correction for many helps; false discoveries among many are a claim of their own. A trial
has random numbers of its own, by its claim's name and its number: rates are the same in one process
and in many, alone and among others.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy import stats

from emergectl.analysis.advice import PROMISED, Design, advise
from emergectl.analysis.breaks import break_difference
from emergectl.analysis.conditions import CLAIMS, COVERS_RUNGS, NOTHING, Claim, Promise
from emergectl.analysis.curves import Curve, make_curve
from emergectl.analysis.evidence import RATE_MARGIN
from emergectl.analysis.forecast import FEWEST_BELOW, backtest
from emergectl.analysis.processes import processes
from emergectl.analysis.seeds import judge_seeds
from emergectl.analysis.sharpness import ALPHA
from emergectl.analysis.simulated import (
    Condition,
    Simulated,
    answers,
    simulate,
    simulate_losses,
    simulate_more,
    simulate_seeds,
    simulate_together,
)
from emergectl.analysis.verdict import Finding, judge
from emergectl.store.measurements import MetricFacts

SHARE = MetricFacts("discontinuous", "up", "share", least=0, most=1)
LOGPROB = MetricFacts("continuous", "up", "ratio", most=0, likelihood="token")
LOSS = MetricFacts("continuous", "down", "loss", least=0, likelihood="token")
ENOUGH = 400
"""trials from which on a rate outside its promise breaks it, however wide its interval"""
LOSS_NOISE = 0.01
SMOOTH, EMERGENT = 900, 100
"""abilities that are judged together where false discoveries are counted"""
CHUNK = 10

Counts = dict[str, tuple[int, int]]
"""by the name of each rate: (how often it was so, of how many)"""


@dataclass(frozen=True)
class Ladder:
    """What somebody brings: rungs, runs at each, items of one run; None: as the claim has it."""

    rungs: int | None = None
    runs: int | None = None
    items: int | None = None

    @property
    def is_promised(self) -> bool:
        """Whether breaks are promised to be found on it."""
        return self == Ladder()

    def over(self, claim: Claim) -> Claim:
        """The claim on this ladder; what is found on it is measured, not promised."""
        own = {name: (n,) for name, n in vars(self).items() if n is not None}
        if not own:
            return claim
        promises = {
            name: NOTHING
            if promise.low and promise.high == 1 and promise != COVERS_RUNGS
            else promise
            for name, promise in claim.promises.items()
        }
        condition = replace(claim.condition, **own)  # type: ignore[arg-type]
        return replace(claim, condition=condition, promises=promises)


AS_CLAIMED = Ladder()


@dataclass(frozen=True)
class Rate:
    """A measured rate beside what is promised: it was so in `count` of `trials`."""

    name: str
    count: int
    trials: int
    promise: Promise

    @property
    def rate(self) -> float | None:
        """Share of trials; None without any."""
        return self.count / self.trials if self.trials else None

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of the rate (Wilson)."""
        if not self.trials:
            return 0.0, 1.0
        found = stats.binomtest(self.count, self.trials).proportion_ci(0.95, "wilson")
        return float(found.low), float(found.high)

    @property
    def state(self) -> str:
        """`holds`, `broken`, `open` (too few trials to tell), or "" where nothing is promised.

        A rate outside its promise breaks it where its interval lies outside too, or there are
        `ENOUGH` trials; one inside holds where its interval ends below the bound of the promise.
        """
        promise, (low, high) = self.promise, self.interval
        if promise.is_none:
            return ""
        if self.rate is None:
            return "open"
        if promise.low <= self.rate <= promise.high:
            return "holds" if high <= promise.bound else "open"
        outside = high < promise.low or low > promise.high
        return "broken" if outside or self.trials >= ENOUGH else "open"


@dataclass(frozen=True)
class Progress:
    """The rates of one claim, and the share of all trials that is done with it."""

    rates: tuple[Rate, ...]
    done: float


def measure(
    claims: Sequence[Claim] = CLAIMS,
    *,
    trials: int = ENOUGH,
    seed: int = 0,
    ladder: Ladder = AS_CLAIMED,
    jobs: int = 1,
) -> Iterator[Progress]:
    """The rates of every claim, as they are measured, claim by claim."""
    claims = [ladder.over(claim) for claim in claims]
    counts = [max(1, round(trials * claim.share)) for claim in claims]
    parts = [
        (claim, range(first, min(first + CHUNK, count)))
        for claim, count in zip(claims, counts, strict=True)
        for first in range(0, count, CHUNK)
    ]
    work = partial(_measure_part, seed=seed)
    if jobs == 1:
        yield from _collected(claims, counts, map(work, parts))
        return
    with processes(jobs) as pool:
        try:
            yield from _collected(claims, counts, pool.map(work, parts))
        finally:  # Who stops listening waits for nothing that has not begun.
            pool.shutdown(cancel_futures=True)


def _collected(
    claims: Sequence[Claim], counts: Sequence[int], parts: Iterable[Counts]
) -> Iterator[Progress]:
    results, done = iter(parts), 0
    for claim, count in zip(claims, counts, strict=True):
        total = dict.fromkeys(claim.promises, (0, 0))
        for _ in range(0, count, CHUNK):
            total = _add(total, next(results))
        done += count
        yield Progress(
            tuple(
                Rate(f"{claim.name}: {name}" if name else claim.name, *total[name], promise)
                for name, promise in claim.promises.items()
            ),
            done / sum(counts),
        )


def _measure_part(part: tuple[Claim, range], *, seed: int) -> Counts:
    claim, numbers = part
    total = dict.fromkeys(claim.promises, (0, 0))
    for number in numbers:
        rng = np.random.default_rng([seed, zlib.crc32(claim.name.encode()), number])
        total = _add(total, _MEASURES[claim.measure](claim, rng))
    return total


def _add(first: Counts, second: Counts) -> Counts:
    return {
        name: (count + second.get(name, (0, 0))[0], trials + second.get(name, (0, 0))[1])
        for name, (count, trials) in first.items()
    }


def as_curves(drawn: Simulated, *, task: str = "ability") -> list[Curve]:
    """A simulated ability as the analysis is given it, its continuous partner after it."""
    exact = make_curve(
        drawn.scales,
        drawn.correct / drawn.items,
        what=SHARE,
        items=drawn.stated,
        chance=drawn.chance,
        task=task,
        axis="flops",
    )
    if drawn.continuous is None:
        return [exact]
    partner = make_curve(
        drawn.scales,
        drawn.continuous,
        what=LOGPROB,
        task=task,
        metric="logprob_per_token",
        axis="flops",
    )
    return [exact, partner]


def _judged(condition: Condition, rng: np.random.Generator) -> tuple[Simulated, Finding]:
    drawn = simulate(condition, rng)
    return drawn, judge(as_curves(drawn), seed=_seed(rng))[0]


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def _once(happened: bool) -> tuple[int, int]:
    return int(happened), 1


def _emergent(claim: Claim, rng: np.random.Generator) -> Counts:
    return {"": _once(_judged(claim.condition, rng)[1].verdict == "emergent")}


def _flat(claim: Claim, rng: np.random.Generator) -> Counts:
    return {"": _once(_judged(claim.condition, rng)[1].verdict == "flat")}


def _metric(claim: Claim, rng: np.random.Generator) -> Counts:
    word = str(_judged(claim.condition, rng)[1].verdict)
    return {name: _once(word == name) for name in ("metric-made", "emergent")}


def _power(claim: Claim, rng: np.random.Generator) -> Counts:
    """Whether a sharp rise is found, and whether the interval of its position holds the truth."""
    drawn, finding = _judged(claim.condition, rng)
    counts = {"found": _once(finding.verdict == "emergent")}
    if finding.break_ is not None:
        at = finding.break_.position
        covered = at.low <= 10**drawn.truth.position <= at.high
        counts["position covered"] = _once(covered)
        counts["position of no width"] = _once(at.low >= at.high)
    return counts


def _pair(claim: Claim, rng: np.random.Generator) -> Counts:
    """Whether the interval of the difference of two breaks holds it."""
    c = claim.condition
    at, apart = float(rng.uniform(*c.position)), float(rng.uniform(-claim.apart, claim.apart))
    shift = apart / c.decades[0]
    drawn = [
        simulate(replace(c, position=(place, place)), rng)
        for place in (at - shift / 2, at + shift / 2)
    ]
    first, second = (judge(as_curves(each), seed=_seed(rng))[0].break_ for each in drawn)
    if first is None or second is None:
        return {}
    found = break_difference(first, second)
    truth = drawn[1].truth.position - drawn[0].truth.position
    return {"covered": _once(found.low <= truth <= found.high)}


def _humps(claim: Claim, rng: np.random.Generator) -> Counts:
    """Whether the seeds of an ability are said to fall in two groups, at any scale."""
    c = claim.condition
    drawn = simulate_seeds(claim.spread, rng, rungs=c.rungs[0], runs=c.runs[0], items=c.items[0])
    if not c.stated:
        drawn = replace(drawn, stated=None)
    found = judge_seeds(as_curves(drawn)[0], rng)
    said = found is not None and bool(found.in_two_groups)
    return {name: _once(said) for name in claim.promises}


def _forecast(claim: Claim, rng: np.random.Generator) -> Counts:
    (curve,) = as_curves(simulate(claim.condition, rng))
    return _foretold(curve, rng)


def _loss_forecast(claim: Claim, rng: np.random.Generator) -> Counts:
    c = claim.condition
    scales, losses = simulate_losses(
        rng,
        rungs=int(rng.choice(c.rungs)),
        runs=c.runs[0],
        decades=c.decades[0],
        noise=LOSS_NOISE,
    )
    curve = make_curve(scales, losses, what=LOSS, metric="loss", axis="flops")
    return _foretold(curve, rng)


def _foretold(curve: Curve, rng: np.random.Generator) -> Counts:
    """One scale above one cutoff, both at random, so that trials are independent."""
    if len(curve.x) <= FEWEST_BELOW or not np.ptp(curve.level):
        return {}
    forecasts = backtest(curve, rng)[0].forecasts
    if not forecasts:
        return {}
    forecast = forecasts[int(rng.integers(len(forecasts)))]
    index = int(rng.integers(len(forecast.scales)))
    at, told = forecast.scales[index], forecast.predicted[index]
    value = float(curve.values[np.argmin(np.abs(curve.x - at))])
    least, most = curve.what.least, curve.what.most
    outside = (least is not None and told.low < least) or (most is not None and told.high > most)
    return {
        "covered": _once(told.low <= value <= told.high),
        "outside the range": _once(outside),
    }


def _advice(claim: Claim, rng: np.random.Generator) -> Counts:
    """Whether what is advised settles an open verdict, once it is done, where that was promised."""
    drawn, finding = _judged(claim.condition, rng)
    if finding.verdict != "undetermined":
        return {}
    design = advise(finding, alpha=ALPHA, margin=RATE_MARGIN, seed=_seed(rng))
    if design is None or design.power < PROMISED:
        return {"settled is promised": (0, 1)}
    curve = _after(drawn, claim.condition, design, rng)
    (again,) = judge([curve], seed=_seed(rng))
    settled = again.verdict != "undetermined"
    return {"followed, settles": _once(settled), "settled is promised": (1, 1)}


def _after(
    drawn: Simulated, condition: Condition, design: Design, rng: np.random.Generator
) -> Curve:
    """What is measured of the same ability when a design is done as well."""
    items = drawn.items * design.items_times
    correct = drawn.correct
    if design.items_times > 1:
        assert drawn.probability is not None
        more = answers(drawn.probability, items - drawn.items, rng)
        correct = correct + more
    added = simulate_more(drawn, condition, design.places, items, rng)
    runs = correct.shape[1]
    return make_curve(
        np.concatenate([np.repeat(drawn.scales, runs), 10**design.places]),
        np.concatenate([correct.ravel(), added])[:, None] / items,
        what=SHARE,
        items=items,
        chance=drawn.chance,
        task="ability",
        axis="flops",
    )


def _discoveries(claim: Claim, rng: np.random.Generator) -> Counts:
    """Many abilities of the same runs, judged together: false ones among those called emergent."""
    smooth = replace(claim.condition, partner="same rise")
    sharp = replace(smooth, shape=("logistic",), width=(0.05, 0.3), height=(0.5, 0.5))
    wanted = [smooth] * SMOOTH + [sharp] * EMERGENT
    curves: list[Curve] = []
    drawn = simulate_together(wanted, rng, correlation=claim.correlation)
    for number, ability in enumerate(drawn):
        curves += as_curves(ability, task=f"ability {number}")
    judged = [f for f in judge(curves, seed=_seed(rng)) if f.curve.what.kind == "discontinuous"]
    called = np.array([finding.verdict == "emergent" for finding in judged])
    false, right = int(called[:SMOOTH].sum()), int(called[SMOOTH:].sum())
    return {"": (false, false + right), "found": (right, EMERGENT)}


_MEASURES = {
    "emergent": _emergent,
    "metric": _metric,
    "power": _power,
    "flat": _flat,
    "pair": _pair,
    "humps": _humps,
    "forecast": _forecast,
    "loss forecast": _loss_forecast,
    "discoveries": _discoveries,
    "advice": _advice,
}
