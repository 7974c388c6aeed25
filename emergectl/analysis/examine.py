"""Everything that can be said of a table: from judged curves to `Findings`.

Every ability gets its verdict, its tests, its shapes and the continuous metric beside it; those
that are shown in full (at most `SHOWN`, the strongest verdicts first) also what takes longer: the
seeds, the forecast from below, the axes compared.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from emergectl.analysis.advice import advise
from emergectl.analysis.axis import AxisScore, loss_at_appearance, score_axes
from emergectl.analysis.breaks import Interval, breakthroughness, linearity
from emergectl.analysis.claims import (
    bounded,
    onset_claim,
    sharpness_claim,
    surprise_claim,
)
from emergectl.analysis.convention import SHARP_DECADES
from emergectl.analysis.curves import Curve, make_curve
from emergectl.analysis.evidence import RATE_MARGIN
from emergectl.analysis.findings import (
    AbilityFinding,
    DrawnFit,
    Findings,
    MeasuredRung,
    SeedValue,
    ShapeWeight,
)
from emergectl.analysis.forecast import Backtest, backtest
from emergectl.analysis.lags import Lag, lag, lags, order_of_breaks
from emergectl.analysis.metric_claim import beside
from emergectl.analysis.metric_order import is_loss, restates_loss
from emergectl.analysis.metric_pair import pair_up
from emergectl.analysis.processes import processes
from emergectl.analysis.scaling import ScalingFinding, judge_scaling, runs_of_law
from emergectl.analysis.seeds import judge_seeds
from emergectl.analysis.shapes import FEWEST_FOR_SHAPES, fit_shapes
from emergectl.analysis.table import LOSS, Table, TableRow
from emergectl.analysis.table_curves import LATE_FIRST, count_shown
from emergectl.analysis.verdict import MANY, VERDICTS, Finding

ADVISED = 3
"""undetermined abilities for which designs are simulated, which takes seconds each"""
SHOWN = 40
"""abilities that get figures and details; the others stand in the table of verdicts"""
FEWEST_FOR_FORECAST = 5
MOST_ROWS_FOR_AXES = 300
FEWEST_RUNS_FOR_LAW, LAW_DRAWS = 12, 100

RowsByOrigin = Mapping[tuple[str, str, str], TableRow]
"""(where it stands, task, metric) → the row"""


class _Outputs:
    """The findings of each set of outputs: the metrics of one task in one group."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self._of: dict[tuple[str, str], list[Finding]] = {}
        for finding in findings:
            self._of.setdefault((finding.curve.group, finding.curve.task), []).append(finding)

    def same(self, curve: Curve) -> list[Finding]:
        return self._of[curve.group, curve.task]

    def restates(self, finding: Finding) -> bool:
        """Whether a metric is the loss of the same outputs again: it would be drawn twice."""
        curve = finding.curve
        facts = {f.curve.metric: f.curve.what for f in self.same(curve)}
        return restates_loss(curve.metric, facts)

    def beside(self, finding: Finding) -> Finding | None:
        """The continuous metric of the same outputs as a discontinuous one; None without."""
        same = self.same(finding.curve)
        found = beside(finding.curve, [f.curve for f in same])
        return next((f for f in same if f.curve is found), None)


