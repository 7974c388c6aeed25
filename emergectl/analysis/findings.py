"""Everything that analysis says of a table, as one plain structure.

It is what `analyze emergence --json` prints and what a report is made from: pages, figures and the
terminal read nothing else. What is not known, or cannot be asked of the table, is None.

- `axis`, `alpha`.
- `abilities`: a finding each (`describe.as_data`: verdict, p and q values, break, shapes, what
  would overturn or settle it) with `name` and `pair`: the continuous metric of the same outputs,
  which of the two breaks, how far apart in decades, what p^L explains. Those that are shown in full
  (at most `SHOWN`, the strongest verdicts first) also have `measured` (each value with its seed,
  items and the file that it came from), `fit` (the likeliest shape, drawn out), `seeds_part`
  (success by scale with intervals, humps, seeds needed), `forecast` (each method from every cutoff,
  scored), `axes` (how well one curve over each axis predicts models left out) and
  `loss_at_appearance`. Errors of perplexities are in decades.
- `lags`: along steps and tokens, what moves first and by how much the next lags.
- `scaling`: the law of loss in parameters and tokens with its intervals, and isoFLOP optima.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from emergectl.analysis.axis import loss_at_appearance, score_axes
from emergectl.analysis.curves import Curve, make_curve
from emergectl.analysis.describe import as_data, scaling_data
from emergectl.analysis.forecast import backtest
from emergectl.analysis.lags import Lag, lag, lags, order_of_breaks
from emergectl.analysis.metric_names import RESTATED_LOSS
from emergectl.analysis.metric_pair import pair_up
from emergectl.analysis.processes import processes
from emergectl.analysis.scaling import runs_of_law
from emergectl.analysis.seeds import seeds_needed, successes
from emergectl.analysis.shapes import FEWEST_FOR_SHAPES, fit_shapes
from emergectl.analysis.table import LATE_FIRST, Row, Table
from emergectl.analysis.verdict import MANY, Finding

SHOWN = 40
"""abilities that get figures and details; the others stand in the table of verdicts"""
FEWEST_FOR_FORECAST = 5
MOST_ROWS_FOR_AXES = 300
FEWEST_RUNS_FOR_LAW, LAW_DRAWS = 12, 100
ORDER = ("emergent", "undetermined", "smooth", "flat")
RIGHT_OR_WRONG = ("exact_match", "em", "accuracy", "acc", "acc_norm", "multiple_choice_grade")
CONTINUOUS = (
    *("logprob_per_token", "logprob", "loss", "nll", "brier", "edit_distance", "bleu", "chrf"),
    *("margin", "logprob_per_byte", "perplexity", "ppl"),
)
"""metrics of the same outputs to set beside a right-or-wrong one, the most telling first"""

Places = Mapping[tuple[str, str, str], Row]
Outputs = Mapping[tuple[str, str], Sequence[Finding]]
"""(group, task) → the findings of its metrics"""


def examine(
    table: Table,
    findings: Sequence[Finding],
    *,
    alpha: float,
    seed: int = 0,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Findings with all that can be said beside them; the shown ones in full, `ORDER` first.

    `progress` is told (done, all). The same table and seed give the same numbers.
    """
    places = {(row.where, row.task, row.metric): row for row in table.rows}
    outputs: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        outputs.setdefault((finding.curve.group, finding.curve.task), []).append(finding)
    telling = [index for index, finding in enumerate(findings) if not _restates(finding, outputs)]
    telling.sort(key=lambda index: ORDER.index(findings[index].verdict))
    shown = set(telling[:SHOWN])
    abilities = []
    for index, said in enumerate(_described(findings, workers)):
        finding = findings[index]
        beside = _continuous_beside(finding, outputs)
        said["name"] = finding.curve.name.removesuffix("/value")
        said["pair"] = _pair(finding, beside, alpha)
        if index in shown:
            rng = np.random.default_rng([seed, zlib.crc32(finding.curve.name.encode())])
            said |= _in_full(finding.curve, beside, table, places, rng)
        abilities.append(said)
        if progress:
            progress(index + 1, len(findings))
    return {
        "axis": findings[0].curve.axis,
        "alpha": alpha,
        "abilities": abilities,
        "lags": _lags(findings, outputs, np.random.default_rng(seed), alpha),
        "scaling": _scaling(table, np.random.default_rng(seed)),
    }


