"""A sweep from its checked file to its end, here or in jobs of a cluster."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from emergectl.cli.output import say
from emergectl.errors import EmergectlError, InterruptedRunError, PreemptedError, RequestError

if TYPE_CHECKING:
    from emergectl.sweeps.driver import SweepOutcome, Wishes
    from emergectl.sweeps.folder import Planned, SweepFolder
    from emergectl.sweeps.plan import Plan

SOME_FAILED = 3


def launch_jobs(
    plan: Plan,
    folder: SweepFolder,
    file: Path,
    overrides: Sequence[str],
    wishes: Wishes,
    jobs: int,
) -> None:
    """Submit the jobs that are missing, each of which runs this very sweep."""
    from emergectl.sweeps.slurm import launch

    arguments = ["sweep", str(file.absolute()), *overrides, "--runs-dir", str(folder.root)]
    arguments += ["--retry", str(wishes.retry)]
    arguments += ["--workers", str(wishes.workers)] if wishes.workers is not None else []
    arguments += ["--fail-fast"] if wishes.fail_fast else []
    new = launch(folder, arguments, jobs=min(jobs, plan.size))
    for job in new:
        print(job)
    say(f"{len(new):,} jobs submitted; {min(jobs, plan.size) - len(new):,} there already")


def drive(
    plan: Plan, folder: SweepFolder, wishes: Wishes, stop: Any, *, json_: bool
) -> SweepOutcome:
    """Tell what has changed since the last start, and run what is missing."""
    from dataclasses import replace

    from emergectl.cli.sweep_display import open_sweep_display
    from emergectl.sweeps.claims import Claims
    from emergectl.sweeps.driver import Driver
    from emergectl.sweeps.work import GridWork, Work

    search = plan.sweep.spec.search
    work: Work
    if search is None:
        work = GridWork(plan, folder, sys.argv)
        judged = None
    else:
        from emergectl.sweeps.plan import search_direction
        from emergectl.sweeps.search import SearchWork

        judged = (search.metric, search_direction(search))
        work = SearchWork(plan, folder, sys.argv)
    for line in _changes(plan, folder, work.planned()):
        say(line)
        folder.log(line)
    folder.write_plan(plan.sweep.path, work.planned(), judged)
    if plan.trials and all(trial.experiment.train.device == "cpu" for trial in plan.trials):
        wishes = replace(wishes, device="cpu")
    claims = Claims(folder.path / "claims")
    claims.tidy()
    folder.tidy(claims.owners())
    watcher = open_sweep_display(plan, work.planned(), silent=json_)
    try:
        return Driver(work, folder, claims, wishes=wishes, stop=stop, watcher=watcher).run()
    finally:
        watcher.close()


def _changes(plan: Plan, folder: SweepFolder, planned: Sequence[Planned]) -> list[str]:
    """What is to be said before a sweep begins: what is left out, and what differs from before."""
    lines = plan.left_out()
    recovered = folder.recover()
    if recovered:
        lines.append(f"{recovered:,} trials found again by their runs")
    try:
        before = {each.key for each in folder.read_plan()}
    except RequestError:
        return lines
    now = {each.key for each in planned}
    if added := len(now - before):
        lines.append(f"the sweep has changed: {added:,} trials added")
    if dropped := len(before - now):
        lines.append(
            f"the sweep has changed: {dropped:,} trials dropped; their runs stay, and count no more"
        )
    return lines


def summary_of(folder: SweepFolder, outcome: SweepOutcome) -> dict[str, Any]:
    from emergectl.sweeps.folder import count_states

    failed = [
        {"trial": key, "run": s.record.run if s.record else None, "reason": s.reason}
        for key, s in outcome.standings.items()
        if s.state == "failed"
    ]
    states = count_states(outcome.standings.values())
    return {"sweep": folder.name, "path": folder.path, "trials": states, "failed": failed}


def end_as(folder: SweepFolder, outcome: SweepOutcome, was_keyboard: bool) -> None:
    """Raise what the exit code says."""
    from emergectl.sweeps.folder import SETTLED

    standings = outcome.standings.values()
    failed = sum(standing.state == "failed" for standing in standings)
    if outcome.failed_fast:
        raise EmergectlError(f"{folder.name}: stopped at the first failure")
    if outcome.stopped:
        done = sum(standing.state in SETTLED for standing in standings)
        kind = InterruptedRunError if was_keyboard else PreemptedError
        of = f"{done:,} of {len(outcome.standings):,} trials are done"
        raise kind(f"{folder.name}: {of}; start again to go on")
    if failed:
        say(f"{failed:,} trials failed; `emergectl sweep status {folder.name}` says why")
        raise typer.Exit(SOME_FAILED)
