"""One model asked by several ranks, which stop at the same item: `eval --gpus N`, or torchrun.

Every rank prepares the same questions and takes its share of the batches; rank 0 alone writes and
prints. A signal may reach one rank alone, so ranks tell each other of it wherever they exchange
answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from emergectl.errors import EmergectlError, InterruptedRunError, PreemptedError
from emergectl.runtime.place import Place
from emergectl.runtime.ranks import Ranks, is_lost_rank, join_group, leave_ranks
from emergectl.runtime.stop import StopRequest


class AgreedStop(StopRequest):
    """The wish of any rank to stop, as all of them know it since they last exchanged something."""

    def __init__(self, own: StopRequest, ranks: Ranks) -> None:
        super().__init__()
        self._own = own
        self._ranks = ranks

    def gather(self, value: Any) -> list[Any]:
        """The `value` of every rank, on every rank; EmergectlError where one has gone."""
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
def join_evaluation(device: str, stop: StopRequest) -> Iterator[tuple[Place, StopRequest]]:
    """Where this process computes, and what it is to stop for, alone or as one of several ranks."""
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
