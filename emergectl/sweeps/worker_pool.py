"""The worker processes of one driver: started, spoken to, listened to, and missed when they die."""

from __future__ import annotations

import os
import selectors
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from emergectl.sweeps.protocol import Lines, Order, as_line, pack_line

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(eq=False)
class Worker:
    """One worker process, and the trials that it has in hand."""

    number: int
    process: subprocess.Popen[bytes]
    log: Path
    lines: Lines = field(default_factory=Lines)
    began: bool = False
    """whether it ever said that it is there"""
    ready: bool = False
    """whether it takes orders"""
    keys: list[str] = field(default_factory=list)
    """trials in hand"""

    @property
    def pid(self) -> int:
        """The process."""
        return self.process.pid

    def tell(self, line: bytes) -> None:
        """Send a line; a worker that is gone is noticed when its own pipe ends."""
        try:
            _pipe(self.process.stdin).write(line)
        except BrokenPipeError:
            return

    def weigh(self, experiment: dict[str, Any], sizes: list[int]) -> None:
        """Have it measured whether ensembles of an experiment pay."""
        self.ready = False
        self.tell(as_line(weigh=experiment, sizes=sizes))

    def run(self, orders: list[Order]) -> None:
        """Give it a pack of trials."""
        self.keys = [order.key for order in orders]
        self.tell(pack_line(orders))


@dataclass(frozen=True)
class Gone:
    """A worker has ended: by itself (its exit code) or by a signal (minus its number)."""

    code: int

    def in_words(self) -> str:
        """How, for people."""
        return f"signal {-self.code}" if self.code < 0 else f"exit code {self.code}"


class Crew:
    """All workers of a driver."""

    def __init__(self, logs: Path, host: str) -> None:
        self._logs = logs
        self._host = host
        self._selector = selectors.DefaultSelector()
        self._count = 0
        self.workers: list[Worker] = []

    def free_number(self) -> int:
        """The lowest number that no worker has: with it a new one inherits a dead one's GPU."""
        return min(set(range(len(self.workers) + 1)) - {w.number for w in self.workers})

    def start(self, environment: Mapping[str, str]) -> Worker:
        """Start a worker in a process group of its own: Ctrl-C is the driver's to pass on."""
        number = self.free_number()
        log = self._logs / f"{self._host}-{number}.txt"
        with log.open("ab") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "emergectl.sweeps.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                bufsize=0,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        worker = Worker(number, process, log)
        out = _pipe(process.stdout)
        os.set_blocking(out.fileno(), False)
        self._selector.register(out, selectors.EVENT_READ, worker)
        self.workers.append(worker)
        return worker

    def listen(self, seconds: float) -> Iterator[tuple[Worker, dict[str, Any] | Gone]]:
        """What the workers say within some seconds, from when the first says something."""
        for key, _ in self._selector.select(seconds):
            worker: Worker = key.data
            content = _pipe(worker.process.stdout).read(1 << 20)
            if content:
                for message in worker.lines.feed(content):
                    yield worker, message
            elif content is not None:  # None: nothing there after all.
                yield worker, self._bury(worker)

    def stop(self, signum: int) -> None:
        """Ask every worker to keep a checkpoint and leave."""
        for worker in self.workers:
            worker.tell(as_line(stop=signum))

    def dismiss(self, worker: Worker) -> None:
        """Let an idle worker leave: its orders have come to an end."""
        worker.ready = False
        _pipe(worker.process.stdin).close()

    def end(self) -> None:
        """Let every worker go, and wait for the last."""
        for worker in list(self.workers):
            self.dismiss(worker)
        while self.workers:
            for _ in self.listen(1.0):
                pass

    def _bury(self, worker: Worker) -> Gone:
        self._selector.unregister(_pipe(worker.process.stdout))
        self.workers.remove(worker)
        for pipe in (worker.process.stdin, worker.process.stdout):
            if pipe is not None:
                pipe.close()
        return Gone(worker.process.wait())


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


def shares(workers: int, devices: int, *, worker: int, visible: str | None) -> dict[str, str]:
    """The environment of one of so many workers: its GPU where there are any, else its threads."""
    if devices:
        names = visible.split(",") if visible else [str(number) for number in range(devices)]
        return {"CUDA_VISIBLE_DEVICES": names[worker % len(names)]}
    threads = str(max(1, cores() // workers))
    return dict.fromkeys(THREADS, threads)


def may_have_gpus() -> bool:
    """Whether it is worth asking a worker for GPUs: the driver has no torch to ask."""
    devices = (Path("/dev/nvidiactl"), Path("/dev/kfd"), Path("/dev/dxg"))
    return shutil.which("nvidia-smi") is not None or any(path.exists() for path in devices)


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def workers_that_pay(devices: int, trials: int) -> int:
    """One a GPU; without, processes of one thread, as many as cores and memory allow.

    Two processes of one thread do ×1.15–1.2 of what one process of two threads does, with models
    of 110k to 800k parameters.
    """
    import psutil

    if devices:
        return max(1, min(devices, trials))
    by_memory = psutil.virtual_memory().available // BYTES_PER_WORKER
    return int(max(1, min(cores(), by_memory, trials)))


BYTES_PER_WORKER = 1 << 30
"""what a worker takes with a small model and its data"""
