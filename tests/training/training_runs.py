"""A run that nothing happened to, and others held against it, byte for byte."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from nursery import Ended, Nursery, Started

from emergectl.store.checkpoints import list_steps, newest, step_name, verify
from emergectl.store.metrics_log import read_metrics
from emergectl.store.origins import pick_checkpoint

TIMES = ("seconds", "tokens_per_second")
"""what may differ between two runs of one experiment"""


class Bench:
    """Starts runs of one experiment and compares how they end."""

    def __init__(self, nursery: Nursery, experiment: Path, plain: Path) -> None:
        self.nursery = nursery
        self.experiment = experiment
        self._plain = plain

    def start(self, run: Path, *overrides: str, gpus: int | None = None, **options: Any) -> Started:
        """Start the run, or go on with it where it stands already.

        With --json, which leaves out the picture at the end: it costs more than the training.
        """
        switches = ["--json"] if gpus is None else ["--json", "--gpus", gpus]
        if (run / "run.json").exists():
            return self.nursery.start("train", "--resume", run, *switches, **options)
        arguments = ["train", self.experiment, *overrides, "--run-dir", run, *switches]
        return self.nursery.start(*arguments, **options)

    def run(self, run: Path, *overrides: str, seconds: float = 60.0, **options: Any) -> Ended:
        """Start the run, or go on with it, and wait for its end."""
        return self.start(run, *overrides, **options).wait(seconds)

    def start_ranks(
        self, run: Path, *overrides: str, sabotage: Sequence[dict[str, Any]] = (), ranks: int = 2
    ) -> list[Started]:
        """Start the run as several processes that find each other, as torchrun starts them."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(ranks)}
        return [
            self.start(
                run,
                *overrides,
                sabotage=sabotage,
                environment=where | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            )
            for rank in range(ranks)
        ]

    @cached_property
    def plain(self) -> Path:
        """The run that nothing happened to."""
        ended = self.run(self._plain)
        assert ended.code == 0, ended.said
        return self._plain

    @cached_property
    def _plain_outcome(self) -> dict[str, Any]:
        return outcome(self.plain)

    def assert_equal_to_plain(self, run: Path) -> None:
        """The run is done, and all that it left is what the plain one left."""
        assert status(run)["state"] == "done"
        found = outcome(run)
        assert found.keys() == self._plain_outcome.keys()
        for name, expected in self._plain_outcome.items():
            assert found[name] == expected, f"{name} differs from the uninterrupted run's"


def outcome(run: Path) -> dict[str, Any]:
    """All that a run's work left behind, without times: by name, bytes or plain data.

    Of the checkpoints the last and the best; where these are one, the one before stays as well,
    and which that is depends on the interruptions.
    """
    records = without_times(read_metrics(run / "metrics.jsonl"))
    # As text, since NaN equals nothing.
    kept: dict[str, Any] = {"metrics": [json.dumps(record) for record in records]}
    kept["measurements"] = (run / "measurements.jsonl").read_bytes()
    for kind in ("checkpoints", "snapshots"):
        names = sorted(path.name for path in (run / kind).iterdir())
        assert names == [step_name(step) for step in list_steps(run / kind)], "something is left"
    ends = {pick_checkpoint(run, "last"), pick_checkpoint(run, "best")}
    for path in sorted({*(run / "snapshots").iterdir(), *ends}):
        for file in verify(path).files:
            kept[f"{path.relative_to(run)}/{file}"] = _content(path / file)
    return kept


def _content(path: Path) -> Any:
    if path.name != "training_state.json":
        return path.read_bytes()
    state = json.loads(path.read_bytes())
    assert state["progress"].pop("seconds") >= 0
    return state


def without_times(records: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """Metric records without what depends on the machine's speed."""
    for record in records:
        yield {name: value for name, value in record.items() if name not in TIMES}


def status(run: Path) -> dict[str, Any]:
    """status.json as it stands on disk."""
    content: dict[str, Any] = json.loads((run / "status.json").read_bytes())
    return content


def checkpoint_step(run: Path) -> int | None:
    """The step of the checkpoint that a resumed run would go on from."""
    manifest, _ = newest(run / "checkpoints")
    return None if manifest is None else manifest.step
