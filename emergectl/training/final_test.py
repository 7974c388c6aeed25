"""The test data: asked once, when a run is over, and kept out of every choice.

Validation data steers a run: early stopping, the best checkpoint, a search. What it then says of
the chosen weights is too good. `data.test` is asked when nothing is left to choose, of the best
checkpoint where one is kept, else of the last. That it was asked stands in measurements.jsonl, so
that a run that is killed at its end and started again does not ask twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from emergectl.models.build import load_weights
from emergectl.runtime.ranks import Ranks
from emergectl.store import checkpoints
from emergectl.store.measurements import Measurement, read_measurements
from emergectl.store.run import Run
from emergectl.training.checkpointing import Trained
from emergectl.training.recorder import Recorder

TEST = "test"
"""the task that its measurements are of"""


@dataclass(frozen=True)
class FinalTest:
    """Asks the test data of a run; with `measure` None there is none."""

    trained: Trained
    recorder: Recorder
    ranks: Ranks
    chosen_by: str
    """the metric by which the best checkpoint was kept"""
    measure: Callable[[int], Sequence[Measurement] | None] | None
    """what the model as it is does, under a step; None where a stop was asked for meanwhile"""

    def __call__(self, *, anew: bool) -> bool:
        """Ask, after the last checkpoint; False where a stop came meanwhile.

        What an earlier session of the run asked already stands, unless `anew`.
        """
        if self.measure is None:
            return True
        asked = None if anew or self.recorder.run is None else _asked(self.recorder.run)
        if self.ranks.from_main(bool(asked)):
            self.recorder.log({one.name: one.value for one in asked or ()})
            return True
        step, best, last = self.ranks.from_main(self._chosen())
        if best is not None:
            load_weights(self.trained.model, best)
        try:
            measured = self.measure(step)
        finally:
            if best is not None:
                load_weights(self.trained.model, last)
        if measured is None:
            return False
        which = "the last" if best is None else f"the best by {self.chosen_by}"
        self.recorder.message(f"test data: asked once, of the checkpoint of step {step}, {which}")
        self.recorder.evaluation(measured)
        return True

    def _chosen(self) -> tuple[int, Path | None, Path | None]:
        """The step whose weights are asked; its checkpoint and the last, where it is not the last.

        The best checkpoint is passed over where it is not kept, or damaged.
        """
        run, progress = self.recorder.run, self.trained.progress
        best = progress.best_step
        if run is None or best is None or best == progress.step:
            return progress.step, None, None
        if best not in checkpoints.list_steps(run.checkpoints):
            return progress.step, None, None
        try:
            path = checkpoints.verify(run.checkpoints / checkpoints.step_name(best)).path
        except checkpoints.CheckpointError as error:
            self.recorder.message(f"the best checkpoint is damaged, so the last is asked: {error}")
            return progress.step, None, None
        return best, path, run.checkpoints / checkpoints.step_name(progress.step)


def _asked(run: Run) -> list[Measurement]:
    """What an earlier session measured of the test data."""
    return [m for m in read_measurements(run.path) if m.task == TEST and m.source == "loop"]
