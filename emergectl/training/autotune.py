"""What `auto` means for precision, compilation and micro-batches: measured, then remembered.

Measuring takes a few steps' time and compiling tens of seconds, so both are weighed against the
length of the run: one that is over in a minute is left eager and in fp32. What was found is kept
per machine, model and batch, so that the next run of the shape need not measure again; and a run
keeps what it began with, however often it is resumed, since another choice would change its
numbers.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from emergectl.config.schema import Experiment
from emergectl.data.batches import Batch
from emergectl.data.feeds import Feed
from emergectl.data.files import cache_root
from emergectl.models.memory import is_out_of_memory
from emergectl.runtime.precision import autocast
from emergectl.runtime.ranks import Ranks
from emergectl.store.atomic import write_json
from emergectl.training.budget import Budget

MEASURED_PASSES = 3
# On CPU bf16 costs digits and gains little in small models: it has to pay clearly.
BF16_MUST_GAIN = 1.15
COMPILE_MUST_GAIN = 1.05
# A run shorter than this, eager, is not worth measuring for; one shorter than that not compiling.
MEASURE_FROM_SECONDS = 60.0
COMPILE_FROM_SECONDS = 150.0


@dataclass(frozen=True)
class Arithmetic:
    """How steps are computed."""

    precision: str
    compile: bool
    micro_batch_size: int
    seconds: Mapping[str, float] | None = None
    """forward and backward pass of a micro-batch, for each candidate that was measured"""

    def to_dict(self) -> dict[str, Any]:
        """For run.json."""
        return asdict(self)

    def compiled(self, module: nn.Module) -> nn.Module:
        """The module, compiled where that was chosen."""
        return cast(nn.Module, torch.compile(module)) if self.compile else module


def choose_arithmetic(
    experiment: Experiment,
    module: nn.Module,
    feed: Feed,
    budget: Budget,
    ranks: Ranks,
    *,
    decided: Mapping[str, Any] | None,
    say: Callable[[str], None],
) -> Arithmetic:
    """Precision, compilation and micro-batch of a run, the same on all ranks.

    `module` maps a batch to its loss; its gradients are gone afterwards. `decided` is what an
    earlier session of the same run settled on.
    """
    if decided is not None:
        return Arithmetic(**decided)
    choice = _choose(experiment, module, feed, budget, ranks, say) if ranks.is_main else None
    return cast(Arithmetic, ranks.from_main(choice))


def _choose(
    experiment: Experiment,
    module: nn.Module,
    feed: Feed,
    budget: Budget,
    ranks: Ranks,
    say: Callable[[str], None],
) -> Arithmetic:
    spec = experiment.train
    rows = -(-spec.batch_size // ranks.world)
    micro = rows if spec.micro_batch_size == "auto" else min(rows, spec.micro_batch_size)
    start = "fp32" if spec.precision == "auto" else spec.precision
    if spec.precision == "auto" and ranks.device.type == "cuda" and torch.cuda.is_bf16_supported():
        start = "bf16"
    arithmetic = Arithmetic(start, spec.compile is True, micro)
    if "auto" not in (spec.precision, spec.compile):
        return arithmetic
    remembered = _memory_of(experiment, module, feed, micro, ranks.device)
    if remembered.exists():
        return Arithmetic(**json.loads(remembered.read_text("utf-8")))
    batch = {
        name: tensor.to(ranks.device)
        for name, tensor in feed.batch(0, spec.batch_size, 0, rows).items()
    }
    trial = _Trial(module, batch, ranks.device, passes=-(-rows // micro))
    try:
        arithmetic, worth_keeping = _tune(experiment, arithmetic, trial, budget, say)
    finally:
        module.zero_grad(set_to_none=True)
    if worth_keeping:
        remembered.parent.mkdir(parents=True, exist_ok=True)
        write_json(remembered, arithmetic.to_dict())
    return arithmetic


@dataclass(frozen=True)
class _Trial:
    """A real batch to measure with."""

    module: nn.Module
    batch: Batch
    device: torch.device
    passes: int
    """micro-batches in a step"""

    def seconds(self, module: nn.Module, arithmetic: Arithmetic, count: int) -> float:
        """The fastest of `count` forward and backward passes over a micro-batch, after one that
        warms up; the fastest, because a neighbour on the machine can only slow one down."""
        part = {name: t[: arithmetic.micro_batch_size] for name, t in self.batch.items()}
        times = []
        for _ in range(count + 1):
            began = time.perf_counter()
            with autocast(arithmetic.precision, self.device):
                loss = module(part)
            loss.backward()
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            times.append(time.perf_counter() - began)
        return min(times[1:])


def _tune(
    experiment: Experiment,
    arithmetic: Arithmetic,
    trial: _Trial,
    budget: Budget,
    say: Callable[[str], None],
) -> tuple[Arithmetic, bool]:
    """Measure what is left to `auto`; the choice, and whether it was worth remembering."""
    spec = experiment.train
    try:
        eager = trial.seconds(trial.module, arithmetic, 1)
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return arithmetic, False  # The loop halves micro-batches; nothing to weigh here.
    if _run_seconds(budget, eager * trial.passes) < MEASURE_FROM_SECONDS:
        return arithmetic, False
    candidates = [arithmetic]
    if spec.precision == "auto" and trial.device.type == "cpu" and _cpu_has_bf16():
        candidates.append(replace(arithmetic, precision="bf16"))
    found = {each: trial.seconds(trial.module, each, MEASURED_PASSES) for each in candidates}
    left = _run_seconds(budget, min(found.values()) * trial.passes)
    if spec.compile == "auto" and left > COMPILE_FROM_SECONDS * len(candidates):
        say("compiling the model, which takes up to a minute; this run is long enough for it")
        for each in candidates:
            seconds = _compiled_seconds(trial, each, say)
            if seconds is None:
                break
            found[replace(each, compile=True)] = seconds
    best = min(found, key=lambda each: found[each] * _handicap(each, arithmetic))
    words = {_in_words(each): round(seconds, 6) for each, seconds in found.items()}
    return replace(best, seconds=words), True


def _handicap(candidate: Arithmetic, start: Arithmetic) -> float:
    """By how much a candidate has to be faster, given what else it costs."""
    half = BF16_MUST_GAIN if candidate.precision != start.precision else 1.0
    return half * (COMPILE_MUST_GAIN if candidate.compile != start.compile else 1.0)


def _in_words(arithmetic: Arithmetic) -> str:
    return arithmetic.precision + (" compiled" if arithmetic.compile else "")


def _compiled_seconds(
    trial: _Trial, arithmetic: Arithmetic, say: Callable[[str], None]
) -> float | None:
    """Seconds of a compiled pass; None, and said so, where it cannot be compiled here."""
    try:
        compiled = cast(nn.Module, torch.compile(trial.module))
        return trial.seconds(compiled, arithmetic, MEASURED_PASSES)
    except Exception as error:  # Compilers fail in their own ways; `auto` then means without one.
        reason = str(error).strip().split("\n")[0]
        say(f"no compiling here, running eagerly ({type(error).__name__}: {reason})")
        torch.compiler.reset()
        return None


def _run_seconds(budget: Budget, step_seconds: float) -> float:
    by_steps = budget.steps * step_seconds if budget.steps else float("inf")
    return min(by_steps, budget.seconds or float("inf"))


def _cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bf16 matrices in hardware."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _memory_of(
    experiment: Experiment, module: nn.Module, feed: Feed, micro: int, device: torch.device
) -> Path:
    """The file that remembers the choice for this machine, model, batch and version of torch."""
    parts = {
        "torch": torch.__version__,
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "shapes": [[*p.shape] for p in module.parameters()],
        "model": str(getattr(module, "model", module).__class__),
        "micro": micro,
        "seq_len": feed.seq_len,
        "asked": [experiment.train.precision, experiment.train.compile],
    }
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
    return cache_root() / "arithmetic" / f"{key}.json"


def device_name(device: torch.device) -> str:
    """What tells apart devices of different speed: the GPU's name, or the CPU's and its flags."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text("utf-8").splitlines() if cpuinfo.exists() else []
    wanted = ("model name", "flags")
    return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))