def _described(findings: Sequence[Finding], workers: int) -> Iterable[dict[str, Any]]:
    """The findings as data, in their order; in several processes where there are many."""
    if workers == 1 or len(findings) < MANY:
        yield from map(as_data, findings)
        return
    with processes(workers) as pool:
        yield from pool.map(as_data, findings, chunksize=16)


def _restates(finding: Finding, outputs: Outputs) -> bool:
    """Whether a metric is the loss of the same outputs in other words: it would be drawn twice."""
    curve = finding.curve
    if _last_word(curve.metric) not in RESTATED_LOSS:
        return False
    return any(_last_word(f.curve.metric) == "loss" for f in outputs[curve.group, curve.task])


def _in_full(
    curve: Curve, beside: Finding | None, table: Table, places: Places, rng: np.random.Generator
) -> dict[str, Any]:
    proxies = [beside.curve] if beside is not None else []
    loss = _loss_of_models(curve, places)
    if loss is not None and all(_last_word(p.metric) != "loss" for p in proxies):
        proxies.append(loss)
    return {
        "measured": _measured(curve, places),
        "fit": _fit(curve),
        "seeds_part": _seeds_part(curve, rng),
        "forecast": _forecast(curve, proxies, rng),
        **_axes(curve, table, rng),
    }


def _loss_of_models(curve: Curve, places: Places) -> Curve | None:
    """The loss of the models of a curve, over the same axis; None where any is unknown."""
    if curve.axis == "loss" or _last_word(curve.metric) in ("loss", *RESTATED_LOSS):
        return None
    rows = [
        [places.get((where, curve.task, curve.metric)) for where in sources]
        for sources in curve.seed_sources
    ]
    losses = [[row.loss if row and row.loss else 0.0 for row in rung] for rung in rows]
    if not losses or not all(loss > 0 for rung in losses for loss in rung):
        return None
    return make_curve(
        curve.x, losses, task=curve.task, metric="loss", axis=curve.axis, group=curve.group
    )


def _measured(curve: Curve, places: Places) -> list[dict[str, Any]]:
    """Every rung with the value of each seed, who that was, and where it stands."""
    rungs = []
    for k, scale in enumerate(curve.x):
        seeds = []
        for i, value in enumerate(curve.seed_values[k]):
            where = curve.seed_sources[k][i] if curve.seed_sources else ""
            row = places.get((where, curve.task, curve.metric))
            items = float(curve.seed_items[k][i])
            seeds.append(
                {
                    "value": float(value),
                    "items": items if np.isfinite(items) else None,
                    "seed": row.seed if row else "",
                    "model": row.model if row else "",
                    "where": where,
                }
            )
        rungs.append({"scale": float(scale), "value": float(curve.values[k]), "seeds": seeds})
    return rungs


def _fit(curve: Curve) -> dict[str, Any] | None:
    """The likeliest shape, drawn out: its name, scales and values in the metric's units."""
    if len(curve.x) < FEWEST_FOR_SHAPES:
        return None
    shape = fit_shapes(curve)[0]
    places = np.linspace(curve.log_x[0], curve.log_x[-1], 120)
    values = curve.to_value(shape.at(places))
    return {
        "shape": shape.form.name,
        "scales": (10**places).tolist(),
        "values": values.tolist(),
    }


def _seeds_part(curve: Curve, rng: np.random.Generator) -> dict[str, Any] | None:
    # Models that happen to be of one scale are no seeds of each other; most rungs have several.
    if float(np.median(curve.seeds)) < 2:
        return None
    found = successes(curve, rng)
    # The rung where seeds differ most is the one that more of them would settle.
    open_ = min(found, key=lambda s: abs(s.share - 0.5))
    return {
        "scales": [{**asdict(s), "share": s.share} for s in found],
        "seeds_needed": seeds_needed(open_.share),
        "at": open_.scale,
    }