def examine(
    table: Table,
    findings: Sequence[Finding],
    *,
    alpha: float,
    margin: float = RATE_MARGIN,
    sharp_decades: float = SHARP_DECADES,
    seed: int = 0,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Findings:
    """Findings with all that can be said beside them.

    `margin` and `sharp_decades` are those that they were judged by. `progress` is told (done,
    all). The same table and seed give the same numbers.
    """
    rows = {(row.where, row.task, row.metric): row for row in table.rows}
    outputs = _Outputs(findings)
    telling = [index for index, finding in enumerate(findings) if not outputs.restates(finding)]
    telling.sort(key=lambda index: VERDICTS.index(findings[index].verdict))
    shown = set(telling[:SHOWN])
    undetermined = [i for i in telling[:SHOWN] if findings[i].verdict == "undetermined"]
    advised = set(undetermined[:ADVISED])
    abilities = []
    for index, said in enumerate(_described(findings, alpha, workers)):
        finding = findings[index]
        other = outputs.beside(finding)
        if other is not None:
            said = replace(said, pair=pair_up(finding, other, alpha=alpha))
        if index in shown:
            rng = np.random.default_rng([seed, zlib.crc32(finding.curve.name.encode())])
            said = replace(said, forecast=_forecast(finding.curve, other, rows, sharp_decades))
            said = _in_full(said, finding, table, rows, rng, alpha, advised=index in advised)
        abilities.append(said)
        if progress:
            progress(index + 1, len(findings))
    return Findings(
        axis=findings[0].curve.axis,
        parameters=count_shown(table.rows),
        alpha=alpha,
        sharp_decades=sharp_decades,
        margin=margin,
        notes=tuple(table.notes),
        left_out=tuple(table.skipped),
        abilities=tuple(abilities),
        lags=tuple(_lags(findings, outputs, np.random.default_rng(seed), alpha)),
        scaling=_scaling(table, np.random.default_rng(seed)),
    )


def _described(findings: Sequence[Finding], alpha: float, workers: int) -> Iterable[AbilityFinding]:
    """The findings described, in their order; in several processes where there are many."""
    describe = partial(describe_finding, alpha=alpha)
    if workers == 1 or len(findings) < MANY:
        yield from map(describe, findings)
        return
    with processes(workers) as pool:
        yield from pool.map(describe, findings, chunksize=16)


def describe_finding(finding: Finding, alpha: float) -> AbilityFinding:
    """A finding with the shapes of its curve, and without what only serves to compute."""
    curve, e = finding.curve, finding.evidence
    shapes = fit_shapes(curve) if len(curve.x) >= FEWEST_FOR_SHAPES else []
    return AbilityFinding(
        name=curve.name.removesuffix("/value"),
        group=curve.group,
        task=curve.task,
        metric=curve.metric,
        what=curve.what,
        axis=curve.axis,
        verdict=finding.verdict,
        reason=finding.reason,
        overturn=finding.overturn,
        settle=finding.settle,
        onset=onset_claim(e, alpha),
        sharpness=sharpness_claim(e, finding.q_break, alpha),
        metric_claim=finding.metric,
        surprise=None,
        p_emergent=_known(finding.p_emergent),
        q_emergent=_known(finding.q_emergent),
        p_gradual=_known(e.p_gradual),
        p_rise=_known(e.p_rise),
        p_fall=_known(e.p_fall),
        p_flat=_known(e.p_flat),
        turn=e.turn,
        dispersion=e.noise.phi if e.noise else None,
        break_=e.break_,
        breakthroughness=_known(breakthroughness(curve.level)),
        linearity=_known(linearity(curve.level)),
        shapes=tuple(
            ShapeWeight(s.form.name, s.weight, _known(s.left_out_error), s.parameters)
            for s in shapes
        ),
        chance=curve.chance,
        shortcut=curve.shortcut,
        shortcut_by=curve.shortcut_by,
        ceiling=curve.ceiling,
        scales=tuple(curve.x.tolist()),
        values=tuple(curve.values.tolist()),
        seeds=tuple(curve.seeds.tolist()),
        items=tuple(_known(n) for n in curve.items),
    )


def _in_full(
    said: AbilityFinding,
    finding: Finding,
    table: Table,
    rows: RowsByOrigin,
    rng: np.random.Generator,
    alpha: float,
    *,
    advised: bool,
) -> AbilityFinding:
    curve = finding.curve
    # In this order, for they draw from one stream of random numbers.
    said = replace(said, success=judge_seeds(curve, rng))
    axes, loss_there = _axes(curve, table, rng)
    settle = said.settle
    if finding.verdict == "undetermined" and advised:
        design = advise(finding, alpha=alpha, margin=RATE_MARGIN)
        settle = settle if design is None else str(design)
    return replace(
        said,
        settle=settle,
        sharpness=bounded(said.sharpness, finding.evidence, alpha),
        surprise=surprise_claim(finding.evidence, said.forecast),
        measured=_measured(curve, rows),
        fit=_fit(curve),
        axes=axes,
        loss_at_appearance=loss_there,
    )


def _loss_of_models(curve: Curve, rows: RowsByOrigin) -> Curve | None:
    """The loss of the models of a curve, over the same axis; None where any is unknown."""
    if curve.axis == "loss" or is_loss(curve.what):
        return None
    known = [
        [rows.get((where, curve.task, curve.metric)) for where in sources]
        for sources in curve.seed_sources
    ]
    losses = [[row.loss if row and row.loss else 0.0 for row in rung] for rung in known]
    if not losses or not all(loss > 0 for rung in losses for loss in rung):
        return None
    return make_curve(
        curve.x,
        losses,
        what=LOSS,
        task=curve.task,
        metric="loss",
        axis=curve.axis,
        group=curve.group,
    )


def _measured(curve: Curve, rows: RowsByOrigin) -> tuple[MeasuredRung, ...]:
    """Every rung with the value of each seed, who that was, and where it stands."""
    rungs = []
    for k, scale in enumerate(curve.x):
        seeds = []
        for i, value in enumerate(curve.seed_values[k]):
            where = curve.seed_sources[k][i] if curve.seed_sources else ""
            row = rows.get((where, curve.task, curve.metric))
            seed, model = (row.seed, row.model) if row else ("", "")
            items = _known(curve.seed_items[k][i])
            seeds.append(SeedValue(float(value), items, seed, model, where))
        rungs.append(MeasuredRung(float(scale), float(curve.values[k]), tuple(seeds)))
    return tuple(rungs)


def _fit(curve: Curve) -> DrawnFit | None:
    if len(curve.x) < FEWEST_FOR_SHAPES:
        return None
    shape = fit_shapes(curve, left_out=False)[0]
    at = np.linspace(curve.log_x[0], curve.log_x[-1], 120)
    values = curve.to_value(shape.at(at))
    return DrawnFit(shape.form.name, tuple((10**at).tolist()), tuple(values.tolist()))


def _forecast(
    curve: Curve, other: Finding | None, rows: RowsByOrigin, sharp_decades: float
) -> tuple[Backtest, ...]:
    if len(curve.x) < FEWEST_FOR_FORECAST or float(np.ptp(curve.level)) == 0:
        return ()
    proxies = proxies_of(curve, None if other is None else other.curve, rows)
    return tuple(backtest(curve, proxies=proxies, sharp_decades=sharp_decades))


def proxies_of(curve: Curve, partner: Curve | None, rows: RowsByOrigin) -> list[Curve]:
    """The curves that one may be foretold through: the continuous metric of the same outputs, and
    the loss of the models, where that is another."""
    proxies = [] if partner is None else [partner]
    loss = _loss_of_models(curve, rows)
    if loss is not None and not any(is_loss(p.what) and not p.is_logged for p in proxies):
        proxies.append(loss)
    return proxies


def _axes(
    curve: Curve, table: Table, rng: np.random.Generator
) -> tuple[tuple[AxisScore, ...], Interval | None]:
    """Which axis brings different models onto one curve; none where the table cannot tell."""
    rows = [
        row
        for row in table.rows
        if (row.task, row.metric) == (curve.task, curve.metric)
        and (curve.axis in LATE_FIRST or row.group == curve.group)
    ]
    if len(rows) > MOST_ROWS_FOR_AXES:
        return (), None
    if is_loss(curve.what):  # no axis for itself
        rows = [replace(row, loss=None) for row in rows]
    scores: tuple[AxisScore, ...] = ()
    try:
        scores = tuple(score_axes(rows, rng))
        return scores, loss_at_appearance(rows, rng)
    except ValueError:
        return scores, None  # Too few models or axes: the question cannot be put to this table.


def _lags(
    findings: Sequence[Finding], outputs: _Outputs, rng: np.random.Generator, alpha: float
) -> list[Lag]:
    """Along steps: how far held-out rows lag behind those of training; then who follows whom."""
    if findings[0].curve.axis not in LATE_FIRST:
        return []
    said: list[Lag] = []
    for group in dict.fromkeys(f.curve.group for f in findings):
        own = [f for f in findings if f.curve.group == group and not outputs.restates(f)]
        broken = {(f.curve.task, f.curve.metric): f for f in order_of_breaks(own, alpha=alpha)}
        by_heart = [
            lag(broken["train", metric], held_out, rng)
            for (task, metric), held_out in broken.items()
            if task != "train" and ("train", metric) in broken
        ]
        said += [*by_heart, *lags(own, rng, alpha=alpha)]
    return list({(each.first, each.second): each for each in reversed(said)}.values())[::-1]


def _scaling(table: Table, rng: np.random.Generator) -> ScalingFinding | None:
    """The law of the losses that the rows tell, each model at every size and length of training."""
    try:
        params, tokens, flops, loss = runs_of_law(table.rows)
    except ValueError:
        return None  # Too few runs, or sizes and lengths that go together: no law can be told.
    if len(loss) < FEWEST_RUNS_FOR_LAW:
        return None
    return judge_scaling(params, tokens, flops, loss, rng, draws=LAW_DRAWS)


def _known(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
