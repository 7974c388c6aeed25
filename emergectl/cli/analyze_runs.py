"""`emergectl analyze compare`, `order` and `noise`: runs and groups of models beside each other."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from emergectl.cli.output import print_json, print_table, say
from emergectl.cli.tables import TableSource, axis_of, progress, read_source, reads_tables, tell
from emergectl.errors import RequestError

if TYPE_CHECKING:
    from emergectl.analysis.breaks import Interval

MOST_PAIRS = 40
"""pairs of runs that a person is shown"""
Json = Annotated[bool, typer.Option("--json", help="JSON to stdout.")]
Alpha = Annotated[float, typer.Option(min=1e-6, max=0.5, help="Level of every test.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes.")]


@reads_tables
def order(
    source: TableSource, alpha: Alpha = 0.05, workers: Workers = 2, json_: Json = False
) -> None:
    """Say whether runs learn abilities in one order: rank agreement of where these rise.

    A run is one seed of one group of models (along steps: of one model). Spearman's rho of every
    pair of runs, its mean over all, and Kendall's W, with intervals that hold what is not known of
    the places. Abilities that never rise have no place; they are left out, and said.
    """
    from emergectl.analysis.order import judge_order
    from emergectl.analysis.plain import as_plain

    table = read_source(source)
    axis = axis_of(source, table)
    try:
        found = judge_order(table, axis, alpha=alpha, workers=workers, progress=progress("placed"))
    except ValueError as error:
        raise RequestError(str(error)) from None
    tell(table)
    if json_:
        print_json(as_plain(found))
        return
    pairs = sorted(found.pairs, key=lambda pair: pair.rho.value)
    rows = [
        [p.first, p.second, p.abilities, *_rounded(p.rho), _short(p.p)] for p in pairs[:MOST_PAIRS]
    ]
    print_table(["run", "run", "abilities", "rho", "low", "high", "p"], rows)
    if len(pairs) > MOST_PAIRS:
        say(f"the {MOST_PAIRS} of {len(pairs)} pairs that agree least; --json has all")
    without: dict[str, list[str]] = {}
    for one in found.left_out:
        without.setdefault(one.ability, []).append(one.run)
    for ability, runs in without.items():
        say(f"left out: {ability} has no place in {len(runs)} of {len(found.runs)} runs")
    w = f"; W {found.w:.3g} over the {found.complete} placed in all" if found.w is not None else ""
    say(
        f"{len(found.runs)} runs, {len(found.pairs)} pairs: mean rho {found.rho.value:.3g} "
        f"[{found.rho.low:.3g}, {found.rho.high:.3g}], p={found.p:.2g}{w}"
    )


@reads_tables
def noise(
    source: TableSource,
    last: Annotated[
        int, typer.Option(min=2, help="Last checkpoints of a model, whose scatter is noise.")
    ] = 5,
    json_: Json = False,
) -> None:
    """Say how well each benchmark tells models apart: signal, noise and their ratio.

    Signal: the dispersion of final scores over the models of one scale (a model is a --group, or a
    --model where there are no groups). Noise: the scatter of the last checkpoints. alone: the ratio
    that noise alone would give; p: of no signal. right: the share of pairs of models that this
    scale puts in the order of the largest one.
    """
    from emergectl.analysis.noise import judge_noise
    from emergectl.analysis.plain import as_plain
    from emergectl.reports.numbers import short

    table = read_source(source)
    try:
        found = judge_noise(table, last=last)
    except ValueError as error:
        raise RequestError(str(error)) from None
    tell(table)
    if json_:
        print_json(as_plain(found))
        return
    several = len({one.metric for one in found.benchmarks}) > 1
    rows: list[list[object]] = []
    for one in found.benchmarks:
        name = f"{one.task}/{one.metric}" if several else one.task
        right = None if one.decisions is None else one.decisions.accuracy
        signal, noise_ = (part and _short(part.value) for part in (one.signal, one.noise))
        p = None if one.p is None else _short(one.p) if one.p >= 1e-4 else "<1e-4"
        more = () if sys.stdout.isatty() else (one.models, one.alone and _short(one.alone))
        scale = "all" if one.scale is None else short(one.scale)
        rows.append(
            [name, scale, signal, noise_, *_with_span(one.ratio), p, *_with_span(right), *more]
        )
    header = ["benchmark", "scale", "signal", "noise", "ratio", "95%", "p", "right", "95%"]
    print_table([*header, *([] if sys.stdout.isatty() else ["models", "alone"])], rows)
    for law in found.predicts:
        r = law.correlation
        say(
            f"{law.metric} at {short(law.scale)}: ratio and right decisions correlate by "
            f"{r.value:.2g} [{r.low:.2g}, {r.high:.2g}] over {law.tasks} tasks"
        )


def _with_span(found: Interval | None) -> tuple[float | None, str | None]:
    """A value of two digits, and its interval as `6.4–14`."""
    if found is None:
        return None, None
    return _short(found.value), f"{found.low:.2g}–{found.high:.2g}"


def _short(value: float) -> float:
    return float(f"{value:.2g}")


def _rounded(found: Interval, digits: int = 3) -> list[float]:
    return [float(f"{v:.{digits}g}") for v in (found.value, found.low, found.high)]
