"""Findings as plain data and as rows: what JSON, a terminal's table and a page all show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from emergectl.analysis.breaks import Break, Interval, breakthroughness, linearity
from emergectl.analysis.curves import Floats
from emergectl.analysis.scaling import fit_law_with_intervals, isoflop
from emergectl.analysis.shapes import FEWEST_FOR_SHAPES, fit_shapes
from emergectl.analysis.verdict import Finding

ROW = ("ability", "verdict", "break", "from", "to", "width", "height", "p", "q", "scales", "shape")
"""columns of `as_row`: the position of the break with its interval, width in decades, height over
chance on the fitted level, the p-value of `emergent`, its q-value, the likeliest shape"""


def as_data(finding: Finding, *, shapes: bool = True) -> dict[str, Any]:
    """A finding as plain data; what is not known is None, never NaN."""
    curve, e = finding.curve, finding.evidence
    fitted = fit_shapes(curve) if shapes and len(curve.x) >= FEWEST_FOR_SHAPES else []
    return {
        "group": curve.group,
        "task": curve.task,
        "metric": curve.metric,
        "axis": curve.axis,
        "verdict": finding.verdict,
        "reason": finding.reason,
        "overturn": finding.overturn,
        "settle": finding.settle,
        "q_emergent": _known(finding.q_emergent),
        "q_break": _known(finding.q_break),
        "p_emergent": _known(e.p_emergent),
        "p_above_chance": _known(e.p_above),
        "p_at_chance_before": _known(e.p_chance),
        "p_smooth": _known(e.p_smooth),
        "p_sharp": _known(e.p_sharp),
        "p_rise": _known(e.p_rise),
        "p_flat": _known(e.p_flat),
        "dispersion": _known(e.dispersion),
        "break": None if e.break_ is None else _break(e.break_),
        "breakthroughness": _known(breakthroughness(curve.level)),
        "linearity": _known(linearity(curve.level)),
        "shapes": [
            {
                "shape": shape.form.name,
                "weight": shape.weight,
                "left_out_error": shape.left_out_error,
                "parameters": shape.parameters,
            }
            for shape in fitted
        ],
        "chance": curve.chance,
        "scales": curve.x.tolist(),
        "values": curve.values.tolist(),
        "seeds": curve.seeds.tolist(),
        "items": [_known(n) for n in curve.items],
    }


def scaling_data(
    params: Floats,
    tokens: Floats,
    flops: Floats,
    loss: Floats,
    rng: np.random.Generator,
    *,
    draws: int = 400,
) -> dict[str, Any]:
    """The scaling law of runs [runs] with its intervals, and isoFLOP optima, as plain data."""
    fit = fit_law_with_intervals(params, tokens, loss, rng, draws=draws)
    budgets = isoflop(params, flops, loss)
    return {
        "formula": "loss = E + A / params^alpha + B / tokens^beta",
        "runs": len(loss),
        "objective": fit.law.objective,
        "parameters": {
            name: {**_interval(interval), "standard_error": fit.standard_errors[name]}
            for name, interval in fit.intervals.items()
        },
        "tokens_exponent": fit.law.tokens_exponent,
        "optima": [
            {
                "flops": c,
                "params": n,
                "tokens": c / 6 / n,
                "loss": float(fit.law.loss(n, c / 6 / n)),
            }
            for c in (float(flops.max()) * times for times in (1, 10, 100))
            for n in (fit.law.optimal_params(c),)
        ],
        "isoflop": {
            "exponent": _known(budgets.exponent),
            "caution": budgets.caution,
            "optima": [vars(optimum) for optimum in budgets.optima],
        },
    }


def as_row(data: dict[str, Any]) -> list[object]:
    """A finding's data as one row of `ROW`."""
    found = data["break"] or {}
    position = found.get("position") or {}
    shapes = data["shapes"]
    return [
        "/".join(part for part in (data["group"], data["task"], data["metric"]) if part),
        data["verdict"],
        _short(position.get("value")),
        _short(position.get("low")),
        _short(position.get("high")),
        _short(found.get("width_decades", {}).get("value"), 2),
        _short(found.get("height", {}).get("value"), 3),
        _short(data["p_emergent"], 2),
        _short(data["q_emergent"], 2),
        len(data["scales"]),
        f"{shapes[0]['shape']} {shapes[0]['weight']:.2f}" if shapes else None,
    ]


def counts(findings: Sequence[Finding]) -> str:
    """How many of each verdict: `2 emergent, 1 smooth`."""
    words = [finding.verdict for finding in findings]
    return ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(sorted(words)))


def _break(found: Break) -> dict[str, Any]:
    return {
        "position": _interval(found.position),
        "onset": found.onset,
        "between": list(found.between),
        "width_decades": _interval(found.width_decades),
        "height": _interval(found.height),
        "floor": found.floor,
    }


def _interval(interval: Interval) -> dict[str, float]:
    return {"value": interval.value, "low": interval.low, "high": interval.high}


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _short(value: float | None, digits: int = 3) -> float | None:
    return None if value is None else float(f"{value:.{digits}g}")
