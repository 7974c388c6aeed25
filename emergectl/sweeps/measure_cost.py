"""What a trial will cost, measured: a few of its steps and one evaluation, on this device."""

from __future__ import annotations

import time
from typing import Any

import torch

from emergectl.config.schema import Experiment
from emergectl.runtime.listeners import ListenerGroup
from emergectl.runtime.ranks import join_ranks
from emergectl.runtime.stop import StopRequest
from emergectl.training.loop import Job, take_step
from emergectl.training.session import Session, prepare_job

_STEPS = 6
"""measured, after one that warms up"""
SECONDS = 5.0
"""after which no further step is measured"""


def probe(experiment: Experiment) -> dict[str, Any]:
    """Parameters, FLOPs, steps, seconds of a step and of an evaluation, as plain data.

    `steps` is None where the budget is wall time alone. Raises RequestError and its kin for what
    cannot be prepared.
    """
    began = time.perf_counter()
    ranks = join_ranks(experiment.train)
    session = Session(run=None, ranks=ranks, listener=ListenerGroup([]), stop=StopRequest())
    job = prepare_job(experiment, session)
    prepared = time.perf_counter() - began
    recorder, size = job.recorder, experiment.train.batch_size
    return {
        "parameters": recorder.parameters.total,
        "non_embedding_parameters": recorder.parameters.non_embedding,
        "flops_per_step": size * job.feed.mean_over_rows(job.flops),
        "tokens_per_step": size * job.feed.mean_over_rows(lambda lengths: lengths),
        "rows_per_epoch": job.feed.rows,
        "steps": job.budget.steps,
        "budget_seconds": job.budget.seconds,
        "prepare_seconds": prepared,
        "step_seconds": _step_seconds(job),
        "evaluation_seconds": _evaluation_seconds(job),
        "device": str(ranks.device),
    }


def _step_seconds(job: Job) -> float:
    """The median of some steps."""
    take_step(job)
    times: list[float] = []
    while len(times) < _STEPS and sum(times) < SECONDS:
        times.append(take_step(job).seconds)
    return sorted(times)[len(times) // 2]


def _evaluation_seconds(job: Job) -> float:
    began = time.perf_counter()
    job.evaluate()
    if job.ranks.device.type == "cuda":
        torch.cuda.synchronize(job.ranks.device)
    return time.perf_counter() - began
