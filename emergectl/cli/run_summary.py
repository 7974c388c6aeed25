"""What a person sees when a run is over: its picture, a chart in the terminal, one line a skill."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from emergectl.cli.output import print_json, say, use_color
from emergectl.store.measurements import Measurement
from emergectl.store.metrics_log import read_metrics
from emergectl.store.rows import rows_of_run
from emergectl.store.run import read_facts
from emergectl.store.status import read_status


def show_outcome(run: Path) -> None:
    """Print the run's path; draw `report/curves.png` and say where each ability appears."""
    print(run, flush=True)
    facts = read_facts(run)
    from emergectl.evaluation.metrics import metric_facts

    measured = [row.measurement for row in rows_of_run(run, metric_facts)]
    if not measured:
        return
    from emergectl.reports.appearance import ability_line
    from emergectl.reports.curves import draw_curves, terminal_curves

    picture = run / "report" / "curves.png"
    picture.parent.mkdir(exist_ok=True)
    records = list(read_metrics(run / "metrics.jsonl"))
    draw_curves(records, measured, picture, title=str(facts["name"]))
    by_name: dict[str, list[Measurement]] = {}
    for one in measured:
        if one.chance is not None and one.group is None and one.what.direction == "up":
            by_name.setdefault(f"{one.task}/{one.metric}", []).append(one)
    if by_name or sys.stderr.isatty():
        width = min(100, shutil.get_terminal_size().columns)
        color = use_color(sys.stderr)
        say(terminal_curves(records, measured, width=width, color=color))
    for name, each in by_name.items():
        steps, values = [one.step or 0 for one in each], [one.value for one in each]
        level, called = each[0].floor or (None, "chance")
        say(ability_line(name, steps, values, chance=level, called=called))
    say(f"picture: {picture}")


def print_outcome(run: Path) -> None:
    """Print how a run stands, its last metrics and what is to be known of its data, as one JSON
    object."""
    last: dict[str, object] = {}
    for record in read_metrics(run / "metrics.jsonl"):
        last |= record
    state = read_status(run).state
    notes = (read_facts(run).get("data") or {}).get("warnings", [])
    print_json({"run": run.name, "path": run, "state": state, "metrics": last, "notes": notes})
