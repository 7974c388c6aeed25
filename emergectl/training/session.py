"""One training session: from an experiment to a run directory that is done, or can go on.

Assembles the `Job` (data, model, arithmetic, ranks), goes on from the newest good checkpoint where
there is one, trains, and writes down how it ended. The loop itself is `emergectl.training.loop`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from emergectl.config.schema import Experiment
from emergectl.errors import (
    EmergectlError,
    InterruptedRunError,
    PreemptedError,
    TrainingError,
)
from emergectl.evaluation.held_out import affordable, evaluate_all
from emergectl.evaluation.watched import check_measured
from emergectl.models.counting import (
    count_parameters,
    peak_flops,
    row_flops,
)
from emergectl.models.memory import is_out_of_memory
from emergectl.runtime.listeners import Listener
from emergectl.runtime.place import Place
from emergectl.runtime.precision import DTYPES, autocast, make_deterministic, make_scaler
from emergectl.runtime.ranks import Ranks, is_lost_rank
from emergectl.runtime.stop import StopRequest
from emergectl.store import checkpoints
from emergectl.store.measurements import Measurement, forget_after
from emergectl.store.origins import starting_at
from emergectl.store.run import Run
from emergectl.tasks.learning.materials import (
    HeldOutSet,
    Materials,
    gather_materials,
    make_model,
    resolve_with_weights,
)
from emergectl.tasks.objectives.objective import Objective
from emergectl.training.announce import announce, mean_work
from emergectl.training.autotune import Arithmetic, choose_arithmetic
from emergectl.training.budget import plan_budget
from emergectl.training.checkpointing import Progress, Trained, newest_checkpoint
from emergectl.training.ensemble import arithmetic_of_members, train_together
from emergectl.training.final_test import FinalTest
from emergectl.training.loop import Ending, Job, train
from emergectl.training.optimizers import Optimizers
from emergectl.training.recorder import Recorder


class LossModule(nn.Module):
    """The model with its loss: what is compiled, and what DDP wraps."""

    def __init__(self, model: PreTrainedModel, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Sum of the losses of a batch: scalar."""
        return self.objective.loss_sum(self.model, batch)


@dataclass(frozen=True)
class Session:
    """What a session works with besides its experiment; `run` is None on ranks other than 0."""

    run: Run | None
    ranks: Ranks
    listener: Listener
    stop: StopRequest
    decided: Mapping[str, Any] | None = None
    """the arithmetic that an earlier session of this run settled on; resuming keeps to it"""
    data_progress: Callable[[str, int, int], None] | None = None

    def say(self, text: str) -> None:
        """Tell the person, and the log."""
        if self.run is not None:
            self.run.log(text)
            self.listener.message(text)


def run_session(experiment: Experiment, session: Session) -> Ending:
    """Train `experiment` in `session` to its end; the run's status says how it ended.

    Raises PreemptedError or InterruptedRunError where a signal stopped it with a checkpoint, and
    the error itself, after writing it into the status, where it failed.
    """
    with _accounted(session):
        _begin(session)
        job = prepare_job(experiment, session)
        ending = train(job)
    return _conclude(session, job, ending)


def run_together(
    requests: Sequence[tuple[Experiment, Session]],
    *,
    ended: Callable[[int, Exception | None], None],
) -> None:
    """Train several experiments, those that can be as one ensemble; each as `run_session` would.

    `ended` is called with the place of each request, when that run is over, and what
    `run_session` would have raised.
    """
    jobs: dict[int, Job] = {}
    for number, (experiment, session) in enumerate(requests):
        try:
            with _accounted(session):
                _begin(session)
                decided = session.decided or arithmetic_of_members(experiment, session.ranks)
                jobs[number] = prepare_job(experiment, replace(session, decided=decided))
        except Exception as error:
            ended(number, error)
    for number, outcome in train_together(jobs):
        session = requests[number][1]
        try:
            with _accounted(session):
                if isinstance(outcome, Exception):
                    raise outcome
            _conclude(session, jobs[number], outcome)
        except Exception as error:
            ended(number, error)
        else:
            ended(number, None)


