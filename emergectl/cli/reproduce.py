"""`emergectl reproduce`: published results measured again, row by row, in their bands or not."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from emergectl.cli.output import print_json, print_table, say
from emergectl.errors import EmergectlError, RequestError

EXPERIMENT_NAMES = (
    *("chinchilla-refit", "powerlaw-tails", "pythia-lambada", "datadecide", "polypythias"),
    *("induction-heads", "grokking", "shakespeare-char", "gpt2-flops"),
)


def reproduce(
    name: Annotated[
        str, typer.Argument(metavar="|".join(EXPERIMENT_NAMES), help="What to reproduce.")
    ],
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the data files are, if it needs any.")
    ] = None,
    runs_dir: Annotated[Path | None, typer.Option(metavar="DIR", help="Where runs go.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="JSON to stdout.")] = False,
) -> None:
    """Measure a published result again; exit 1 where ours lies outside its band.

    What trains (grokking, induction-heads, shakespeare-char) leaves its runs in the runs directory;
    the same command again goes on with them, and takes what is done.
    """
    from emergectl.reports.reproduce import EXPERIMENTS, measure_again

    if data is not None and not data.is_dir():
        raise RequestError(f"--data {data}: no such folder")

    def train(shipped: str, fields: Mapping[str, object]) -> Path:
        return _train(shipped, fields, runs_dir)

    rows = measure_again(name, data=data, train=train)
    header = ["what", "published", "ours", "from", "to", "inside"]
    cells = [[r.what, r.published, r.ours, r.low, r.high, r.inside] for r in rows]
    if json_:
        print_json([dict(zip(header, row, strict=True)) for row in cells])
    else:
        shown = [[_digits(cell) for cell in row] for row in cells]
        print_table(header, shown)
        out = sum(not row.inside for row in rows)
        outside = f"{out} of {len(rows)} outside" if out else f"all {len(rows)} inside"
        say(f"{name} ({EXPERIMENTS[name].about}): {outside}")
    if not all(row.inside for row in rows):
        raise typer.Exit(1)


def _digits(cell: object) -> object:
    """Large numbers whole, others as they are."""
    if isinstance(cell, int | float) and not isinstance(cell, bool) and abs(cell) >= 1e5:
        return f"{cell:,.0f}"
    return cell


def _train(shipped: str, fields: Mapping[str, object], runs_dir: Path | None) -> Path:
    """Train a shipped experiment, or go on with it, or take the run that has done it."""
    from emergectl.cli.train import train_here
    from emergectl.config.experiment import load_experiment
    from emergectl.config.shipped import find_shipped
    from emergectl.runtime.select_run import Request, choose_run
    from emergectl.runtime.stop import StopRequest
    from emergectl.store.locate import runs_root

    stop = StopRequest()
    stop.install()
    overrides = [f"{key}={value}" for key, value in fields.items()]
    loaded = load_experiment(find_shipped(shipped), overrides)
    request = Request(runs_root(runs_dir), loaded, "auto", None, sys.argv)
    choice = choose_run(request)
    if choice.is_done and choice.existing is not None:
        say(f"{choice.existing.name} is done already")
        return choice.existing
    run = train_here(request, choice, stop, quiet=False)
    if run is None:
        raise EmergectlError("only the first of several ranks has the run")
    return run
