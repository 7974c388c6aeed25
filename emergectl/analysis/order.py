"""Do runs learn abilities in one order? Rank agreement of the places at which abilities rise.

A run is one seed of one group of models (along steps: of one model). Of every pair of runs
Spearman's rho is taken over the abilities whose rise is placed in both; the agreement of all is the
mean over pairs, as Liu et al. 2026 (arXiv 2604.08510) report it, beside Kendall's W over the
abilities that are placed in every run. An ability of several metrics counts once. What has no
place, because it never rises, or falls again, is left out and said: agreement is of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from emergectl.analysis.breaks import Interval
from emergectl.analysis.curves import Floats
from emergectl.analysis.metric_order import rank
from emergectl.analysis.sharpness import ALPHA
from emergectl.analysis.table import Axis, Table
from emergectl.analysis.table_curves import curves_of
from emergectl.analysis.verdict import Finding, judge

FEWEST = 4
"""abilities that two runs must share: of three, one order in six is any given one"""
DRAWS = 1000
LEAST_KEPT = 0.2
"""of the variance of places: where all but so much is uncertainty, rho is corrected no further"""


@dataclass(frozen=True)
class PairOrder:
    """How two runs agree: over how many abilities, Spearman's rho, p of no agreement (one-sided,
    by permutation)."""

    first: str
    second: str
    abilities: int
    rho: Interval
    p: float


@dataclass(frozen=True)
class Place:
    """Where an ability rises in a run, on the axis."""

    run: str
    ability: str
    metric: str
    position: Interval


@dataclass(frozen=True)
class NoPlace:
    """An ability that is left out of a run, and why."""

    run: str
    ability: str
    reason: str


@dataclass(frozen=True)
class OrderFinding:
    """The agreement of runs. `rho`: the mean over `pairs`, with p of no agreement at all. `w`:
    Kendall's over the `complete` abilities that every run places; None where they are too few."""

    axis: str
    runs: tuple[str, ...]
    rho: Interval
    p: float
    w: float | None
    complete: int
    pairs: tuple[PairOrder, ...]
    places: tuple[Place, ...]
    left_out: tuple[NoPlace, ...]


