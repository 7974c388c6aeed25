"""`eval`: a run's checkpoints and snapshots on its held-out data, item by item, onto disk.

The model is built once and the weights of each step put into it. What is found of a step goes to
`evals/step-NNNNNNNN/SET/`: `items.jsonl`, one line an item, and `results.json`, the metrics
computed from those items.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from emergectl.config.experiment import load_experiment
from emergectl.errors import RequestError
from emergectl.evaluation.held_out import score_rows
from emergectl.evaluation.held_out_metrics import Records, metrics_of, predictions
from emergectl.models.build import load_weights
from emergectl.runtime.place import Place
from emergectl.store import checkpoints
from emergectl.store.atomic import json_safe, write_json, write_text
from emergectl.store.origins import pick_checkpoints, starting_at
from emergectl.tasks.learning.materials import (
    HeldOut,
    Materials,
    gather_materials,
    make_model,
    resolve_with_weights,
)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Evaluated:
    """The metrics of one set at one step."""

    step: int
    held_out: str
    items: int
    metrics: dict[str, float]
    path: Path
    """where results.json and items.jsonl are"""


def evaluate_run(run: Path, which: str, *, say: Say) -> Iterator[Evaluated]:
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
    model = make_model(resolved, materials, say=say).to(device)
    for path in paths:
        load_weights(model, path)
        step = checkpoints.read_manifest(path).step
        for some in materials.held_out:
            # All of what is held out, also where training looked at a part of it.
            held_out = replace(some, rows=some.feed.held_out_rows)
            records = score_rows(
                model,
                held_out.objective or materials.objective,
                held_out,
                place=Place(device=device, autocast=nullcontext),
                batch_size=experiment.evaluation.batch_size or experiment.train.batch_size,
            )
            assert records is not None  # Nobody asks to stop here.
            folder = run / "evals" / checkpoints.step_name(step) / held_out.name
            yield _write(folder, step, held_out, records, materials)


def _write(
    folder: Path, step: int, held_out: HeldOut, records: Records, materials: Materials
) -> Evaluated:
    metrics = metrics_of(records, bytes_per_token=held_out.bytes_per_token)
    items = len(records["nll"])
    folder.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(json_safe(item), ensure_ascii=False) for item in _items(records, materials))
    write_text(folder / "items.jsonl", "\n".join(lines) + "\n")
    results: dict[str, Any] = {
        "step": step,
        "set": held_out.name,
        "objective": materials.objective.name,
        "items": items,
        "metrics": metrics,
        "chance": {
            name: value
            for name in metrics
            if (value := materials.chance.get(f"{held_out.name}/{name}")) is not None
        },
        "labels": list(materials.objective.labels) or None,
        "data_fingerprint": held_out.feed.fingerprint,
    }
    write_json(folder / "results.json", results)
    return Evaluated(step, held_out.name, items, metrics, folder)


def _items(records: Records, materials: Materials) -> Iterator[dict[str, Any]]:
    """One object an item: `item` (its row), `nll` in nats, and what the objective keeps.

    Tokens: `targets`, and `correct` where counted. Classes: `label`, `prediction` (as named in the
    data), `logits`.
    """
    names = materials.objective.labels
    chosen = predictions(records) if "logits" in records else None
    for row in range(len(records["nll"])):
        item: dict[str, Any] = {"item": row, "nll": float(records["nll"][row])}
        for name in ("targets", "correct"):
            if name in records:
                item[name] = int(records[name][row])
        if chosen is not None:
            item["label"] = _named(records["labels"][row], names)
            item["prediction"] = _named(chosen[row], names)
            item["logits"] = [float(value) for value in records["logits"][row]]
        yield item


def _named(label: Any, names: tuple[str | int, ...]) -> Any:
    """A class as the data calls it; of several (multilabel), those that are set."""
    if getattr(label, "ndim", 0):
        return [names[place] for place, is_set in enumerate(label) if is_set]
    return names[int(label)]
