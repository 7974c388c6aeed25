"""Whether an ensemble pays: tokens per second of a trial alone, and of many as one, measured.

What was found is kept per machine, number of threads and kind of trial, so that the next start
need not measure again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from emergectl.config.schema import Experiment
from emergectl.data.files import cache_root
from emergectl.models.memory import is_out_of_memory
from emergectl.runtime.listeners import ListenerGroup
from emergectl.runtime.ranks import join_ranks
from emergectl.runtime.stop import StopRequest
from emergectl.store.atomic import write_json
from emergectl.sweeps.ensembles import kind_of
from emergectl.training.autotune import device_name
from emergectl.training.ensemble import arithmetic_of_members, kind_of_job, take_steps
from emergectl.training.loop import Job, take_step
from emergectl.training.recorder import StepResult
from emergectl.training.session import Session, prepare_job
from emergectl.training.stack import Stack

_STEPS = 5
"""measured, after one that warms up; the fastest counts, since a neighbour can only slow one"""


def weigh(experiment: Experiment, sizes: Sequence[int]) -> dict[int, float]:
    """Tokens per second by number of members, 1 first; larger sizes are left out once they lose.

    Raises RequestError and its kin for what cannot be prepared.
    """
    ranks = join_ranks(experiment.train)
    kept = _memory_of(experiment, sizes, ranks.device)
    if kept.exists():
        return {int(size): rate for size, rate in json.loads(kept.read_text("utf-8")).items()}
    session = Session(
        run=None,
        ranks=ranks,
        listener=ListenerGroup([]),
        stop=StopRequest(),
        decided=arithmetic_of_members(experiment, ranks),
    )
    jobs = [prepare_job(experiment, session)]
    rates = {1: _rate([take_step(jobs[0]) for _ in range(_STEPS + 1)])}
    if kind_of_job(jobs[0]) is None:
        return rates
    for size in sorted(sizes):
        while len(jobs) < size:
            other = experiment.model_copy(update={"seed": experiment.seed + len(jobs)})
            jobs.append(prepare_job(other, replace(session)))
        try:
            rates[size] = _rate_together(jobs)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            break
        if rates[size] < max(rates.values()):
            break
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_json(kept, {str(size): rate for size, rate in rates.items()})
    return rates


def _rate_together(jobs: Sequence[Job]) -> float:
    for job in jobs:  # The first is some steps ahead; members stand at one.
        job.trained.progress.step = 0
    stack = Stack(jobs)
    results: list[StepResult] = []
    for _ in range(_STEPS + 1):
        for result in take_steps(stack, jobs)[:1]:
            if isinstance(result, Exception):
                raise result
            results.append(result)
    return _rate(results) * len(jobs)


def _rate(results: Sequence[StepResult]) -> float:
    best = min(results[1:], key=lambda result: result.seconds / max(1, result.tokens))
    return best.tokens / best.seconds


def _memory_of(experiment: Experiment, sizes: Sequence[int], device: torch.device) -> Path:
    parts = {
        "torch": torch.__version__,
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "kind": kind_of(experiment),
        "sizes": list(sizes),
    }
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
    return cache_root() / "ensembles" / f"{key}.json"
