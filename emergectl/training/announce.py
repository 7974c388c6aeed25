"""What a run is, told in run.json and to the listeners before its first step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from emergectl.config.schema import Experiment
from emergectl.models.counting import ParameterCount, RowFlops
from emergectl.runtime.listeners import RunFacts
from emergectl.tasks.learning.materials import Materials
from emergectl.training.autotune import Arithmetic
from emergectl.training.budget import Budget
from emergectl.training.recorder import Recorder

if TYPE_CHECKING:
    from emergectl.training.session import Session


@dataclass(frozen=True)
class StepWork:
    """What a step takes in the mean over an epoch, by its rows' own lengths."""

    tokens: float
    flops: float


def mean_work(experiment: Experiment, materials: Materials, flops: RowFlops) -> StepWork:
    size, feed = experiment.train.batch_size, materials.train
    return StepWork(
        tokens=size * feed.mean_over_rows(lambda lengths: lengths),
        flops=size * feed.mean_over_rows(flops),
    )


def announce(
    experiment: Experiment,
    session: Session,
    materials: Materials,
    parameters: ParameterCount,
    per_step: StepWork,
    arithmetic: Arithmetic,
    budget: Budget,
    recorder: Recorder,
    restored: int | None,
) -> None:
    """Describe the run in run.json and to the listeners, before the first step."""
    run, ranks, model = session.run, session.ranks, recorder.trained.model
    if run is None:
        return
    total_flops = None if budget.steps is None else budget.steps * per_step.flops
    device = "cpu" if ranks.device.type == "cpu" else torch.cuda.get_device_name(ranks.device)
    run.describe(
        device=device,
        ranks=ranks.world,
        parameters=parameters.total,
        non_embedding_parameters=parameters.non_embedding,
        flops_per_token=per_step.flops / per_step.tokens,
        training_flops=total_flops,
        total_steps=budget.steps,
        arithmetic=arithmetic.to_dict(),
        labels=list(materials.objective.labels),
        chance=materials.chance,
        held_out={each.name: each.rows for each in (*materials.held_out, *materials.test)},
        data=materials.report,
    )
    kind = model.config.model_type
    session.listener.start(
        RunFacts(
            run_id=run.id,
            run_path=run.path,
            name=experiment.name,
            model=f"{kind} {experiment.model.size}" if experiment.model.size else kind,
            parameters=parameters.total,
            non_embedding_parameters=parameters.non_embedding,
            total_steps=budget.steps,
            resumed_from=restored,
            budget_seconds=budget.seconds,
            training_flops=total_flops,
            device=device,
            ranks=ranks.world,
            precision=arithmetic.precision,
            compiled=arithmetic.compile,
        )
    )
    if restored is not None:
        session.say(f"going on from the checkpoint of step {restored}")
