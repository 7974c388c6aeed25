"""What can go wrong in a training process, planted in it from outside after the fork.

Kills and signals come at calls to the system that change files, counted or named; broken numbers
and lack of memory come from wrapped functions of the loop. Nothing in the package knows of this.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import os
import resource
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from emergectl.store.measurements import Measurement

CALLS = ("mkdir", "rename", "replace", "fsync", "unlink", "rmdir", "ftruncate", "write")
"""of `os`: all that the package does to files (safetensors writes by itself)"""

POINTS = (
    "first file half written",
    "optimizer half written",
    "file about to be synced",
    "manifest about to be named",
    "manifest named",
    "checkpoint about to be named",
    "checkpoint named",
    "old checkpoint about to go",
    "old checkpoint renamed",
    "old checkpoint half removed",
    "metric line half written",
    "status about to be replaced",
)
"""named points of a save; each comes again with each save"""


def plant(what: str, **options: Any) -> None:
    """Plant one harm: the name of a function below, with its options."""
    HARMS[what](**options)


# Kills and signals ------------------------------------------------------------------------------


def at_call(*, count: int, when: str = "before", signum: int = signal.SIGKILL) -> None:
    """A signal at the `count`-th call that changes a file, `before` or `after` it."""
    lock, seen = threading.Lock(), itertools.count(1)

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            with lock:
                now = next(seen) == count
            if now and when == "before":
                os.kill(os.getpid(), signum)
            try:
                return original(*args, **kwargs)
            finally:  # also of a call that fails, as making a folder that is there
                if now and when == "after":
                    os.kill(os.getpid(), signum)

        return call

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))


def at_point(*, point: str, count: int = 1, signum: int = signal.SIGKILL) -> None:
    """A signal when a named point of a save (POINTS) comes for the `count`-th time."""
    seen = itertools.count(1)

    def reached(first: Callable[[], object] = lambda: None) -> None:
        if next(seen) == count:
            first()
            os.kill(os.getpid(), signum)

    def strike(where: Callable[..., bool], owner: Any, name: str, *, after: bool = False) -> None:
        original = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            hit = where(*args)
            if hit and not after:
                reached()
            result = original(*args, **kwargs)
            if hit and after:
                reached()
            return result

        setattr(owner, name, call)

    def is_manifest(_source: Any, target: Any, *_: Any) -> bool:
        return Path(target).name == "manifest.json"

    def is_commit(_source: Any, target: Any, *_: Any) -> bool:
        return Path(target).name.startswith("step-")

    def is_pruning(source: Any, *_: Any) -> bool:
        return Path(source).name.startswith("step-")

    def half(path: Path) -> None:
        reached(lambda: os.truncate(path, path.stat().st_size // 2))

    if point == "first file half written":
        _after_weights(lambda directory: half(Path(directory) / "model.safetensors"))
    elif point == "optimizer half written":
        _after_optimizer(lambda path: half(Path(path)))
    elif point == "file about to be synced":
        strike(lambda *_: True, os, "fsync")
    elif point == "manifest about to be named":
        strike(is_manifest, os, "replace")
    elif point == "manifest named":
        strike(is_manifest, os, "replace", after=True)
    elif point == "checkpoint about to be named":
        strike(is_commit, os, "rename")
    elif point == "checkpoint named":
        strike(is_commit, os, "rename", after=True)
    elif point == "old checkpoint about to go":
        strike(is_pruning, os, "rename")
    elif point == "old checkpoint renamed":
        strike(is_pruning, os, "rename", after=True)
    elif point == "old checkpoint half removed":
        strike(lambda *_: True, os, "unlink", after=True)
    elif point == "metric line half written":
        _half_a_metric_line(reached)
    elif point == "status about to be replaced":
        strike(lambda _, target: Path(target).name == "status.json", os, "replace")
    else:
        raise ValueError(point)


def _after_weights(then: Callable[[Any], None]) -> None:
    from emergectl.training import checkpointing

    original = checkpointing.save_model

    def save(model: Any, directory: Any) -> None:
        original(model, directory)
        then(directory)

    checkpointing.save_model = save


def _after_optimizer(then: Callable[[Any], None]) -> None:
    from emergectl.training import checkpointing

    original = checkpointing.save_file

    def save(tensors: Any, path: Any) -> None:
        original(tensors, path)
        then(path)

    checkpointing.save_file = save


def _half_a_metric_line(reached: Callable[..., None]) -> None:
    original = os.write

    def write(descriptor: int, content: Any) -> int:
        if bytes(content[:8]) != b'{"step":':
            return original(descriptor, content)
        # A short write, and a signal before the rest: as at the edge of a page.
        written = original(descriptor, bytes(content)[: len(content) // 2])
        reached()
        return written

    os.write = write  # type: ignore[assignment]


def in_evaluation(*, count: int, signum: int) -> None:
    """A signal in the middle of the `count`-th batch of held-out rows."""
    from emergectl.evaluation import held_out

    original, seen = held_out._score, itertools.count(1)

    def score(*args: Any) -> Any:
        if next(seen) == count:
            os.kill(os.getpid(), signum)
        return original(*args)

    held_out._score = score


def in_step(*, step: int, signum: int, rank: int = 0) -> None:
    """A signal in the middle of a step (1-based), on one of the ranks."""

    def strike(job: Any) -> None:
        if job.ranks.rank == rank:
            os.kill(os.getpid(), signum)

    _before_backward(step, strike)


def in_answers(*, batch: int, signum: int, rank: int = 0) -> None:
    """A signal before the `batch`-th batch (1-based) of questions, on one of the ranks."""
    from emergectl.inference import scorer

    original, seen = scorer._ask_forest, itertools.count(1)

    def call(*args: Any) -> Any:
        if int(os.environ.get("RANK", "0")) == rank and next(seen) == batch:
            os.kill(os.getpid(), signum)
        return original(*args)

    scorer._ask_forest = call
    batching = importlib.import_module("emergectl.inference.batching")
    batching.CPU_TOKENS = 64  # so that a few questions are many batches


# Broken numbers ---------------------------------------------------------------------------------


def poison(*, where: str, value: str, step: int, steps: int = 1) -> None:
    """Put a number that is not finite into `steps` steps from `step` (1-based) on.

    where: loss, gradient, weight (at the end of the step, after the update) or evaluation (of the
    model after that step).
    """
    import torch

    from emergectl.training import loop

    number = float(value)
    during = range(step, step + steps)
    if where == "loss":
        original_backward = loop._backward

        def backward(job: Any, *args: Any, **kwargs: Any) -> Any:
            loss = original_backward(job, *args, **kwargs)
            return loss * number if _step_of(job) in during else loss

        loop._backward = backward
    elif where == "gradient":
        original_clip = loop._clip
        original_step = loop.take_step
        now: list[Any] = []

        def take_step(job: Any) -> Any:
            now[:] = [job]
            return original_step(job)

        def clip(parameters: Any, limit: Any) -> float:
            if _step_of(now[0]) in during:
                parameters[0].grad.flatten()[3] = number
            return original_clip(parameters, limit)

        loop.take_step, loop._clip = take_step, clip
    elif where == "weight":
        original_step = loop.take_step

        def take_step(job: Any) -> Any:
            result = original_step(job)
            if job.trained.progress.step in during:
                with torch.no_grad():
                    next(job.trained.model.parameters()).flatten()[3] = number
            return result

        loop.take_step = take_step
    elif where == "evaluation":
        original_judge = loop._judge

        def judge(job: Any, measured: list[Measurement]) -> None:
            if job.trained.progress.step in during:
                measured = [replace(one, value=number) for one in measured]
            original_judge(job, measured)

        loop._judge = judge
    else:
        raise ValueError(where)


def _step_of(job: Any) -> int:
    return job.trained.progress.step + 1


def _before_backward(step: int, then: Callable[[Any], None]) -> None:
    from emergectl.training import loop

    original = loop._backward

    def backward(job: Any, *args: Any, **kwargs: Any) -> Any:
        if _step_of(job) == step:
            then(job)
        return original(job, *args, **kwargs)

    loop._backward = backward


# Memory -----------------------------------------------------------------------------------------


def out_of_memory(*, above_rows: int) -> None:
    """The error of a CUDA allocator for each forward pass of more than `above_rows` rows."""
    import torch

    from emergectl.training.session import LossModule

    original = LossModule.forward

    def forward(self: Any, batch: Any) -> Any:
        if len(batch["labels"]) > above_rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return original(self, batch)

    LossModule.forward = forward


def address_space(*, mebibytes: int) -> None:
    """A limit on the address space: so much more than the process has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + mebibytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


HARMS: dict[str, Callable[..., None]] = {
    harm.__name__: harm
    for harm in (
        at_call,
        at_point,
        in_evaluation,
        in_answers,
        in_step,
        poison,
        out_of_memory,
        address_space,
    )
}
