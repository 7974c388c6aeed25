"""Several ranks on this machine: torchrun's launcher, for the person who says `--gpus N`."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType

from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from emergectl.errors import EmergectlError, InterruptedRunError, PreemptedError
from emergectl.runtime.stop import SIGNALS, StopRequest

# A rank that neither saves nor ends by then, after a signal or the loss of another, is killed.
SHUTDOWN_SECONDS = 25


@dataclass(frozen=True)
class Ended:
    """How ranks ended.

    `exit_code` is that of the rank that failed first, 1 where it was killed; after a signal what a
    run that was stopped ends with. `killed` is what no rank could say of itself.
    """

    exit_code: int = 0
    killed: str | None = None
    """`rank 1 was killed by SIGKILL`"""


def launch_ranks(arguments: Sequence[str], *, ranks: int, stop: StopRequest) -> Ended:
    """Run `emergectl ARGUMENTS` as `ranks` processes that find each other; returns at their end.

    Signals are passed on to all ranks, and the first failure of one ends all the others (within
    30 s). A failure is not raised here: rank 0 has said what it was. Raises EmergectlError where
    the ranks could not start, PreemptedError or InterruptedRunError where a signal came before
    they did.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // ranks)))
    command = [sys.executable, "-m", "emergectl.cli.main", *arguments]
    _raise_at_signals(stop)  # Until the launcher, about to start the ranks, takes them over.
    logging.disable(logging.ERROR)  # It tells of every signal, and of a lost rank in thirty lines.
    try:
        # Left to itself the launcher leaves a folder behind each time.
        with tempfile.TemporaryDirectory(prefix="emergectl-ranks-") as folder:
            elastic_launch(_config(ranks, folder), command[0])(*command[1:])
    except ChildFailedError as error:
        return _ended(error)
    except SignalException as error:
        keyboard = error.sigval == signal.SIGINT
        return Ended((InterruptedRunError if keyboard else PreemptedError).exit_code)
    except (OSError, RuntimeError) as error:
        raise EmergectlError(f"{ranks} ranks could not be started: {error}") from error
    finally:
        logging.disable(logging.NOTSET)
    return Ended()


def _config(ranks: int, log_dir: str) -> LaunchConfig:
    return LaunchConfig(
        run_id=uuid.uuid4().hex,
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.2,
        signals_to_handle="SIGTERM,SIGINT,SIGUSR1,SIGHUP,SIGQUIT",
        shutdown_timeout=SHUTDOWN_SECONDS,
        logs_specs=DefaultLogsSpecs(log_dir=log_dir),
    )


def _raise_at_signals(stop: StopRequest) -> None:
    def receive(signum: int, _frame: FrameType | None) -> None:
        kind = InterruptedRunError if signum == signal.SIGINT else PreemptedError
        raise kind("stopped before it began; start again to go on")

    for signum in SIGNALS:
        signal.signal(signum, receive)
    if stop.signum is not None:
        receive(stop.signum, None)


def _ended(error: ChildFailedError) -> Ended:
    rank, failure = error.get_first_failure()
    if failure.exitcode >= 0:
        return Ended(failure.exitcode)
    return Ended(1, f"rank {rank} was killed by {signal.Signals(-failure.exitcode).name}")
