"""What a person sees when a run is over: its picture, a chart in the terminal, one line a skill."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from emergectl.cli.output import print_json, say, use_color
from emergectl.store.metrics_log import read_metrics
from emergectl.store.run import read_facts
from emergectl.store.status import read_status


def show_outcome(run: Path) -> None:
    """Print the run's path; draw `report/curves.png` and say where each ability appears."""
    print(run, flush=True)
    facts = read_facts(run)
    chance: dict[str, float] = facts.get("chance") or {}
    records = list(read_metrics(run / "metrics.jsonl"))
    if not any("/" in name for record in records for name in record):
        return
    from emergectl.reports.ability import ability_line
    from emergectl.reports.curves import draw_curves, terminal_curves

    picture = run / "report" / "curves.png"
    picture.parent.mkdir(exist_ok=True)
    draw_curves(records, picture, title=str(facts["name"]), chance=chance)
    if chance or sys.stderr.isatty():
        width = min(100, shutil.get_terminal_size().columns)
        color = use_color(sys.stderr)
        say(terminal_curves(records, width=width, color=color, chance=chance))
    for name, level in chance.items():
        points = [(record["step"], record[name]) for record in records if name in record]
        steps, values = zip(*points, strict=True)
        say(ability_line(name, steps, values, chance=level))
    say(f"picture: {picture}")


def print_outcome(run: Path) -> None:
    """Print how a run stands and its last metrics as one JSON object."""
    last: dict[str, object] = {}
    for record in read_metrics(run / "metrics.jsonl"):
        last |= record
    state = read_status(run).state
    print_json({"run": run.name, "path": run, "state": state, "metrics": last})
