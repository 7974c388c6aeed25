"""`eval` without tasks: a run's checkpoints and snapshots on what the run held out.

Held-out rows are items like those of any task: what is found of a step goes to
`evals/step-NNNNNNNN/SET/` as `item_files` has it, so what is complete is not asked again, and
`eval --rescore` computes further metrics. The model is built once and the weights of each step
that is left put into it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from emergectl.config.experiment import load_experiment
from emergectl.errors import RequestError
from emergectl.evaluation.columns import columns_of_rows
from emergectl.evaluation.held_out import affordable, bounds_of_rows, chance_of, score_rows
from emergectl.evaluation.held_out_records import records_of_rows
from emergectl.evaluation.item_files import RESULTS, open_items, read_json
from emergectl.evaluation.metrics import held_out_metrics
from emergectl.evaluation.results import TaskResult, summarize
from emergectl.models.build import load_weights
from emergectl.runtime.place import Place
from emergectl.store import checkpoints
from emergectl.store.origins import pick_checkpoints, starting_at
from emergectl.tasks.learning.materials import (
    HeldOutSet,
    Materials,
    Say,
    gather_materials,
    make_model,
    resolve_with_weights,
)
from emergectl.tasks.resolve import ResolvedExperiment
from emergectl.tasks.shortcuts import group_bounds_to_json


def evaluate_run(run: Path, which: str, *, say: Say) -> Iterator[TaskResult]:
    """Evaluate `last`, `best`, `all` or a step of the run directory `run`; yields as it goes.

    Raises RequestError where there is no such checkpoint or no held-out data, CheckpointError
    where one does not verify.
    """
    paths = pick_checkpoints(run, which)
    experiment = load_experiment(run / "experiment.yaml", check_paths=False).experiment
    # Weights and tokenizer are the checkpoint's; those that `model.from` names may be gone by now.
    experiment = starting_at(experiment, paths[0])
    resolved = resolve_with_weights(experiment)
    materials = gather_materials(resolved)
    if not materials.held_out:
        raise RequestError(
            f"{run.name} holds nothing out: it was trained with data.validation_fraction 0"
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    place = Place(device=device, autocast=nullcontext)
    asker = _Asker(resolved, materials, place, say)
    for path in paths:
        for some in materials.held_out:
            # All of what is held out, also where training looked at a part of it.
            yield asker.ask(run, path, replace(some, rows=some.feed.held_out_rows))


def _notes(name: str, candidates: Sequence[str]) -> tuple[str, ...]:
    """What is to be said of the candidates of a set, where it has any."""
    if not candidates:
        return ()
    listed = ", ".join(map(repr, candidates))
    return (
        f"{name}: the candidates are {listed}: accuracy, f1, mcc, roc_auc, brier and ece are of "
        "their log-probabilities",
    )


@dataclass
class _Asker:
    """Asks one checkpoint after another; holds the model, once there is something to ask."""

    resolved: ResolvedExperiment
    materials: Materials
    place: Place
    say: Say
    model: PreTrainedModel | None = None
    holds: Path | None = None

    def ask(self, run: Path, path: Path, held_out: HeldOutSet) -> TaskResult:
        """What one set gives at one checkpoint, from its folder where that is complete."""
        spec, step = self.resolved.experiment, checkpoints.read_manifest(path).step
        folder = run / "evals" / checkpoints.step_name(step) / held_out.name
        asked = self._asked(f"{run.name}@{step}", held_out)
        with open_items(folder, asked, resume=False, place=self.place) as file:
            was_there = file.is_complete
            if was_there:
                records = file.records
                before = read_json(folder / RESULTS)
                names, candidates = before["metric_names"], before.get("candidates", [])
                bounds = before.get("bounds", [])
            else:
                objective = held_out.objective or self.materials.objective
                model = self._holding(path)
                (held_out,) = affordable(model, [held_out], say=self.say)
                candidates = list(held_out.candidates)
                rows = score_rows(
                    model,
                    objective,
                    held_out,
                    place=self.place,
                    batch_size=spec.evaluation.batch_size or spec.train.batch_size,
                )
                assert rows is not None  # Nobody asks to stop here.
                found = records_of_rows(
                    rows,
                    held_out.name,
                    labels=objective.labels,
                    candidates=held_out.candidates,
                    keys=held_out.keys,
                    carried=held_out.carried,
                    unfit=held_out.unfit,
                )
                records = list(found)
                columns = columns_of_rows(
                    rows, bytes_per_token=held_out.bytes_per_token, unfit=held_out.unfit
                )
                names = [m.name for m in held_out_metrics() if m.measure(columns) is not None]
                bounds = group_bounds_to_json({None: bounds_of_rows(held_out, columns)})
            told: dict[str, Any] = {
                **file.asked,
                "step": step,
                "metric_names": names,
                "by": [],
                "chance": chance_of(held_out, self.materials.chance),
                "bounds": bounds,
            }
            if candidates:
                told["candidates"] = candidates
            result, told = summarize(folder, records, told, seed=0)
            file.finish(records, told, run=run, measured=result.values)
        return replace(
            result, was_there=was_there, notes=(*_notes(held_out.name, candidates), *result.notes)
        )

    def _asked(self, model: str, held_out: HeldOutSet) -> dict[str, Any]:
        objective = held_out.objective or self.materials.objective
        return {
            "task": held_out.name,
            "model": model,
            "objective": objective.name,
            "items": held_out.rows,
            "fingerprint": held_out.fingerprint,
            "data_fingerprint": held_out.feed.fingerprint,
            "bytes_per_token": held_out.bytes_per_token,
            "seed": 0,
        }

    def _holding(self, path: Path) -> PreTrainedModel:
        if self.model is None:
            made = make_model(self.resolved, self.materials, say=self.say)
            self.model = made.to(self.place.device)
        if self.holds != path:
            load_weights(self.model, path)
            self.holds = path
        return self.model