def _begin(session: Session) -> None:
    if session.run is not None:
        session.run.set_status("running")


@contextlib.contextmanager
def _accounted(session: Session) -> Iterator[None]:
    """Whatever is raised inside is written into the run's status, in words where there are any."""
    try:
        yield
    except EmergectlError as error:
        _finish(session, "failed", error.exit_code, str(error))
        raise
    except BaseException as error:
        told = _in_words(error, ranks=session.ranks.world)
        if told is None:
            _finish(session, "failed", 1, f"{type(error).__name__}: {error}")
            raise
        _finish(session, "failed", told.exit_code, str(told))
        raise told from error


def _conclude(session: Session, job: Job, ending: Ending) -> Ending:
    """Write down how training ended; raises where a signal ended it."""
    if ending == "stopped":
        step = job.trained.progress.step
        interrupted = session.stop.was_keyboard
        _finish(session, "preempted", 130 if interrupted else 75, f"stopped at step {step}")
        # A launcher ends all ranks when the first has gone, be it in the middle of a save.
        session.ranks.wait()
        kind = InterruptedRunError if interrupted else PreemptedError
        raise kind(f"stopped at step {step} with a checkpoint; start again to go on")
    _finish(session, "done", 0, "no improvement any more" if ending == "early" else None)
    return ending


def _in_words(error: BaseException, *, ranks: int) -> EmergectlError | None:
    """An error of the machine as a sentence; None for what nobody foresaw."""
    if ranks > 1 and is_lost_rank(error):
        return TrainingError("another rank is gone; start again to go on from the last checkpoint")
    if is_out_of_memory(error):
        return TrainingError(
            f"out of memory ({str(error).splitlines()[0] if str(error) else 'no more is said'}); "
            "use a smaller train.batch_size, data.seq_len or model, or a machine with more; "
            "what was committed before is intact"
        )
    return None


def _finish(session: Session, state: str, exit_code: int, reason: str | None) -> None:
    if session.run is not None:
        session.run.set_status(state, exit_code=exit_code, reason=reason)  # type: ignore[arg-type]
    session.listener.close(state)


def prepare_job(experiment: Experiment, session: Session) -> Job:
    """Assemble the job, restored from the newest good checkpoint where the run has one."""
    ranks = session.ranks
    if experiment.train.deterministic:
        make_deterministic()
    origin = _own_origin(experiment, session)
    resolved = resolve_with_weights(origin)
    materials = gather_materials(resolved, progress=session.data_progress)
    for warning in materials.report.get("warnings", ()):
        session.say(warning)
    model = make_model(resolved, materials, say=session.say)
    parameters = count_parameters(model)
    flops = row_flops(model)
    per_step = mean_work(experiment, materials, flops)
    budget = plan_budget(
        experiment.train,
        rows_per_epoch=materials.train.rows,
        tokens_per_step=per_step.tokens,
        flops_per_step=per_step.flops,
    )
    model.to(ranks.device)
    materials = replace(
        materials,
        held_out=affordable(model, materials.held_out, say=session.say),
        test=affordable(model, materials.test, say=session.say),
    )
    check_measured(experiment.evaluation.best, materials.objective.data, materials.held_out)
    plain = LossModule(model, materials.objective)
    arithmetic = choose_arithmetic(
        experiment,
        plain,
        materials.train,
        budget,
        ranks,
        decided=session.decided,
        say=session.say,
    )
    # Sharding puts other parameters in the place of the model's: an optimizer that was built before
    # would go on with the old ones.
    loss_module = ranks.wrap(arithmetic.compiled(plain))
    trained = Trained(
        model=model,
        tokenizer=materials.tokenizer,
        optimizers=Optimizers(experiment.optimizer, model, device=ranks.device),
        scaler=make_scaler(arithmetic.precision, ranks.device),
        progress=Progress(micro_batch_size=arithmetic.micro_batch_size),
    )
    restored = _restore(trained, materials, session)
    if not trained.progress.flops:  # a checkpoint from when they were not kept
        trained.progress.flops = trained.progress.tokens * per_step.flops / per_step.tokens
    recorder = Recorder(
        run=session.run,
        listener=session.listener,
        experiment=experiment,
        trained=trained,
        fingerprint=materials.train.fingerprint,
        parameters=parameters,
        peak_flops=_peak(arithmetic, ranks),
        saved=None if restored is None else replace(trained.progress),
    )
    announce(
        experiment, session, materials, parameters, per_step, arithmetic, budget, recorder, restored
    )
    evaluate = _evaluator(experiment, session, materials, trained, arithmetic)
    return Job(
        experiment=experiment,
        objective=materials.objective,
        feed=materials.train,
        budget=budget,
        trained=trained,
        loss_module=loss_module,
        precision=arithmetic.precision,
        compiled=arithmetic.compile,
        ranks=ranks,
        flops=flops,
        evaluate=lambda: evaluate(materials.held_out, trained.progress.step),
        ask_test=FinalTest(
            trained=trained,
            recorder=recorder,
            ranks=ranks,
            chosen_by=experiment.evaluation.best,
            measure=partial(evaluate, materials.test) if materials.test else None,
        ),
        recorder=recorder,
        stop=session.stop,
    )


