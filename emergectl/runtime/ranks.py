"""Devices and ranks: which device this process computes on, and what all ranks agree on.

Under `torchrun` every process is one rank; alone, a process is rank 0 of 1 and every collective
below returns at once. CUDA ranks talk through NCCL, CPU ranks through gloo.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from emergectl.config.schema import TrainSpec
from emergectl.errors import ExperimentError

# A rank that hears nothing from the others for so long gives up.
COLLECTIVE_TIMEOUT = timedelta(minutes=10)


@dataclass(frozen=True)
class Ranks:
    """This process's place: `rank` of `world`, computing on `device`."""

    rank: int
    world: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this rank writes the run directory."""
        return self.rank == 0

    def share(self, rows: int) -> tuple[int, int]:
        """This rank's rows [first, last) of a batch of `rows`; shares differ by one at most."""
        return self.rank * rows // self.world, (self.rank + 1) * rows // self.world

    def sum(self, values: list[float]) -> list[float]:
        """Elementwise sum over all ranks."""
        if self.world == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return [float(value) for value in tensor.tolist()]

    def gather(self, value: Any) -> list[Any]:
        """The `value` of every rank, in rank order, on every rank."""
        if self.world == 1:
            return [value]
        gathered: list[Any] = [None] * self.world
        dist.all_gather_object(gathered, value)
        return gathered

    def from_main(self, value: Any) -> Any:
        """Rank 0's `value`, on every rank."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def wait(self) -> None:
        """Wait until every rank has come here."""
        self.sum([0.0])

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module whose backward pass averages gradients over ranks. (Sharding goes here.)"""
        if self.world == 1:
            return module
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=ids)


def join_ranks(spec: TrainSpec) -> Ranks:
    """This process's ranks, from torchrun's environment, and its device.

    Raises ExperimentError where `train.device` asks for CUDA and there is none, or where there
    are more ranks than devices or than rows in a batch.
    """
    check_ranks(spec, int(os.environ.get("WORLD_SIZE", "1")))
    ranks = join_group(device=spec.device, threads=spec.threads)
    if ranks.device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
    return ranks


def join_group(*, device: str, threads: int | None) -> Ranks:
    """This process's ranks and device (`auto`, `cpu`, `cuda`), whatever they are to do together.

    Raises ExperimentError as `join_ranks` does.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    mine = _pick_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if threads is not None:
        torch.set_num_threads(threads)
    if mine.type == "cuda":
        torch.cuda.set_device(mine)
    if world > 1 and not dist.is_initialized():
        backend = "nccl" if mine.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=COLLECTIVE_TIMEOUT)
    return Ranks(rank=rank, world=world, device=mine)


def check_ranks(spec: TrainSpec, world: int) -> None:
    """Refuse more ranks than rows: one without rows would leave the others waiting for it."""
    if world > spec.batch_size:
        raise ExperimentError(
            "train.batch_size", f"{spec.batch_size} rows in a batch for {world} ranks: too few"
        )


def is_lost_rank(error: BaseException) -> bool:
    """Whether an error means that another rank has gone: gloo says so in its text alone."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def leave_ranks() -> None:
    """Take this process out of its group.

    The group itself is kept until the process ends (by `os._exit`, see `cli.main`): whoever frees
    it holds Python's lock and waits for gloo's threads, one of which may be waiting for that lock.
    """
    if dist.is_initialized():
        _LEFT.append(dist.group.WORLD)
        dist.destroy_process_group()


_LEFT: list[object] = []


def _pick_device(wanted: str, local_rank: int) -> torch.device:
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ExperimentError("train.device", "no CUDA device here; use `auto` or `cpu`")
    if local_rank >= torch.cuda.device_count():
        raise ExperimentError(
            "train.device",
            f"{torch.cuda.device_count()} CUDA devices for more ranks; use a smaller --gpus",
        )
    return torch.device("cuda", local_rank)


def without_sync(module: nn.Module, *, last: bool) -> AbstractContextManager[None]:
    """Let gradients be averaged over ranks only in the `last` of several backward passes."""
    if last or not isinstance(module, DistributedDataParallel):
        return nullcontext()
    return module.no_sync()


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed torch for one step.

    Dropout then depends on (seed, step, rank) alone: nothing that was drawn earlier, by an
    evaluation or before an interruption, changes it.
    """
    torch.manual_seed((seed * 1_000_003 + step) * 1_009 + rank)
