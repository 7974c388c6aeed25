"""`emergectl analyze compare`, `order` and `noise`: runs and groups of models beside each other."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emergectl.cli.output import print_json, print_table, say
from emergectl.cli.tables import TableSource, axis_of, progress, read_source, reads_tables, tell
from emergectl.errors import RequestError
from emergectl.store.measurements import FILE as MEASUREMENTS

if TYPE_CHECKING:
    from emergectl.analysis.breaks import Interval
    from emergectl.analysis.compare import Comparison, Group
    from emergectl.analysis.table import TableRow

MOST_PAIRS = 40
"""pairs of runs that a person is shown"""
Json = Annotated[bool, typer.Option("--json", help="JSON to stdout.")]
Alpha = Annotated[float, typer.Option(min=1e-6, max=0.5, help="Level of every test.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes.")]


@reads_tables
def compare(
    source: TableSource,
    baseline: Annotated[
        str | None,
        typer.Option(metavar="GROUP", help="Whom the others are compared with (default: first)."),
    ] = None,
    alpha: Alpha = 0.05,
    workers: Workers = 2,
    json_: Json = False,
) -> None:
    """Say by how much groups of models differ, ability by ability, and where each rises.

    Of several sources each is a group; of one, the values of --group (shots, or what differs
    between runs, where none is named). Models of either are matched by name or by scale, at their
    last step; paired by item where runs have their answers, else by seed and scale. over: what the
    interval is over. later: decades by which the rise of the other group lies above the baseline's.
    """
    from emergectl.analysis.compare import compare_groups
    from emergectl.analysis.plain import as_plain
    from emergectl.analysis.table import AXES, Table

    groups = _groups(source, baseline)
    for group in groups:
        tell(group.table)
    every = Table([row for group in groups for row in group.table.rows])
    scaled = source.options.get("x") or any(row.scale(a) for row in every.rows for a in AXES)
    axis = axis_of(source, every) if scaled else None
    try:
        found = compare_groups(
            groups,
            axis,
            items_of=_answers,
            alpha=alpha,
            workers=workers,
            progress=progress("judged"),
        )
    except ValueError as error:
        raise RequestError(str(error)) from None
    if json_:
        print_json(as_plain(found))
        return
    several = len(groups) > 2 or any("/" in one.group for one in found.differences)
    metrics = len({one.metric for one in found.differences}) > 1
    narrow = sys.stdout.isatty()
    rows: list[list[object]] = []
    said: list[str] = []
    for one in found.differences:
        name = f"{one.task}/{one.metric}" if metrics else one.task
        of, digits = ("×", 3) if one.ratio else ("", 2)
        span = None if one.low is None else f"{of}{one.low:.{digits}g} to {of}{one.high:.{digits}g}"
        later = one.later and f"{one.later.value:.2g} ({one.later.low:.2g} to {one.later.high:.2g})"
        rows.append([*[one.group] * several, name, *(f"{mean:.3g}" for mean in one.means)])
        rows[-1] += [f"{of}{one.difference:.3g}", span, one.q and _short(one.q), one.over]
        if narrow and later:
            said.append(f"{name} rises later by {later} decades of {found.axis}: {one.group}")
        rows[-1] += [] if narrow else [later]
    header = ["ability", "baseline", "group", "difference", "95%", "q", "over"]
    print_table([*["of"] * several, *header, *([] if narrow else ["later"])], rows)
    for text in said:
        say(text)
    for text in found.left_out:
        say(f"left out: {text}")
    _say_better(found)


def _groups(source: TableSource, baseline: str | None) -> list[Group]:
    """The groups that are named, the baseline first."""
    from emergectl.analysis.compare import Group, groups_in

    if len({*source.names}) < len(source.names):
        raise RequestError("a source is named twice: it does not differ from itself")
    if len(source.names) > 1:
        groups = [Group(name, read_source(replace(source, names=[name]))) for name in source.names]
    else:
        groups = groups_in(read_source(source))
    names = [group.name for group in groups]
    if len(names) < 2:
        raise RequestError("there is one group: name two sources, or a column with --group")
    if baseline is not None and baseline not in names:
        raise RequestError(f"--baseline {baseline}: the groups are {', '.join(names)}")
    return sorted(groups, key=lambda group: group.name != (baseline or names[0]))


def _answers(row: TableRow) -> dict[str, float] | None:
    """The values item by item of a row that a run's `evals/` hold."""
    run, measured, _ = row.where.partition(f"/{MEASUREMENTS}:")
    items = (row.record or {}).get("items")
    if not measured or items is None:
        return None
    from emergectl.analysis.runs import PLAIN
    from emergectl.evaluation.item_values import item_values

    asked = {key: value for key, value in row.asked if value != str(PLAIN.get(key))}
    return item_values(
        Path(run), items=items, step=int(row.step or 0), metric=row.metric, asked=asked
    )


def _say_better(found: Comparison) -> None:
    """Who is better in how many, and where nothing tells the noise."""
    shown: dict[str, int] = {}
    for one in found.differences:
        if one.better:
            shown[one.better] = shown.get(one.better, 0) + 1
    counts = ", ".join(f"{name} is better in {count}" for name, count in shown.items())
    open_ = sum(not one.better for one in found.differences)
    if unknown := sum(one.low is None for one in found.differences):
        say(
            f"{unknown} differences have no interval: nothing tells their noise (--seed, three "
            "scales, answers of runs, or --n for shares)"
        )
    say(f"{counts or 'no difference is shown'}; not shown in {open_} (q ≤ {found.alpha:g})")


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
    from emergectl.analysis.numbers import short
    from emergectl.analysis.plain import as_plain

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
