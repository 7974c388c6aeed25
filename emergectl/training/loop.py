"""The training loop, for every stage: what differs (loss, batches) comes in with the `Job`.

One step: batch of (seed, step) → micro-batches → gradients of the mean over the global batch's
targets → clip → update. Loss and gradient norm are read back at every step, before the update,
because nothing may be updated with numbers that are not finite. Whatever the number of ranks and
micro-batches, the numbers agree up to rounding, and each rank takes every decision (stop, spent,
skip) from the same all-reduced numbers, so that no rank waits for one that has left.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, Protocol, cast

import torch
from torch import nn

from emergectl.config.schema import Experiment
from emergectl.data.feeds import Feed, row_lengths
from emergectl.errors import TrainingError
from emergectl.evaluation.watched import watched_value
from emergectl.models.counting import RowFlops
from emergectl.models.memory import is_out_of_memory
from emergectl.runtime.precision import autocast
from emergectl.runtime.ranks import Ranks, seed_step, without_sync
from emergectl.runtime.stop import StopRequest
from emergectl.store.measurements import Measurement
from emergectl.tasks.objectives.objective import Objective
from emergectl.training.budget import Budget
from emergectl.training.checkpointing import Trained
from emergectl.training.recorder import Recorder, StepResult
from emergectl.training.schedule import is_due, learning_rate_factor

Ending = Literal["done", "early", "stopped"]


class AskTest(Protocol):
    """Measure what is asked once, at the end; False where a stop was asked for meanwhile."""

    def __call__(self, *, anew: bool) -> bool:
        """`anew`: also where an earlier session of the run has done so."""
        ...


@dataclass(frozen=True)
class Job:
    """Everything that a training run needs, assembled."""

    experiment: Experiment
    objective: Objective
    feed: Feed
    budget: Budget
    trained: Trained
    loss_module: nn.Module
    """maps a batch to the sum of its losses; compiled and wrapped for ranks where asked"""
    precision: str
    compiled: bool
    ranks: Ranks
    evaluate: Callable[[], list[Measurement] | None]
    """what is measured of the model as it is; None where a stop was asked for meanwhile"""
    ask_test: AskTest
    flops: RowFlops
    recorder: Recorder
    stop: StopRequest


def train(job: Job) -> Ending:
    """Train until the budget is spent or someone asks to stop; returns why it ended.

    Raises TrainingError where a number is not finite (`train.nan`) or memory does not suffice.
    """
    course = follow(job)
    try:
        next(course)
        while True:
            course.send(take_step(job))
    except StopIteration as end:
        return cast(Ending, end.value)


def follow(job: Job) -> Generator[None, StepResult, Ending]:
    """All that happens around the steps of a run; whoever takes them sends each one's result.

    Returns why the run ended. `done`: the budget is spent. `early`: the watched metric no longer
    improves. `stopped`: a signal came. A checkpoint of the last step is on disk each time. Raises
    TrainingError where what is measured or kept is not finite.
    """
    progress, recorder = job.trained.progress, job.recorder
    seconds_before, began = progress.seconds, time.monotonic()
    # True at the start, and where a stop came in the middle of an evaluation.
    look = progress.looked_at != progress.step
    learnt = False
    spent, stopped = _control(job)
    while True:
        if look and not stopped:
            stopped = not _look(job, final=spent)
        if stopped:
            recorder.checkpoint()
            return "stopped"
        if spent or _is_stale(job):
            recorder.checkpoint()
            if not job.ask_test(anew=learnt):
                return "stopped"
            return "early" if _is_stale(job) else "done"
        recorder.checkpoint_if_due()
        result = yield
        learnt = True
        progress.seconds = seconds_before + time.monotonic() - began
        spent, stopped = _control(job)
        recorder.step(result, final=spent)
        look = True


def take_step(job: Job) -> StepResult:
    """One optimizer step on the batch of `progress.step`, which it then counts up."""
    began = time.perf_counter()
    progress, trained = job.trained.progress, job.trained
    learning_rate = trained.optimizers.set_learning_rate(rate_factor(job))
    loss, tokens, flops = _gradients(job)
    trained.optimizers.check_gradients(trained.model)
    for optimizer in trained.optimizers.all:
        trained.scaler.unscale_(optimizer)
    grad_norm = _clip(trained.optimizers.parameters, job.experiment.optimizer.grad_clip)
    # The scaler meets infinite gradients in its search for a scale, and skips them by itself.
    if math.isfinite(loss) and (math.isfinite(grad_norm) or trained.scaler.is_enabled()):
        for optimizer in trained.optimizers.all:
            trained.scaler.step(optimizer)
        trained.scaler.update()
    else:
        refuse_update(job, loss, grad_norm)
    progress.step += 1
    progress.tokens += tokens
    progress.flops += flops
    seconds = time.perf_counter() - began
    return StepResult(loss, grad_norm, learning_rate, tokens, flops, seconds)


def rate_factor(job: Job) -> float:
    """The learning rate of the step to come, as a share of the peak."""
    progress, budget = job.trained.progress, job.budget
    return learning_rate_factor(
        job.experiment.schedule,
        progress.step,
        total_steps=budget.steps,
        elapsed=budget.elapsed(progress.step, progress.seconds),
    )


def _gradients(job: Job) -> tuple[float, int, float]:
    """Gradients of the global batch; its mean loss, input tokens and FLOPs, over all ranks."""
    progress = job.trained.progress
    size = job.experiment.train.batch_size
    first, last = job.ranks.share(size)
    batch = job.feed.batch(progress.step, size, first, last)
    targets, tokens, flops = job.ranks.sum(
        [job.objective.target_weight(batch), *batch_work(job, batch)]
    )
    while True:
        seed_step(job.experiment.seed, progress.step, job.ranks.rank)
        job.trained.optimizers.zero_grad()
        try:
            # A small batch may have no target at all: then its sum of losses is zero.
            loss = _backward(job, batch, rows=last - first, targets=targets or 1.0)
            return job.ranks.sum([float(loss)])[0], int(tokens), flops
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            _halve_micro_batch(job, error)


def _backward(
    job: Job, batch: dict[str, torch.Tensor], *, rows: int, targets: float
) -> torch.Tensor:
    """Backward passes over the micro-batches; returns this rank's share of the mean loss."""
    micro = job.trained.progress.micro_batch_size
    total = torch.zeros((), device=job.ranks.device)
    for begin in range(0, rows, micro):
        part = {
            name: tensor[begin : begin + micro].to(job.ranks.device, non_blocking=True)
            for name, tensor in batch.items()
        }
        with without_sync(job.loss_module, last=begin + micro >= rows):
            with autocast(job.precision, job.ranks.device):
                loss_sum = job.loss_module(part)
            loss = loss_sum / targets
            # DDP divides by the number of ranks; the mean over targets is taken here already.
            job.trained.scaler.scale(loss * job.ranks.world).backward()
        total += loss.detach()
    return total


