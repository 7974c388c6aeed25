"""What a driver and its workers say to each other: one JSON object a line, over two pipes.

Driver → worker: `run` (a pack of one or more orders), `probe` (an experiment), `weigh` (an
experiment, and sizes of ensembles), `prune` (a key), `stop` (a signal's number). Worker → driver:
`ready`, then of each trial `began`, `at` (a step), `metrics`, `asking` (a task), and `ended`, with
`leaving` where the worker can go on with nothing; `probed`, `weighed`. The end of the driver's pipe
is the driver's end: a worker then keeps a checkpoint and leaves.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from emergectl.config.schema import Experiment

Send = Callable[..., None]
"""says something, by keyword, to the other end"""


@dataclass(frozen=True, kw_only=True)
class Order:
    """One trial to be trained: which run, of what."""

    key: str
    root: str
    """the runs directory"""
    run: str
    """id of the run, new or to be gone on with"""
    experiment: dict[str, Any]
    facts: dict[str, Any]
    """for run.json"""
    argv: list[str]
    watch: str | None = None
    """metric that a search wants to hear of while the trial runs"""
    asks: dict[str, Any] | None = None
    """what the trial is asked once it is trained (`asked.Asks.of`)"""
    trained: bool = False
    """whether only that is left"""


def as_line(**message: Any) -> bytes:
    """A message as one line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def pack_line(orders: list[Order]) -> bytes:
    """The line that tells a worker to run a pack of trials."""
    return as_line(run=[asdict(order) for order in orders])


def plain_experiment(experiment: Experiment) -> dict[str, Any]:
    """An experiment as plain data, which `Experiment.model_validate` reads."""
    return experiment.model_dump(mode="json", by_alias=True)


class Lines:
    """Whole lines out of a pipe that is read in pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, content: bytes) -> Iterator[dict[str, Any]]:
        """The messages that `content` completes."""
        *lines, self._rest = (self._rest + content).split(b"\n")
        for line in lines:
            yield json.loads(line)
