"""`sweep --dry-run`: the trials of a sweep and what they will cost, before anything is started."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emergectl.cli.output import print_json, print_table, say
from emergectl.cli.progress import format_count, format_duration

if TYPE_CHECKING:
    from emergectl.sweeps.driver import Wishes
    from emergectl.sweeps.estimate import Cost, Estimate
    from emergectl.sweeps.folder import SweepFolder
    from emergectl.sweeps.plan import Plan, Trial


def show_dry_run(plan: Plan, folder: SweepFolder, wishes: Wishes, *, json_: bool) -> None:
    """Measure a trial of each shape here, and print every trial with its costs, and their sum.

    Of a search the lower ends of its space stand for all of its trials.
    """
    from emergectl.sweeps.estimate import estimate
    from emergectl.sweeps.plan import lowest_trial

    trials = plan.trials or (lowest_trial(plan.sweep),)
    times = plan.size // len(trials)
    settled = 0 if plan.trials == () else _settled(folder, plan.trials)
    with tempfile.TemporaryDirectory() as logs:
        found = estimate(
            trials,
            workers=wishes.workers,
            logs=Path(logs),
            times=times,
            ensemble=wishes.ensemble,
        )
    if json_:
        print_json(_plain(plan, found, settled))
        return
    for line in plan.left_out():
        say(line)
    _print_trials(found.costs)
    left = plan.size - settled
    say(
        f"{plan.name}: {plan.size:,} trials ({settled:,} done), {found.flops:.2e} FLOPs, "
        f"{format_count(found.bytes)}B of disk"
    )
    processes = f"{found.workers} worker{'s' if found.workers > 1 else ''} on {found.device}"
    seconds = found.seconds * left / plan.size
    asking = "" if plan.asks is None else "; asking (`evaluate:`) is not counted"
    say(f"about {format_duration(seconds)} for what is left, with {processes}{asking}")


def _settled(folder: SweepFolder, trials: Sequence[Trial]) -> int:
    from emergectl.sweeps.folder import SETTLED

    return sum(folder.look(trial.id).state in SETTLED for trial in trials)


def _print_trials(costs: Sequence[Cost]) -> None:
    keys = list(dict.fromkeys(key for cost in costs for key in cost.trial.values))
    columns = ["trial", *keys, "parameters", "steps", "tokens", "FLOPs", "time", "disk"]
    rows = [
        [
            cost.trial.id[:12],
            *(cost.trial.values.get(key) for key in keys),
            format_count(cost.parameters),
            cost.steps,
            None if cost.tokens is None else format_count(cost.tokens),
            None if cost.flops is None else f"{cost.flops:.2e}",
            format_duration(cost.seconds),
            f"{format_count(cost.bytes)}B",
        ]
        for cost in costs
    ]
    print_table(columns, rows)


def _plain(plan: Plan, found: Estimate, settled: int) -> dict[str, Any]:
    trials = [
        {
            "trial": cost.trial.id,
            "values": dict(cost.trial.values),
            "parameters": cost.parameters,
            "non_embedding_parameters": cost.non_embedding_parameters,
            "steps": cost.steps,
            "tokens": cost.tokens,
            "flops": cost.flops,
            "seconds": cost.seconds,
            "bytes": cost.bytes,
        }
        for cost in found.costs
    ]
    return {
        "sweep": plan.name,
        "size": plan.size,
        "done": settled,
        "workers": found.workers,
        "device": found.device,
        "flops": found.flops,
        "bytes": found.bytes,
        "seconds": found.seconds * (plan.size - settled) / plan.size,
        "trials": trials,
    }
