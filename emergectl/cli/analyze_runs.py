"""`emergectl analyze compare`, `order` and `noise`: runs and groups of models beside each other."""

from __future__ import annotations

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
        [p.first, p.second, p.abilities, *_rounded(p.rho), float(f"{p.p:.2g}")]
        for p in pairs[:MOST_PAIRS]
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


def _rounded(found: Interval, digits: int = 3) -> list[float]:
    return [float(f"{v:.{digits}g}") for v in (found.value, found.low, found.high)]
