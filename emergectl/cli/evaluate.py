"""`eval`: measure a run's checkpoints on its held-out data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emergectl.cli.output import print_json, print_table, say
from emergectl.store.locate import find_run, runs_root


def evaluate(
    run: Annotated[str, typer.Argument(help="A run: id, unique prefix, name, `latest`, or path.")],
    checkpoint: Annotated[
        str, typer.Option(help="last, best, all (snapshots too), or a step.")
    ] = "last",
    json_: Annotated[bool, typer.Option("--json", help="JSON to stdout.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="CSV to stdout.")] = False,
    runs_dir: Annotated[
        Path | None, typer.Option(help="The runs folder (default: $EMERGECTL_RUNS or ./runs).")
    ] = None,
) -> None:
    """Measure a run's checkpoints on held-out data; written to the run's `evals/` and printed."""
    path = find_run(run, runs_root(runs_dir))
    from emergectl.evaluation.checkpoints import evaluate_run

    results = []
    for result in evaluate_run(path, checkpoint, say=say):
        if checkpoint == "all":
            say(f"step {result.step}: {result.held_out}, {result.items} items")
        results.append(result)
    if json_:
        print_json(
            [
                {"step": r.step, "set": r.held_out, "items": r.items, **r.metrics, "path": r.path}
                for r in results
            ]
        )
        return
    names = list(dict.fromkeys(name for result in results for name in result.metrics))
    rows = [[r.step, r.held_out, r.items, *(r.metrics.get(n) for n in names)] for r in results]
    print_table(["step", "set", "items", *names], rows, csv=csv)
    if not csv:
        say(f"written to {path / 'evals'}")
