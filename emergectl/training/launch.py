"""Several ranks on this machine: torchrun's launcher, for the person who says `--gpus N`."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from emergectl.errors import EmergectlError


def launch_ranks(arguments: Sequence[str], *, ranks: int) -> None:
    """Run `emergectl ARGUMENTS` as `ranks` processes that find each other; returns at their end.

    The first failure of one ends all the others (within 30 s). How it went stands in the run's
    status, so a failure is not raised here; EmergectlError is, where the ranks could not start.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // ranks)))
    config = LaunchConfig(
        run_id=uuid.uuid4().hex,
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.2,
    )
    command = [sys.executable, "-m", "emergectl.cli.main", *arguments]
    try:
        elastic_launch(config, command[0])(*command[1:])
    except (ChildFailedError, SignalException):
        return
    except (OSError, RuntimeError) as error:
        raise EmergectlError(f"{ranks} ranks could not be started: {error}") from error
