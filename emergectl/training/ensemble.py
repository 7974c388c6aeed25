"""Several runs trained as one: each keeps its own course, the steps are taken together.

What a run does between its steps (looks, checkpoints, lines, its end) is `loop.follow`, the same
as alone. Runs go together that have models of one shape, plainly causal and without dropout, stand
at the same step and train with AdamW; a run that none goes with is trained alone. One that ends,
by its budget, an error or a number that is not finite, leaves the others to go on.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, cast

import torch
from torch import nn

from emergectl.config.schema import Experiment
from emergectl.models.forward import attends_plainly
from emergectl.models.memory import is_out_of_memory
from emergectl.runtime.ranks import Ranks
from emergectl.tasks.objectives.objective import TokenObjective
from emergectl.training.autotune import Arithmetic
from emergectl.training.loop import (
    Ending,
    Job,
    batch_work,
    follow,
    rate_factor,
    refuse_update,
    take_step,
)
from emergectl.training.recorder import StepResult
from emergectl.training.stack import Stack

Course = Generator[None, StepResult, Ending]
MemberOutcome = Ending | Exception


def arithmetic_of_members(experiment: Experiment, ranks: Ranks) -> Mapping[str, Any] | None:
    """What `auto` means for a run that may be trained with others, for `Session.decided`.

    None where something is asked for that only a run alone can have.
    """
    spec = experiment.train
    if spec.compile is True or spec.precision == "fp16" or spec.micro_batch_size != "auto":
        return None
    precision = spec.precision
    if precision == "auto":
        on_gpu = ranks.device.type == "cuda" and torch.cuda.is_bf16_supported()
        precision = "bf16" if on_gpu else "fp32"
    return asdict(Arithmetic(precision, compile=False, micro_batch_size=spec.batch_size))


def train_together(jobs: Mapping[int, Job]) -> Iterator[tuple[int, MemberOutcome]]:
    """Train jobs to their ends; the key of each, when it is over, and how it ended or failed."""
    packs: dict[str, dict[int, Job]] = {}
    for key, job in jobs.items():
        packs.setdefault(kind_of_job(job) or f"alone {key}", {})[key] = job
    for pack in packs.values():
        yield from _train_pack(pack)


def kind_of_job(job: Job) -> str | None:
    """What two jobs have in common that can be trained as one; None for one that goes alone."""
    experiment, model = job.experiment, job.trained.model
    config = model.config
    alone = (
        job.ranks.world > 1
        or job.objective.head != "causal"
        or not (isinstance(job.objective, TokenObjective) and job.objective.is_cross_entropy)
        or not attends_plainly(model.base_model.config)
        or experiment.optimizer.name != "adamw"
        or job.precision not in ("fp32", "bf16")
        or job.compiled
        or job.trained.progress.micro_batch_size < experiment.train.batch_size
        or any(isinstance(module, nn.Dropout) and module.p > 0 for module in model.modules())
        or getattr(config, "attention_dropout", 0.0) > 0
        or not all(parameter.requires_grad for parameter in model.parameters())
    )
    if alone:
        return None
    shapes = [(name, *parameter.shape) for name, parameter in model.named_parameters()]
    common = [
        config.to_dict(),
        shapes,
        job.trained.progress.step,
        experiment.train.batch_size,
        experiment.optimizer.eps,
        experiment.optimizer.grad_clip,
        job.objective.label_smoothing,
        job.precision,
    ]
    return json.dumps(common, sort_keys=True, default=str)


def _train_pack(pack: Mapping[int, Job]) -> Iterator[tuple[int, MemberOutcome]]:
    courses: dict[int, Course] = {key: follow(job) for key, job in pack.items()}
    active: list[int] = []
    for key, course in courses.items():
        outcome = _advance(course, None)
        if outcome is None:
            active.append(key)
        else:
            yield key, outcome
    while active:
        together = len(active) > 1
        try:
            stack = Stack([pack[key] for key in active]) if together else None
            results = _steps(stack, {key: pack[key] for key in active})
            while True:
                outcomes = {k: _heed(courses[k], result) for k, result in next(results).items()}
                if any(outcome is not None for outcome in outcomes.values()):
                    break
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not (together and is_out_of_memory(error)):
                raise
            outcomes = {}
            for key in active:
                pack[key].recorder.message("out of memory as an ensemble: going on alone")
                yield from _alone(key, pack[key], courses[key])
            return
        for key, outcome in outcomes.items():
            if outcome is not None:
                active.remove(key)
                yield key, outcome


def _alone(key: int, job: Job, course: Course) -> Iterator[tuple[int, MemberOutcome]]:
    """Take one job to its end."""
    outcome: MemberOutcome | None = None
    while outcome is None:
        try:
            result: StepResult | Exception = take_step(job)
        except Exception as error:
            result = error
        outcome = _heed(course, result)
    yield key, outcome


def _steps(
    stack: Stack | None, jobs: Mapping[int, Job]
) -> Iterator[dict[int, StepResult | Exception]]:
    """The results of step after step of all jobs; what one of them fails of is its result."""
    while True:
        if stack is not None:
            results = take_steps(stack, list(jobs.values()))
            yield dict(zip(jobs, results, strict=True))
            continue
        ((key, job),) = jobs.items()
        try:
            yield {key: take_step(job)}
        except Exception as error:
            yield {key: error}


def take_steps(stack: Stack, jobs: Sequence[Job]) -> list[StepResult | Exception]:
    """One optimizer step of every member of a stack, as `loop.take_step` takes one alone."""
    began = time.perf_counter()
    experiment = jobs[0].experiment
    size, limit = experiment.train.batch_size, experiment.optimizer.grad_clip
    batches = [job.feed.batch(job.trained.progress.step, size, 0, size) for job in jobs]
    targets = [
        job.objective.target_weight(batch) or 1.0 for job, batch in zip(jobs, batches, strict=True)
    ]
    losses = stack.gradients(batches, targets)
    norms = stack.gradient_norms()
    if limit is not None:
        stack.clip(norms, limit)
    numbers = torch.stack([losses, norms.to(losses.dtype)]).tolist()
    rates = [job.experiment.optimizer.lr * rate_factor(job) for job in jobs]
    good = [
        row for row, pair in enumerate(zip(*numbers, strict=True)) if all(map(math.isfinite, pair))
    ]
    stack.update(rates, good)
    seconds = time.perf_counter() - began
    results: list[StepResult | Exception] = []
    for row, (job, loss, norm) in enumerate(zip(jobs, *numbers, strict=True)):
        tokens, flops = batch_work(job, batches[row])
        result = StepResult(loss, norm, rates[row], int(tokens), flops, seconds)
        results.append(_counted(job, result, row in good))
    return results


def _counted(job: Job, result: StepResult, is_good: bool) -> StepResult | Exception:
    """Count a step into its job; the error where the update may not be left out."""
    if not is_good:
        try:
            refuse_update(job, result.loss, result.grad_norm)
        except Exception as error:
            return error
    job.trained.progress.step += 1
    job.trained.progress.tokens += result.tokens
    job.trained.progress.flops += result.flops
    return result


def _heed(course: Course, result: StepResult | Exception) -> MemberOutcome | None:
    """Give a run the result of its step; how it ended, if it did."""
    if isinstance(result, Exception):
        course.close()
        return result
    return _advance(course, result)


def _advance(course: Course, result: StepResult | None) -> MemberOutcome | None:
    try:
        course.send(cast(StepResult, result))
    except StopIteration as end:
        return cast(Ending, end.value)
    except Exception as error:
        return error
    return None