def judge_order(
    table: Table,
    axis: Axis,
    *,
    alpha: float = ALPHA,
    seed: int = 0,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> OrderFinding:
    """Rank agreement over the runs of a table. Raises ValueError where no two runs share `FEWEST`
    abilities, or there is one run."""
    found = judge(
        curves_of(_by_run(table), axis), alpha=alpha, seed=seed, workers=workers, progress=progress
    )
    findings = _once(found, alpha)
    runs = list(dict.fromkeys(f.curve.group for f in findings))
    if len(runs) < 2:
        raise ValueError(
            f"there is one run over {axis}: tell several apart by --seed, --group or --model"
        )
    placed = [f for f in findings if not (why_no_place(f, alpha))]
    tasks = sorted({f.curve.task for f in placed})
    draws = np.full((len(runs), DRAWS, len(tasks)), np.nan)
    rng = np.random.default_rng(seed)
    for f in placed:
        assert f.break_ is not None
        run, task = runs.index(f.curve.group), tasks.index(f.curve.task)
        draws[run, :, task] = rng.choice(f.break_.log_positions, DRAWS)
    return OrderFinding(
        axis=axis,
        runs=tuple(runs),
        **vars(agreement(draws, runs, rng)),
        places=tuple(_place(f) for f in placed),
        left_out=tuple(
            NoPlace(f.curve.group, f.curve.task, why)
            for f in findings
            if (why := why_no_place(f, alpha))
        ),
    )


def _by_run(table: Table) -> Table:
    """The table with every seed in a group of its own, where there are several."""
    if len({row.seed for row in table.rows}) < 2:
        return table

    def apart(group: str, seed: str) -> str:
        return "/".join(part for part in (group, f"seed {seed}" if seed else "") if part)

    rows = [replace(row, group=apart(row.group, row.seed), seed="") for row in table.rows]
    return replace(table, rows=rows)


def _once(findings: Sequence[Finding], alpha: float) -> list[Finding]:
    """One metric of each task, the same in all runs: that which is placed in most of them, then a
    discontinuous one, then the most telling."""
    by_task: dict[str, dict[str, list[Finding]]] = {}
    for f in findings:
        by_task.setdefault(f.curve.task, {}).setdefault(f.curve.metric, []).append(f)

    def order(metric: str, of: list[Finding]) -> tuple[object, ...]:
        placed = sum(not why_no_place(f, alpha) for f in of)
        what = of[0].curve.what
        return (-placed, what.kind != "discontinuous", *rank(metric, what))

    return [
        f
        for metrics in by_task.values()
        for f in metrics[min(metrics, key=lambda name: order(name, metrics[name]))]
    ]


def why_no_place(finding: Finding, alpha: float) -> str:
    """Why an ability has no place in the order; "" where it has one."""
    e = finding.evidence
    if e.break_ is None or not e.p_rise <= alpha:
        return e.reason or "no rise is shown"
    if finding.verdict in ("flat", "non-monotone"):
        return "it rises and falls" if finding.verdict == "non-monotone" else "flat"
    return ""


def _place(finding: Finding) -> Place:
    assert finding.break_ is not None
    curve = finding.curve
    return Place(curve.group, curve.task, curve.metric, finding.break_.position)


@dataclass(frozen=True)
class Agreement:
    """What `OrderFinding` says of a set of positions."""

    rho: Interval
    p: float
    w: float | None
    complete: int
    pairs: tuple[PairOrder, ...]


Pair = tuple[int, int, NDArray[np.intp]]
"""two runs, and the abilities that both place"""


def agreement(draws: Floats, runs: Sequence[str], rng: np.random.Generator) -> Agreement:
    """Agreement of positions: draws [runs, draws, abilities], equally likely places of each ability
    in each run, NaN where it has none.

    Raises ValueError where no two runs share `FEWEST` abilities.
    """
    at = np.median(draws, axis=1)
    known = ~np.isnan(at)
    pairs = [
        (i, j, np.flatnonzero(known[i] & known[j])) for i, j in combinations(range(len(runs)), 2)
    ]
    pairs = [pair for pair in pairs if len(pair[2]) >= FEWEST]
    if not pairs:
        raise ValueError(f"no two runs share {FEWEST} abilities that have a place")
    shuffled = draws.copy()
    for run, has in zip(shuffled, known, strict=True):
        order = np.broadcast_to(np.arange(float(has.sum())), (DRAWS, int(has.sum())))
        run[:, has] = rng.permuted(order, axis=1)
    null = _rhos(shuffled, pairs)
    rhos = _rhos(draws, pairs)
    each = [_interval(at, draws, rhos[k : k + 1], [pair]) for k, pair in enumerate(pairs)]
    every = _interval(at, draws, rhos, pairs)
    complete = np.flatnonzero(known.all(axis=0))
    return Agreement(
        rho=every,
        p=_p(every.value, null.mean(axis=0)),
        w=kendalls_w(at[:, complete]) if len(complete) >= FEWEST else None,
        complete=len(complete),
        pairs=tuple(
            PairOrder(runs[i], runs[j], len(both), rho, _p(rho.value, null[k]))
            for k, ((i, j, both), rho) in enumerate(zip(pairs, each, strict=True))
        ),
    )


def _p(value: float, null: Floats) -> float:
    return float((1 + (null >= value - 1e-9).sum()) / (len(null) + 1))


def _rhos(values: Floats, pairs: Sequence[Pair]) -> Floats:
    """Spearman's rho of every pair: values [runs, …, abilities] → [pairs, …]."""
    return np.array([spearman(values[i][..., both], values[j][..., both]) for i, j, both in pairs])


def spearman(first: Floats, second: Floats) -> Floats:
    """Spearman's rho along the last axis; 0 where all are equal."""
    a, b = (stats.rankdata(v, axis=-1) - (v.shape[-1] + 1) / 2 for v in (first, second))
    spread = np.sqrt((a**2).sum(-1) * (b**2).sum(-1))
    rho: Floats = (a * b).sum(-1) / np.where(spread > 0, spread, 1.0)
    return rho


def _interval(at: Floats, draws: Floats, drawn: Floats, pairs: Sequence[Pair]) -> Interval:
    """The mean rho of pairs with its interval, on Fisher's z.

    Its variance is that of the jackknife over abilities (t with one less than there are) and that
    of rho when places are drawn again (`drawn` [pairs, draws]). Not knowing the places exactly
    lowers rho, so the upper end begins from what it would be without (Spearman 1904).
    """
    abilities = np.unique(np.concatenate([both for *_, both in pairs]))
    count = len(abilities)
    most = 1 - 6 / (count**3 - count)  # half way from the largest rho but one to 1

    def z(rho: Floats | float) -> Floats:
        return np.arctanh(np.clip(rho, -most, most))

    rhos = _rhos(at, pairs)
    without = [_rhos(at, [(i, j, b[b != one]) for i, j, b in pairs]).mean() for one in abilities]
    left_out = z(np.array(without))
    rho = float(rhos.mean())
    jackknife = (count - 1) ** 2 / count * left_out.var(ddof=1)
    least = (1 + rho**2 / 2) / (count - 3) / len(pairs)  # Bonett and Wright 2000
    variance = max(jackknife, least) + z(drawn.mean(axis=0)).var()
    half = stats.norm.ppf(0.975) * np.sqrt(variance)
    best = float(
        np.mean([_unattenuated(r, draws, pair) for r, pair in zip(rhos, pairs, strict=True)])
    )
    low, high = np.tanh([z(rho) - half, max(z(rho), z(best)) + half])
    return Interval(rho, float(low), 1.0 if rho > most else float(high))


def _unattenuated(rho: float, draws: Floats, pair: Pair) -> float:
    """Rho as it would be if places were known exactly, were they normal."""
    i, j, both = pair
    kept = 1.0
    for run in (draws[i][:, both], draws[j][:, both]):
        seen = np.median(run, axis=0).var(ddof=1)
        kept *= max(1 - run.var(axis=0).mean() / seen, LEAST_KEPT) if seen else 1.0
    pearson = np.clip(2 * np.sin(np.pi * rho / 6) / np.sqrt(kept), -1, 1)
    return float(6 / np.pi * np.arcsin(pearson / 2))


def kendalls_w(places: Floats) -> float:
    """Kendall's coefficient of concordance of runs [runs, abilities]: 1 is one and the same order.

    Kendall and Babington Smith 1939; with no ties the mean rho of all pairs is (R W − 1)/(R − 1).
    """
    ranks = stats.rankdata(places, axis=1)
    runs, count = ranks.shape
    return float(12 * ranks.sum(axis=0).var() / (runs**2 * (count**2 - 1)))