def _own_origin(experiment: Experiment, session: Session) -> Experiment:
    """A run that goes on starts at its own checkpoint, whatever became of its `model.from`."""
    if experiment.model.from_ is None:
        return experiment
    path: Path | None = None
    if session.run is not None:
        manifest, _ = checkpoints.newest(session.run.checkpoints)
        path = None if manifest is None else manifest.path
    path = session.ranks.from_main(path)
    return experiment if path is None else starting_at(experiment, path)


def _restore(trained: Trained, materials: Materials, session: Session) -> int | None:
    """Go on from the newest good checkpoint; its step, or None where there is none."""
    path: Path | None = None
    if session.run is not None:
        fingerprint = materials.train.fingerprint
        path, rejected = newest_checkpoint(session.run, fingerprint=fingerprint)
        for reason in rejected:
            session.say(f"passed over a damaged checkpoint, and set it aside: {reason}")
    path = session.ranks.from_main(path)
    if path is not None:
        trained.restore(path)
    if session.run is not None:
        forget_after(session.run.path, trained.progress.looked_at)
    return None if path is None else trained.progress.step


def _peak(arithmetic: Arithmetic, ranks: Ranks) -> float | None:
    if ranks.device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(ranks.device)
    peak = peak_flops(name, DTYPES[arithmetic.precision])
    return None if peak is None else peak * ranks.world


def _evaluator(
    experiment: Experiment,
    session: Session,
    materials: Materials,
    trained: Trained,
    arithmetic: Arithmetic,
) -> Callable[[Sequence[HeldOutSet], int], list[Measurement] | None]:
    """A function that measures sets with the model as it is, which is that of a step."""
    ranks = session.ranks
    place = Place(
        device=ranks.device,
        autocast=lambda: autocast(arithmetic.precision, ranks.device),
        rank=ranks.rank,
        world=ranks.world,
        gather=ranks.gather,
    )

    def goes_on() -> bool:
        return ranks.sum([float(session.stop.signum is not None)])[0] == 0

    def evaluate(sets: Sequence[HeldOutSet], step: int) -> list[Measurement] | None:
        return evaluate_all(
            trained.model,
            materials.objective,
            sets,
            step=step,
            place=place,
            batch_size=experiment.evaluation.batch_size or experiment.train.batch_size,
            chance=materials.chance,
            goes_on=goes_on,
        )

    return evaluate
