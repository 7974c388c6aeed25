"""The server of the nursery in which drivers of sweeps are forked (`nursery`), and they their
workers.

A worker needs seconds to import torch, so in these tests it is a fork of its driver: the same code,
the same pipes, the same death, only warm. Planted in a child: `host`, the name of its machine, and
`values` for attributes of modules (`module:attribute`), such as how long silence may last.
"""

from __future__ import annotations

import importlib
import os
import socket
import subprocess
import sys
import traceback
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from nursery import serve


class ForkedWorker:
    """What stands for subprocess.Popen where a driver starts a worker."""

    def __init__(self, command: list[str], *, stderr: Any, env: dict[str, str], **_: Any) -> None:
        assert command[1:] == ["-m", "emergectl.sweeps.worker"]
        (orders, tell), (hear, word) = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            for descriptor, number in ((orders, 0), (word, 1), (stderr.fileno(), 2)):
                os.dup2(descriptor, number)
            os.closerange(3, 1024)
            sys.stdin, sys.stderr = open(0, closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
            os.environ.clear()
            os.environ.update(env)
            from emergectl.sweeps.worker import main

            code = 1
            try:
                code = main()
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        os.close(orders)
        os.close(word)
        self.stdin, self.stdout = os.fdopen(tell, "wb", 0), os.fdopen(hear, "rb", 0)

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def plant(host: str | None = None, values: Mapping[str, Any] | None = None) -> None:
    """Make this process one of another machine, with other numbers in its modules."""
    if host is not None:
        socket.gethostname = lambda: host  # type: ignore[assignment]
    for name, value in (values or {}).items():
        module, _, attribute = name.partition(":")
        setattr(importlib.import_module(module), attribute, value)


if __name__ == "__main__":
    import transformers.models.gpt2.modeling_gpt2  # noqa: F401

    import emergectl.cli.sweep
    import emergectl.cli.sweep_display
    import emergectl.sweeps.driver
    import emergectl.sweeps.measure_cost
    import emergectl.sweeps.table
    import emergectl.sweeps.worker
    import emergectl.sweeps.worker_pool
    import emergectl.training.session
    import emergectl.training.tracking

    emergectl.sweeps.worker_pool.subprocess = SimpleNamespace(
        Popen=ForkedWorker, PIPE=subprocess.PIPE
    )
    serve(plant)
