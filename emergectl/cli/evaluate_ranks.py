"""Models asked by several ranks: `eval --gpus N`, and `eval` under torchrun.

Every rank prepares the same questions and takes its share of the batches; rank 0 alone writes and
prints. A signal may reach one rank alone, so ranks tell each other of it wherever they exchange
answers, and stop at the same item.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import typer

from emergectl.cli.output import say
from emergectl.errors import EmergectlError, InterruptedRunError, PreemptedError
from emergectl.runtime.stop import StopRequest

if TYPE_CHECKING:
    from emergectl.runtime.place import Place
    from emergectl.runtime.ranks import Ranks


class AgreedStop(StopRequest):
    """The wish of any rank to stop, as all of them know it since they last exchanged something."""

    def __init__(self, own: StopRequest, ranks: Ranks) -> None:
        super().__init__()
        self._own = own
        self._ranks = ranks

    def gather(self, value: Any) -> list[Any]:
        """The `value` of every rank, on every rank; EmergectlError where one has gone."""
        from emergectl.runtime.ranks import is_lost_rank

        try:
            gathered = self._ranks.gather((self._own.signum, value))
        except RuntimeError as error:
            if not is_lost_rank(error):
                raise
            raise EmergectlError(
                "another rank is gone; what is answered is kept, and --resume goes on with the rest"
            ) from error
        if self.signum is None:
            self.signum = next((signum for signum, _ in gathered if signum is not None), None)
        return [value for _, value in gathered]


@contextmanager
def joined(device: str, stop: StopRequest) -> Iterator[tuple[Place, StopRequest]]:
    """Where this process computes, and what it is to stop for, alone or as one of several ranks."""
    from emergectl.runtime.place import Place
    from emergectl.runtime.ranks import join_group, leave_ranks

    ranks = join_group(device=device, threads=None)
    if ranks.world == 1:
        yield Place(device=ranks.device, autocast=nullcontext), stop
        return
    agreed = AgreedStop(stop, ranks)
    place = Place(
        device=ranks.device,
        autocast=nullcontext,
        rank=ranks.rank,
        world=ranks.world,
        gather=agreed.gather,
    )
    try:
        yield place, agreed
    except (PreemptedError, InterruptedRunError):
        agreed.gather(None)  # A launcher ends all ranks when the first has gone.
        raise
    finally:
        leave_ranks()


def ask_on_ranks(ranks: int) -> None:
    """Run this very command as so many ranks; rank 0 prints. Ends as they do."""
    from emergectl.runtime.launch import launch_ranks

    stop = StopRequest()
    stop.install()
    ended = launch_ranks(sys.argv[1:], ranks=ranks, stop=stop)
    if ended.killed is not None:
        say(ended.killed)
    if ended.exit_code:
        raise typer.Exit(ended.exit_code)
