"""Scaling laws: L = E + A/N^α + B/D^β, what compute should be spent on, and isoFLOP parabolas.

Fitted as Hoffmann et al. 2022 and, after them, Besiroglu et al. 2024 did: Huber loss (δ = 1e-3) on
log loss, summed, minimised by L-BFGS from many starts; intervals by bootstrap over the runs. A mean
in place of the sum ends the optimiser too early: that is how the published values came out wrong.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from emergectl.analysis.breaks import Interval
from emergectl.analysis.curves import Floats
from emergectl.analysis.table import TableRow

HUBER_DELTA = 1e-3
FEWEST_DIFFERENT = 3
TIED = 0.999
"""correlation of log size and log length from which on a law cannot tell them apart"""
FORMULA = "loss = E + A / params^alpha + B / tokens^beta"
LAW_PARAMETERS = ("A", "B", "E", "alpha", "beta")
STARTS = tuple(
    itertools.product((0.0, 10.0, 20.0), (0.0, 10.0, 20.0), (-0.5, 0.5), (0.2, 0.8), (0.2, 0.8))
)
"""log A, log B, log E, α, β"""


@dataclass(frozen=True)
class ScalingLaw:
    """L = E + A / params^alpha + B / tokens^beta, in nats; `objective` is the summed Huber loss."""

    A: float
    B: float
    E: float
    alpha: float
    beta: float
    objective: float
    runs: int

    def loss(self, params: Floats | float, tokens: Floats | float) -> Floats:
        """The loss that the law gives."""
        return np.asarray(
            self.E + self.A * np.power(params, -self.alpha) + self.B * np.power(tokens, -self.beta)
        )

    @property
    def params_exponent(self) -> float:
        """a in N_opt ∝ C^a: how compute-optimal size grows with compute."""
        return self.beta / (self.alpha + self.beta)

    @property
    def tokens_exponent(self) -> float:
        """b in D_opt ∝ C^b."""
        return self.alpha / (self.alpha + self.beta)

    def optimal_params(self, flops: float) -> float:
        """Size that reaches the lowest loss for a budget C = 6·N·D."""
        ratio = self.alpha * self.A / (self.beta * self.B)
        return float(ratio ** (1 / (self.alpha + self.beta)) * (flops / 6) ** self.params_exponent)


@dataclass(frozen=True)
class ScalingFit:
    """The law with its uncertainty: standard errors and 95% intervals by bootstrap, by name."""

    law: ScalingLaw
    standard_errors: dict[str, float]
    intervals: dict[str, Interval]
    """for the five parameters, and params_exponent"""


def runs_of_law(rows: Iterable[TableRow]) -> tuple[Floats, Floats, Floats, Floats]:
    """(params, tokens, flops, loss), each [runs], of every run; where steps are told, its last.

    FLOPs are 6 · params · tokens where they are not given, and tokens the reverse. Raises
    ValueError where fewer than three sizes or lengths of training are there, or one follows from
    the other: the law's two terms could not be told apart, or two losses of one run at one step.
    Without a name, a run or a seed, every row is a run of its own, at whatever step it stands.
    """
    last: dict[object, tuple[float, tuple[float, ...]]] = {}
    for row in rows:
        params, loss = row.params, row.loss
        tokens = row.tokens or (row.flops / 6 / params if row.flops and params else None)
        if not (params and tokens and loss and min(params, tokens, loss) > 0):
            continue
        run = (params, float(tokens), row.flops or 6 * params * tokens, loss)
        named = (row.record or {}).get("run")
        if not named and (row.model or row.seed):
            named = (row.group, row.model, params, row.seed)
        key, step = (run, 0.0) if row.step is None or not named else (named, row.step)
        at, other = last.get(key, (-1.0, run))
        if at == step and other != run:
            raise ValueError(
                f"{row.where}: loss {loss:g} and {other[-1]:g} of {row.model or 'one run'} at step "
                f"{step:g}; tell them apart with --seed or --model, or keep one with --where"
            )
        if at < step:
            last[key] = (step, run)
    found = np.array([run for _, run in last.values()]).reshape(-1, 4)
    params_, tokens_, flops_, loss_ = found.T
    if min(len(np.unique(params_)), len(np.unique(tokens_))) < FEWEST_DIFFERENT:
        raise ValueError(
            f"{len(loss_)} runs of {len(np.unique(params_))} sizes and {len(np.unique(tokens_))} "
            f"lengths (params, tokens or flops, loss); {FEWEST_DIFFERENT} of each are the fewest"
        )
    if abs(np.corrcoef(np.log(params_), np.log(tokens_))[0, 1]) > TIED:
        raise ValueError("tokens follow from params in these runs: vary one without the other")
    return params_, tokens_, flops_, loss_


def fit_law(
    params: Floats, tokens: Floats, loss: Floats, *, delta: float = HUBER_DELTA
) -> ScalingLaw:
    """The best law for runs: params, tokens, loss [runs].

    Raises ValueError for fewer than 6 runs, or numbers that are not positive.
    """
    n, d, y = (np.log(np.asarray(v, float)) for v in (params, tokens, loss))
    if len(n) < 6 or not (np.isfinite(n) & np.isfinite(d) & np.isfinite(y)).all():
        raise ValueError("a scaling law needs 6 runs at least, all numbers positive")
    best = min(
        (_minimise(np.array(start), n, d, y, delta, rounds=40) for start in STARTS),
        key=lambda found: found.fun,
    )
    return _law(_minimise(best.x, n, d, y, delta), len(n))


def fit_law_with_intervals(
    params: Floats,
    tokens: Floats,
    loss: Floats,
    rng: np.random.Generator,
    *,
    draws: int = 400,
    delta: float = HUBER_DELTA,
) -> ScalingFit:
    """The law, with errors from refits to runs drawn with replacement."""
    law = fit_law(params, tokens, loss, delta=delta)
    n, d, y = (np.log(np.asarray(v, float)) for v in (params, tokens, loss))
    start = np.array([np.log(law.A), np.log(law.B), np.log(law.E), law.alpha, law.beta])
    drawn = []
    for _ in range(draws):
        runs = rng.integers(0, len(n), len(n))
        drawn.append(_law(_minimise(start, n[runs], d[runs], y[runs], delta), len(n)))
    columns = {name: np.array([getattr(item, name) for item in drawn]) for name in LAW_PARAMETERS}
    columns["params_exponent"] = np.array([item.params_exponent for item in drawn])
    return ScalingFit(
        law=law,
        standard_errors={name: float(v.std(ddof=1)) for name, v in columns.items()},
        intervals={
            name: Interval(
                float(getattr(law, name)), *(float(q) for q in np.quantile(v, [0.025, 0.975]))
            )
            for name, v in columns.items()
        },
    )


def _law(found: optimize.OptimizeResult, runs: int) -> ScalingLaw:
    a, b, e = (float(v) for v in np.exp(found.x[:3]))
    alpha, beta = (float(v) for v in found.x[3:])
    return ScalingLaw(a, b, e, alpha, beta, float(found.fun), runs)


def _minimise(
    start: Floats, n: Floats, d: Floats, y: Floats, delta: float, rounds: int = 2000
) -> optimize.OptimizeResult:
    return optimize.minimize(
        _objective,
        start,
        args=(n, d, y, delta),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": rounds, "maxfun": 20 * rounds, "ftol": 1e-15, "gtol": 1e-10},
    )


def _objective(
    theta: Floats, n: Floats, d: Floats, y: Floats, delta: float
) -> tuple[float, Floats]:
    """Summed Huber loss of log-sum-exp against log loss, with its gradient."""
    a, b, e, alpha, beta = theta
    terms = np.stack([a - alpha * n, b - beta * d, np.broadcast_to(e, n.shape)])
    total = special.logsumexp(terms, axis=0)
    rest = total - y
    small = np.abs(rest) <= delta
    value = np.where(small, rest**2 / 2, delta * (np.abs(rest) - delta / 2)).sum()
    pull = np.clip(rest, -delta, delta) * np.exp(terms - total)
    gradient = [pull[0].sum(), pull[1].sum(), pull[2].sum(), -(pull[0] @ n), -(pull[1] @ d)]
    return float(value), np.array(gradient)


ISOFLOP_BIAS = (
    "parabolas in log size are biased where the loss curve is not symmetric: the wider the sizes "
    "tried and the further they are off centre, the more the optimum and its exponent move; "
    "compare with the fitted law"
)


@dataclass(frozen=True)
class IsoFlop:
    """The lowest point of one budget: optimal size, its loss, and the runs it stands on."""

    flops: float
    params: float
    loss: float
    runs: int
    inside: bool
    """whether the lowest point lies within the sizes tried"""


@dataclass(frozen=True)
class IsoFlops:
    """Optima of all budgets and N_opt ∝ C^exponent through those that lie inside."""

    optima: tuple[IsoFlop, ...]
    exponent: float | None
    """None with fewer than two budgets"""
    caution: str = ISOFLOP_BIAS


def isoflop(params: Floats, flops: Floats, loss: Floats, *, tolerance: float = 0.3) -> IsoFlops:
    """Parabolas of loss in log10 size at each budget: params, flops, loss [runs].

    Runs whose budgets exceed the smallest by less than `tolerance` (as a share) are taken
    together. Budgets with fewer than 4 sizes, or that bend downwards, give no optimum.
    """
    groups: list[list[int]] = []
    for run in np.argsort(flops):
        if not groups or flops[run] > flops[groups[-1][0]] * (1 + tolerance):
            groups.append([])
        groups[-1].append(int(run))
    optima = []
    for runs in groups:
        size = np.log10(params[runs])
        if len(np.unique(size)) < 4:
            continue
        bend, slope, level = np.polyfit(size - size.mean(), loss[runs], 2)
        if bend <= 0:
            continue
        vertex = -slope / (2 * bend)
        optima.append(
            IsoFlop(
                flops=float(np.exp(np.log(flops[runs]).mean())),
                params=float(10 ** (vertex + size.mean())),
                loss=float(level - slope**2 / (4 * bend)),
                runs=len(runs),
                inside=bool(size.min() <= vertex + size.mean() <= size.max()),
            )
        )
    inside = [o for o in optima if o.inside]
    exponent = None
    if len(inside) >= 2:
        exponent = float(
            np.polyfit(np.log([o.flops for o in inside]), np.log([o.params for o in inside]), 1)[0]
        )
    return IsoFlops(tuple(optima), exponent)


@dataclass(frozen=True)
class LawParameter:
    """A parameter of the law with its 95% interval and standard error, by bootstrap over runs."""

    value: float
    low: float
    high: float
    standard_error: float


@dataclass(frozen=True)
class ComputeOptimum:
    """How the law would have a budget spent."""

    flops: float
    params: float
    tokens: float
    loss: float


@dataclass(frozen=True)
class ScalingFinding:
    """The law of runs, how it would spend 1, 10 and 100 times the largest budget, and parabolas.

    `parameters` by name: the five of the law, and `params_exponent` (N_opt ∝ C^a).
    """

    formula: str
    runs: int
    objective: float
    parameters: dict[str, LawParameter]
    tokens_exponent: float
    optima: tuple[ComputeOptimum, ...]
    isoflop: IsoFlops


def judge_scaling(
    params: Floats,
    tokens: Floats,
    flops: Floats,
    loss: Floats,
    rng: np.random.Generator,
    *,
    draws: int = 400,
    delta: float = HUBER_DELTA,
) -> ScalingFinding:
    """The law with its intervals, and isoFLOP optima: params, tokens, flops, loss [runs].

    Raises ValueError where `fit_law` does.
    """
    found = fit_law_with_intervals(params, tokens, loss, rng, draws=draws, delta=delta)
    law, errors = found.law, found.standard_errors
    budgets = [(c, law.optimal_params(c)) for c in (float(flops.max()) * k for k in (1, 10, 100))]
    return ScalingFinding(
        formula=FORMULA,
        runs=len(loss),
        objective=law.objective,
        parameters={
            name: LawParameter(each.value, each.low, each.high, errors[name])
            for name, each in found.intervals.items()
        },
        tokens_exponent=law.tokens_exponent,
        optima=tuple(
            ComputeOptimum(c, n, c / 6 / n, float(law.loss(n, c / 6 / n))) for c, n in budgets
        ),
        isoflop=isoflop(params, flops, loss),
    )
