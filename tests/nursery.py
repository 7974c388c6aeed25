"""Command lines by the dozen: a server imports everything once and forks each of them.

`emergectl train` needs seconds to import torch and transformers and a fraction of one to train a
tiny model. So tests of kills and signals start their processes here: a server (a script of the
tests that use it, single-threaded, so that forking is sound) forks a child, which runs the command
line from its entry point to its exit. What is to be different in a child is planted after the
fork; the product knows nothing of it.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int
    """exit code, or minus the signal that killed it"""
    stdout: str
    stderr: str

    @property
    def said(self) -> str:
        """All that a person would have seen, for messages of failed assertions."""
        return f"exit {self.code}\n{self.stdout}\n{self.stderr}"


class Started:
    """A process that runs."""

    def __init__(self, nursery: Nursery, pid: int, folder: Path) -> None:
        self._nursery, self._folder, self.pid = nursery, folder, pid

    def workers(self) -> list[int]:
        """The pids of its children at this moment."""
        try:
            return [child.pid for child in psutil.Process(self.pid).children()]
        except psutil.NoSuchProcess:
            return []

    def has_ended(self) -> bool:
        """Whether it is over."""
        return self._nursery.ask({"poll": self.pid}) is not None

    def signal(self, signum: int) -> None:
        """Send a signal; nothing where the process has ended meanwhile."""
        if not self.has_ended():
            os.kill(self.pid, signum)

    def kill_all(self) -> None:
        """`kill -9` of it and its children."""
        pids = self.workers()
        self.signal(signal.SIGKILL)
        for pid in pids:
            kill(pid)

    def wait(self, seconds: float = 120.0) -> Ended:
        """Wait for its end; a process that takes longer is killed, and the test fails."""
        code = self._nursery.ask({"wait": self.pid, "seconds": seconds})
        if code is None:
            self.kill_all()
            self._nursery.ask({"wait": self.pid, "seconds": 10})
        ended = Ended(code, *(self._read(name) for name in ("stdout", "stderr")))
        assert code is not None, f"did not end within {seconds} s\n{ended.said}"
        return ended

    def wait_for(self, path: Path, *, seconds: float = 30.0) -> None:
        """Wait until `path` exists, or the process has ended."""
        deadline = time.monotonic() + seconds
        while not path.exists() and time.monotonic() < deadline:
            if self.has_ended():
                return
            time.sleep(0.002)

    def _read(self, name: str) -> str:
        return (self._folder / name).read_text("utf-8", errors="replace")


def kill(pid: int) -> None:
    """`kill -9`; nothing where the process has ended meanwhile."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


class Nursery:
    """The server's other end: starts processes in `folder`. `server` is a script that serves."""

    def __init__(self, folder: Path, server: Path) -> None:
        self._folder = folder
        self._count = 0
        path = os.pathsep.join(map(str, (REPOSITORY, Path(__file__).parent, server.parent)))
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        environment |= {"EMERGECTL_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
        self._server = subprocess.Popen(
            [sys.executable, str(server)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self._answer() == "ready"

    def ask(self, request: dict[str, Any]) -> Any:
        """Put a request to the server; its answer."""
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return self._answer()

    def start(self, *arguments: object, **planted: Any) -> Started:
        """Start `emergectl ARGUMENTS`, with what the server's script plants in the child."""
        self._count += 1
        folder = self._folder / f"process-{self._count}"
        folder.mkdir()
        told = [str(argument) for argument in arguments]
        request = {"arguments": told, "folder": str(folder), "planted": planted}
        return Started(self, self.ask({"start": request}), folder)

    def run(self, *arguments: object, seconds: float = 120.0, **planted: Any) -> Ended:
        """Start `emergectl ARGUMENTS` and wait for its end."""
        return self.start(*arguments, **planted).wait(seconds)

    def close(self) -> None:
        """End the server."""
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(timeout=30)

    def _answer(self) -> Any:
        assert self._server.stdout is not None
        return json.loads(self._server.stdout.readline())


def serve(plant: Callable[..., None]) -> None:
    """The server: answer requests until the other end closes.

    Called by its script once everything is imported. `plant` is called in each child with what
    `Nursery.start` was given.
    """
    import torch

    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()  # So that a child's collector leaves the shared pages alone.
    ended: dict[int, int] = {}
    _reply("ready")
    for line in sys.stdin:
        request = json.loads(line)
        if "start" in request:
            _reply(_fork(plant, **request["start"]))
        else:
            pid = request.get("wait") or request["poll"]
            _reply(_end_of(pid, ended, seconds=request.get("seconds", 0.0)))


def _reply(value: Any) -> None:
    print(json.dumps(value), flush=True)


def _end_of(pid: int, ended: dict[int, int], *, seconds: float) -> int | None:
    """The exit code (or minus the signal) of a child; None where it runs on."""
    deadline = time.monotonic() + seconds
    while pid not in ended:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            ended[pid] = os.waitstatus_to_exitcode(status)
        elif time.monotonic() >= deadline:
            return None
        else:
            time.sleep(0.002)
    return ended[pid]


def _fork(
    plant: Callable[..., None], arguments: list[str], folder: str, planted: dict[str, Any]
) -> int:
    """Fork a child that runs the command line; its pid."""
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(Path(folder, name), os.O_WRONLY | os.O_CREAT, 0o666), descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 — the server's is at an end here
    from emergectl.cli.main import main

    plant(**planted)
    sys.argv = ["emergectl", *arguments]
    code = 1
    try:
        code = main(arguments)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        # The interpreter's own end takes apart every module and with it a second.
        os._exit(code)
