"""`emergectl analyze`: what a table of results says, with the error rates of what is said."""

from __future__ import annotations

import sys
import time
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated

import typer

from emergectl.cli import analyze_runs
from emergectl.cli.forecast import forecast
from emergectl.cli.output import print_json, print_table, say
from emergectl.cli.tables import TableSource, axis_of, progress, read_source, reads_tables, tell
from emergectl.errors import RequestError

if TYPE_CHECKING:
    from emergectl.analysis.calibration import Rate
    from emergectl.analysis.scaling import ScalingFinding
    from emergectl.analysis.table import Table, TableRow

app = typer.Typer(
    help="Judge whether abilities emerge; measure how often the judgement errs.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.command()(analyze_runs.compare)
app.command()(analyze_runs.order)
app.command()(analyze_runs.noise)
app.command()(reads_tables(forecast))


@app.command()
@reads_tables
def emergence(
    source: TableSource,
    alpha: Annotated[
        float, typer.Option(min=1e-6, max=0.5, help="False discoveries among emergent verdicts.")
    ] = 0.05,
    margin: Annotated[
        float, typer.Option(min=1e-6, max=0.5, help="How near to chance a rate is flat.")
    ] = 0.05,
    sharp: Annotated[
        float,
        typer.Option(
            min=0.01, max=10, help="Decades of training compute below which a rise is sharp."
        ),
    ] = 1.0,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    json_: Annotated[bool, typer.Option("--json", help="JSON to stdout.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="CSV to stdout.")] = False,
) -> None:
    """Say of every ability whether it emerges, where, and how surely.

    emergent: at chance below, above it at the largest scales, its rise sharp, and so in a
    continuous metric of the same outputs. metric-made: sharp in the discontinuous metric alone.
    gradual: at chance below, not sharp. smooth: it rises, not sharply. non-monotone: it rises and
    falls. flat: nothing tells it from chance. undetermined: none of these is shown.
    """
    if json_ and csv:
        raise RequestError("--json and --csv exclude each other")
    table = read_source(source)

    from emergectl.analysis.examine import examine
    from emergectl.analysis.table_curves import curves_of
    from emergectl.analysis.verdict import judge
    from emergectl.cli.findings import (
        NARROW,
        ROW,
        as_narrow_row,
        as_row,
        explain_findings,
        show_plots,
    )

    axis = axis_of(source, table)
    curves = curves_of(table, axis)
    tell(table)
    if not curves:
        raise RequestError(f"no row has a place on the axis {axis}")
    judged = judge(
        curves,
        alpha=alpha,
        margin=margin,
        sharp_decades=sharp,
        workers=workers,
        progress=progress("judged"),
    )
    findings = examine(
        table,
        judged,
        alpha=alpha,
        margin=margin,
        sharp_decades=sharp,
        workers=workers,
        progress=progress("examined"),
    )
    if json_:
        print_json(findings.to_json())
        return
    if sys.stdout.isatty() and not csv:
        print_table(NARROW, [as_narrow_row(ability, findings) for ability in findings.abilities])
        show_plots(findings)
    else:
        print_table(ROW, [as_row(ability, findings) for ability in findings.abilities], csv=csv)
    if not csv:
        explain_findings(findings)
        counts = ", ".join(f"{count} {word}" for word, count in findings.counts.items())
        say(f"{counts} over {findings.over} (alpha {alpha:g})")


@app.command()
@reads_tables
def scaling(
    source: TableSource,
    drop_highest: Annotated[
        int, typer.Option(min=0, metavar="N", help="Leave out the N runs of the highest loss.")
    ] = 0,
    draws: Annotated[int, typer.Option(min=100, help="Bootstrap samples.")] = 1000,
    delta: Annotated[
        float, typer.Option(min=1e-9, max=10, help="Huber loss: quadratic up to here, in log loss.")
    ] = 1e-3,
    json_: Annotated[bool, typer.Option("--json", help="JSON to stdout.")] = False,
) -> None:
    """Fit loss = E + A / params^alpha + B / tokens^beta, and isoFLOP parabolas.

    A row is a run: params, loss, and tokens or flops (6 · params · tokens); where steps are told,
    the last of each run counts (a run is a --model and a --seed). With --group every group has a
    law of its own. Huber loss on log loss, errors by bootstrap over runs.
    """
    from emergectl.analysis.plain import as_plain
    from emergectl.analysis.table_curves import count_shown

    table = read_source(source)
    tell(table)
    count = count_shown(table.rows)
    grouped = source.options.get("group") is not None
    _tell_runs(table.rows)
    laws = _laws(table, grouped=grouped, drop_highest=drop_highest, draws=draws, delta=delta)
    if json_:
        plain = {group: as_plain(law) for group, law in laws.items()}
        said = plain[""] if list(plain) == [""] else {"groups": plain}
        print_json({"parameter_count": count or "as given", **said})
        return
    groups = ["group"] if list(laws) != [""] else []
    rows = [
        [group] * len(groups)
        + [name, *(float(f"{v:.6g}") for v in (p.value, p.low, p.high, p.standard_error))]
        for group, law in laws.items()
        for name, p in law.parameters.items()
    ]
    print_table([*groups, "parameter", "value", "low", "high", "standard error"], rows)
    for group, law in laws.items():
        _say_law(law, count, f"{group}: " if group else "")


def _tell_runs(rows: list[TableRow]) -> None:
    """Say what counts as a run where steps are told and nothing tells whose they are."""
    steps = [row for row in rows if row.step is not None and row.loss is not None]
    if any(not (row.model or row.seed or (row.record or {}).get("run")) for row in steps):
        say("no column tells whose steps these are: every row is a run (--model or --seed tells)")


def _laws(
    table: Table, *, grouped: bool, drop_highest: int, draws: int, delta: float
) -> dict[str, ScalingFinding]:
    """One law of all runs, or one of each group; a group that tells none is said."""
    import numpy as np

    from emergectl.analysis.scaling import judge_scaling, runs_of_law

    groups: dict[str, list[TableRow]] = {}
    for row in table.rows:
        groups.setdefault(row.group if grouped else "", []).append(row)
    laws, reasons = {}, []
    for group, rows in groups.items():
        try:
            runs = np.stack(runs_of_law(rows))
            lowest = np.argsort(runs[-1], kind="stable")[: runs.shape[1] - drop_highest]
            params, tokens, flops, loss = runs[:, lowest]
            rng = np.random.default_rng(0)
            laws[group] = judge_scaling(params, tokens, flops, loss, rng, draws=draws, delta=delta)
        except ValueError as error:
            reasons.append(f"{group}: {error}" if group else str(error))
    if not laws:
        raise RequestError("; ".join(reasons))
    for reason in reasons:
        say(f"no law for {reason}")
    return laws


def _say_law(law: ScalingFinding, count: str, of: str) -> None:
    from emergectl.analysis.findings import axis_in_words

    params = axis_in_words("params", count)
    say(f"{of}{law.formula}: {law.runs} runs, objective {law.objective:.6g}; params: {params}")
    say(
        f"{of}compute-optimal: params ∝ FLOPs^{law.parameters['params_exponent'].value:.3f}, "
        f"tokens ∝ FLOPs^{law.tokens_exponent:.3f}"
    )
    budgets = law.isoflop
    inside = sum(optimum.inside for optimum in budgets.optima)
    if budgets.exponent is not None:
        say(
            f"{of}isoFLOP parabolas ({inside} budgets): params ∝ "
            f"FLOPs^{budgets.exponent:.3f}; {budgets.caution}"
        )
    elif budgets.optima:
        say(
            f"{of}isoFLOP parabolas: {inside} of {len(budgets.optima)} budgets have their lowest "
            "point within the sizes tried; an exponent takes two"
        )


@app.command()
def calibrate(
    trials: Annotated[int, typer.Option(min=10, help="Simulated abilities of each claim.")] = 400,
    only: Annotated[
        str | None, typer.Option(metavar="PATTERN", help="Claims whose name has this in it (* ?).")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the simulation.")] = 0,
    rungs: Annotated[
        int | None, typer.Option(min=5, max=40, help="Rungs (default: what is promised for).")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, max=100, help="Seeds at each rung.")] = None,
    items: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="Items that each seed answers.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    json_: Annotated[bool, typer.Option("--json", help="JSON to stdout.")] = False,
) -> None:
    """Measure the error rates of the verdicts on simulated abilities; exit 1 where one is off.

    Each rate stands with its 95% interval (Wilson) beside what is promised: it holds, is broken, or
    open where the trials are too few to tell. With --rungs, --seeds, --items: those of a ladder
    such as yours, before it is trained. Breaks found is then what it is, not a promise.
    """
    from emergectl.analysis.calibration import Ladder, measure
    from emergectl.analysis.conditions import CLAIMS

    pattern = f"*{(only or '').lower()}*"
    claims = [claim for claim in CLAIMS if fnmatchcase(claim.name.lower(), pattern)]
    if not claims:
        kinds = "; ".join(dict.fromkeys(claim.name.partition(":")[0] for claim in CLAIMS))
        raise RequestError(f"--only {only}: no claim is called so; they begin with: {kinds}")
    rates: list[Rate] = []
    started = time.monotonic()
    ladder = Ladder(rungs, seeds, items)
    for said in measure(claims, trials=trials, seed=seed, ladder=ladder, jobs=jobs):
        rates += said.rates
        left = (time.monotonic() - started) * (1 / said.done - 1)
        after = f" ({left / 60:.0f} minutes left)" if left >= 60 else ""
        for rate in said.rates:
            say(f"{_as_line(rate)}{after}")
    header = ["what", "rate", "count", "trials", "low", "high", "promised", "state"]
    rows = [
        [
            *(rate.name, _rounded(rate.rate), rate.count, rate.trials),
            *map(_rounded, rate.interval),
            *(rate.promise.in_words, rate.state),
        ]
        for rate in rates
    ]
    print_table(header, rows, json_=json_)
    if any(rate.state == "broken" for rate in rates):
        raise typer.Exit(1)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _as_line(rate: Rate) -> str:
    if rate.rate is None:
        return f"{rate.name}: never came up"
    low, high = rate.interval
    promised = f"; promised {rate.promise.in_words}: {rate.state}" if rate.state else ""
    return f"{rate.name}: {rate.rate:.3f} [{low:.3f}, {high:.3f}] of {rate.trials}{promised}"
