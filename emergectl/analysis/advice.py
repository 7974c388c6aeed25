"""What would settle an undetermined verdict: designs whose power is simulated, the cheapest first.

Each design adds measurements to those at hand. They are drawn from the rises that the data still
allow (`breaks.Draws`), with the noise that was seen, and judged as the verdict is; the share of
draws that end in a word is the power that is promised. So what the curve leaves open counts against
a design, and a promise of 80% is kept about so often (`calibration` measures it).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from emergectl.analysis.breaks import Draws
from emergectl.analysis.curves import Curve, Floats, make_curve
from emergectl.analysis.evidence import Evidence, gather
from emergectl.analysis.verdict import Finding, conclude

PROMISED, HOPEFUL = 0.8, 0.5
SCREENED, CONFIRMED = 8, 16
"""simulated outcomes by which a design is chosen, and others by which it is confirmed: the best of
several looks better than it is"""
SCATTER = 0.2
"""decades: of the onsets of new runs, where nothing tells it"""
NEW_SCALES, NEW_SEEDS = 3, 4
MORE_ITEMS = (4, 16)
LEAST_WIDTH = 0.15
"""decades: new scales span at least so much on either side of the middle of the rise"""


@dataclass(frozen=True)
class Design:
    """What to measure: `said` for a person, `power` the share of simulated outcomes that settle.

    `places`: of the runs that are added, [runs] in decades of the convention; `items_times`: by how
    much the items of every run are multiplied.
    """

    said: str
    power: float
    places: Floats = field(default_factory=lambda: np.empty(0))
    items_times: int = 1

    def __str__(self) -> str:
        if self.power >= PROMISED:
            return f"{self.said}: {self.power:.0%} of the outcomes simulated from the fit settle it"
        if self.said:
            return f"no design tried promises to; the best is {self.said}, with {self.power:.0%}"
        return "none of the designs tried (more seeds, items, scales) would do so half of the time"


@dataclass(frozen=True)
class _Extra:
    """Runs that a design adds at places [runs] (decades of the convention), and by how much it
    multiplies the items of every run."""

    said: str
    places: Floats
    items_times: int = 1


def advise(finding: Finding, *, alpha: float, margin: float, seed: int = 0) -> Design | None:
    """The first design that settles `PROMISED` of its simulated outcomes; else the best of all.

    None where more of the same would not settle it: no rise was fitted, chance or compute is not
    known or stated wrong, a shortcut may hide where it begins, or it is the continuous metric that
    is open.
    """
    e = finding.evidence
    if e.break_ is None or e.break_.draws is None or e.convention is None:
        return None
    sharp = e.p_sharp <= alpha
    if sharp and (e.no_ability is None or not e.convention.decides or e.is_off_chance(alpha)):
        return None
    if e.p_begins > alpha or (finding.metric.partner and e.p_breaks <= alpha):
        return None
    best: Design | None = None
    for extra in _designs(e, e.break_.draws):
        if _power(e, extra, SCREENED, alpha=alpha, margin=margin, seed=seed) < HOPEFUL:
            continue
        power = _power(e, extra, CONFIRMED, alpha=alpha, margin=margin, seed=seed + 1)
        if best is None or power > best.power:
            best = Design(extra.said, power, extra.places, extra.items_times)
        if power >= PROMISED:
            break
    return best or Design("", 0.0)


def _designs(e: Evidence, draws: Draws) -> Iterator[_Extra]:
    assert e.convention is not None
    curve, t = e.curve, e.convention.t
    runs = int(np.median(curve.seeds))
    gap = float(np.median(np.diff(t)))
    none = np.empty(0)
    if e.below < 2:
        lower = t[0] - gap * np.arange(1, NEW_SCALES + 1)
        yield _Extra(_scales(e, lower, runs, "smaller"), np.repeat(lower, runs))
    if runs < NEW_SEEDS:
        missing = NEW_SEEDS - runs
        yield _Extra(f"{NEW_SEEDS} seeds at every scale", np.repeat(t, missing))
    low, middle, high = np.quantile(draws.positions, [0.1, 0.5, 0.9])
    low, high = min(low, middle - LEAST_WIDTH), max(high, middle + LEAST_WIDTH)
    inside = np.linspace(low, high, NEW_SCALES)
    seeds = max(NEW_SEEDS, runs)
    yield _Extra(_scales(e, inside, seeds, "new"), np.repeat(inside, seeds))
    if curve.is_binomial:
        for times in MORE_ITEMS:
            yield _Extra(f"{times} times as many items", none, times)
    both = np.concatenate([np.repeat(inside, 2 * seeds), np.repeat(t, seeds)])
    yield _Extra(
        f"{_scales(e, inside, 2 * seeds, 'new')}, and {seeds} more seeds at every other", both
    )
    if curve.is_binomial:
        yield _Extra(
            f"{_scales(e, inside, 2 * seeds, 'new')}, {seeds} more seeds at every other, and "
            f"{MORE_ITEMS[0]} times as many items",
            both,
            MORE_ITEMS[0],
        )
    if e.break_ is not None and e.break_.position.value > curve.x[len(curve.x) // 2]:
        larger = t[-1] + gap * np.arange(1, NEW_SCALES + 1)
        yield _Extra(_scales(e, larger, seeds, "larger"), np.repeat(larger, seeds))


def _scales(e: Evidence, places: Floats, seeds: int, kind: str) -> str:
    assert e.convention is not None
    at = np.sort(e.convention.place(e.curve, places))
    each = f"{seeds} seeds" if seeds > 1 else "one run"
    return f"{each} at each of {len(at)} {kind} scales between {at[0]:.2g} and {at[-1]:.2g}"


def _power(
    e: Evidence, extra: _Extra, draws: int, *, alpha: float, margin: float, seed: int
) -> float:
    """The share of outcomes that settle; left as soon as the design cannot be chosen any more."""
    rng = np.random.default_rng([seed, len(extra.places), extra.items_times])
    settled = 0
    for done in range(1, draws + 1):
        curve = _outcome(e, extra, rng)
        found = conclude([gather(curve, margin=margin, alpha=alpha, seed=done)], alpha=alpha)[0]
        settled += found.verdict != "undetermined"
        if (settled + draws - done) / draws < HOPEFUL:
            break
    return settled / draws


def _outcome(e: Evidence, extra: _Extra, rng: np.random.Generator) -> Curve:
    """The curve at hand with what the design would add, drawn from one rise that is possible."""
    assert e.break_ is not None
    assert e.break_.draws is not None
    assert e.convention is not None
    curve, draws, t = e.judged, e.break_.draws, e.convention.t
    rise = _one_rise(draws, rng)
    phi = e.noise.phi if e.noise else 1.0
    runs = curve.seeds
    places = np.concatenate([np.repeat(t, runs), extra.places])
    items = np.concatenate(curve.seed_items)
    typical = float(np.median(items)) if curve.is_binomial else np.nan
    measured = np.concatenate([curve.to_level(values) for values in curve.seed_values])
    scatter = SCATTER
    if e.sharpness is not None and e.sharpness.scatter is not None and (runs > 1).any():
        scatter = e.sharpness.scatter
    shifted = extra.places - scatter * rng.standard_normal(len(extra.places))
    added = _measure(curve, rise(shifted), typical * extra.items_times, phi, rng)
    if extra.items_times > 1:
        more = _measure(curve, rise(places[: len(items)]), typical, phi, rng)
        share = 1 / extra.items_times
        measured = share * measured + (1 - share) * more
        items = items * extra.items_times
    drawn = curve.to_value(np.concatenate([measured, added]))
    least, most = curve.what.least, curve.what.most
    values = np.clip(drawn, -np.inf if least is None else least, np.inf if most is None else most)
    sizes = np.concatenate([items, np.full(len(added), typical * extra.items_times)])
    # A place that is a rung is that rung, to the last bit: else it would be another.
    nearest = np.abs(extra.places[:, None] - t).argmin(axis=1)
    is_rung = np.isclose(extra.places, t[nearest], rtol=0, atol=1e-9)
    new = np.where(is_rung, curve.x[nearest], e.convention.place(curve, extra.places))
    at = np.concatenate([np.repeat(curve.x, runs), new])
    in_flops = e.convention.unit == "training FLOPs"
    return make_curve(
        at,
        values[:, None],
        what=curve.what,
        items=sizes.tolist() if curve.is_binomial else None,
        chance=curve.chance,
        task=curve.task,
        metric=curve.metric,
        axis=curve.axis,
        group=curve.group,
        flops=(10**places).tolist() if in_flops else None,
    )


def _one_rise(draws: Draws, rng: np.random.Generator) -> Callable[[Floats], Floats]:
    index = int(rng.integers(len(draws.positions)))
    return lambda t: draws.levels(index, t)


def _measure(
    curve: Curve, levels: Floats, items: float, phi: float, rng: np.random.Generator
) -> Floats:
    """Measurements of true levels, with the noise of items or of runs."""
    if curve.is_binomial:
        effective = max(1, round(items / phi))
        return rng.binomial(effective, np.clip(levels, 0, 1)) / effective
    noise = np.sqrt(phi * (np.clip(levels * (1 - levels), 0.02, 1) if curve.is_rate else 1.0))
    drawn = levels + noise * rng.standard_normal(len(levels))
    return np.clip(drawn, 0, 1) if curve.is_rate else drawn