def _continuous_beside(finding: Finding, outputs: Outputs) -> Finding | None:
    """The continuous metric of the same outputs as a right-or-wrong one; None without."""
    curve = finding.curve
    if _last_word(curve.metric) not in RIGHT_OR_WRONG:
        return None
    same = {_last_word(f.curve.metric): f for f in outputs[curve.group, curve.task]}
    return next((same[name] for name in CONTINUOUS if name in same), None)


def _last_word(metric: str) -> str:
    return metric.lower().rsplit("/", 1)[-1]


def _pair(finding: Finding, beside: Finding | None, alpha: float) -> dict[str, Any] | None:
    if beside is None:
        return None
    return {"metric": beside.curve.metric, **asdict(pair_up(finding, beside, alpha=alpha))}


def _forecast(
    curve: Curve, proxies: list[Curve], rng: np.random.Generator
) -> list[dict[str, Any]] | None:
    if len(curve.x) < FEWEST_FOR_FORECAST or float(np.ptp(curve.level)) == 0:
        return None
    methods = backtest(curve, rng, proxies=proxies)
    return [
        {
            **asdict(method),
            "forecasts": [
                {**asdict(forecast), "scales": forecast.scales.tolist()}
                for forecast in method.forecasts
            ],
        }
        for method in methods
    ]


def _axes(curve: Curve, table: Table, rng: np.random.Generator) -> dict[str, Any]:
    """Which axis brings different models onto one curve; None where the table cannot tell."""
    rows = [
        row
        for row in table.rows
        if (row.task, row.metric) == (curve.task, curve.metric)
        and (curve.axis in LATE_FIRST or row.group == curve.group)
    ]
    said: dict[str, Any] = {"axes": None, "loss_at_appearance": None}
    if len(rows) > MOST_ROWS_FOR_AXES:
        return said
    if _last_word(curve.metric) in ("loss", *RESTATED_LOSS):  # no axis for itself
        rows = [replace(row, loss=None) for row in rows]
    try:
        said["axes"] = [asdict(score) for score in score_axes(rows, rng)]
        said["loss_at_appearance"] = asdict(loss_at_appearance(rows, rng))
    except ValueError:
        return said  # Too few models or axes: the question cannot be put to this table.
    return said


def _lags(
    findings: Sequence[Finding], outputs: Outputs, rng: np.random.Generator, alpha: float
) -> list[dict[str, Any]]:
    """Along steps: how far held-out rows lag behind those of training; then who follows whom."""
    if findings[0].curve.axis not in LATE_FIRST:
        return []
    said = []
    for group in dict.fromkeys(f.curve.group for f in findings):
        own = [f for f in findings if f.curve.group == group and not _restates(f, outputs)]
        broken = {(f.curve.task, f.curve.metric): f for f in order_of_breaks(own, alpha=alpha)}
        by_heart = [
            lag(broken["train", metric], held_out, rng)
            for (task, metric), held_out in broken.items()
            if task != "train" and ("train", metric) in broken
        ]
        said += [_lag(each) for each in (*by_heart, *lags(own, rng, alpha=alpha))]
    return list({(each["first"], each["second"]): each for each in reversed(said)}.values())[::-1]


def _lag(found: Lag) -> dict[str, Any]:
    return {
        "first": found.first.name,
        "second": found.second.name,
        "lag": asdict(found.steps),
        "ratio": asdict(found.ratio),
        "p_first": found.p_first,
        "sentence": found.sentence,
    }


def _scaling(table: Table, rng: np.random.Generator) -> dict[str, Any] | None:
    """The law of the losses that the rows tell, each model at every size and length of training."""
    try:
        params, tokens, flops, loss = runs_of_law(table.rows)
    except ValueError:
        return None  # Too few runs, or sizes and lengths that go together: no law can be told.
    if len(loss) < FEWEST_RUNS_FOR_LAW:
        return None
    return scaling_data(params, tokens, flops, loss, rng, draws=LAW_DRAWS)