def batch_work(job: Job, batch: dict[str, torch.Tensor]) -> tuple[float, float]:
    """Input tokens of a batch, padding left out, and the FLOPs that they take."""
    lengths = row_lengths(batch)
    return float(lengths.sum()), float(job.flops(lengths).sum())


def _clip(parameters: list[nn.Parameter], limit: float | None) -> float:
    """Norm of the gradient over all parameters, which is then clipped to `limit`."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if limit is not None:
        torch.nn.utils.clip_grads_with_norm_(parameters, limit, norm)
    return float(norm)


def refuse_update(job: Job, loss: float, grad_norm: float) -> None:
    """Leave out an update that is not finite, or raise TrainingError, as `train.nan` says."""
    progress, policy = job.trained.progress, job.experiment.train.nan
    what = f"loss {loss}" if not math.isfinite(loss) else f"gradient norm {grad_norm}"
    size = job.experiment.train.batch_size
    where = f"step {progress.step + 1} (rows {progress.step * size}–{(progress.step + 1) * size})"
    allowed = 0 if policy == "stop" else int(policy.split()[1])
    progress.skipped += 1
    if progress.skipped > allowed:
        raise TrainingError(
            f"{what} at {where}: stopped before the update, the last checkpoint is good; "
            "lower optimizer.lr, set train.precision=fp32, or allow some with train.nan='skip 10'"
        )
    job.recorder.message(f"{what} at {where}: update left out ({progress.skipped} of {allowed})")


def _halve_micro_batch(job: Job, error: BaseException) -> None:
    """Try again with half the sequences in a forward pass, where that is ours to choose."""
    progress = job.trained.progress
    automatic = job.experiment.train.micro_batch_size == "auto"
    if not automatic or progress.micro_batch_size == 1 or job.ranks.world > 1:
        smaller = max(1, progress.micro_batch_size // 2)
        advice = (
            "use a smaller model or data.seq_len"
            if progress.micro_batch_size == 1
            else f"set train.micro_batch_size={smaller}"
        )
        raise TrainingError(
            f"out of memory at step {progress.step + 1} with {progress.micro_batch_size} sequences "
            f"in a forward pass; {advice}; the last checkpoint is good"
        ) from error
    progress.micro_batch_size = math.ceil(progress.micro_batch_size / 2)
    if job.ranks.device.type == "cuda":
        torch.cuda.empty_cache()
    job.recorder.message(f"out of memory: micro_batch_size is now {progress.micro_batch_size}")


def _control(job: Job) -> tuple[bool, bool]:
    """(budget spent, stop asked for), the same on every rank."""
    progress = job.trained.progress
    spent = job.ranks.is_main and job.budget.is_spent(progress.step, progress.seconds)
    flags = job.ranks.sum([float(spent), float(job.stop.signum is not None)])
    return flags[0] > 0, flags[1] > 0


def _look(job: Job, *, final: bool) -> bool:
    """Evaluate and keep a snapshot where due; False where a stop came in the middle."""
    step, experiment = job.trained.progress.step, job.experiment
    epoch = Fraction(job.feed.rows, experiment.train.batch_size)
    if is_due(experiment.snapshots.every, step, steps_per_epoch=epoch):
        job.recorder.snapshot()
    measured: list[Measurement] | None = []
    due = is_due(experiment.evaluation.every, step, steps_per_epoch=epoch)
    if final or step == 0 or due:
        measured = job.evaluate()
        if measured is None:
            return False
    job.trained.progress.looked_at = step
    if measured:
        _judge(job, measured)
    return True


def _judge(job: Job, measured: Sequence[Measurement]) -> None:
    """Record an evaluation, and whether it is the best so far."""
    progress, spec = job.trained.progress, job.experiment
    losses = [one for one in measured if one.what.quantity == "loss"]
    broken = [one for one in losses if not math.isfinite(one.value)]
    job.recorder.evaluation(measured)
    if broken and spec.train.nan == "stop":
        raise TrainingError(
            f"{broken[0].name} is {broken[0].value} at step {progress.step}: stopped, the last "
            "checkpoint is good; lower optimizer.lr or set train.precision=fp32"
        )
    value = watched_value(measured, spec.evaluation.best)
    stopping = spec.train.early_stopping
    margin = stopping.min_delta if stopping else 0.0
    best = math.inf if progress.best_value is None else progress.best_value
    if value < best - margin:  # Never so where the value is not a number.
        progress.best_value, progress.best_step = value, progress.step
        progress.evaluations_without_improvement = 0
        if spec.checkpoints.keep_best and progress.step > 0:
            job.recorder.checkpoint()
    else:
        progress.evaluations_without_improvement += 1


def _is_stale(job: Job) -> bool:
    stopping = job.experiment.train.early_stopping
    misses = job.trained.progress.evaluations_without_improvement
    return stopping is not None and misses >= stopping.patience
