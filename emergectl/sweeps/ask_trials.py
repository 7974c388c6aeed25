"""A trained trial asked what its sweep file says, in the worker that trained it."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from pathlib import Path

import torch

from emergectl.config.schema import Experiment
from emergectl.errors import EmergectlError, InterruptedRunError, PreemptedError
from emergectl.evaluation.session import ask_model
from emergectl.inference.loading import find_weights
from emergectl.runtime.place import Place
from emergectl.runtime.ranks import join_ranks
from emergectl.runtime.stop import StopRequest
from emergectl.sweeps.marks import mark_asked
from emergectl.sweeps.protocol import Order, Send

SECONDS_BETWEEN_WORDS = 1.0


def ask_trial(order: Order, stop: StopRequest, send: Send) -> None:
    """Ask the models of a trial's run, and mark the run as asked.

    What stands there already is not asked again. Raises what ended it; but for a stop, the run is
    marked with the reason.
    """
    assert order.asks is not None
    run, digest = Path(order.root) / order.run, order.asks["digest"]
    trial = Experiment.model_validate(order.experiment)
    experiment = Experiment.model_validate(order.asks["experiment"])
    told = float("-inf")

    def tell(task: str, step: int | None, done: int, items: int, samples: int) -> None:
        nonlocal told
        del samples
        now = time.monotonic()
        if now - told >= SECONDS_BETWEEN_WORDS:
            told = now
            send(asking=order.key, task=task, step=step, done=done, items=items)

    try:
        device: torch.device = join_ranks(trial.train).device
        ask_model(
            find_weights(str(run), which=order.asks["checkpoint"], root=run.parent),
            experiment,
            root=run.parent,
            argv=sys.argv,
            place=Place(device=device, autocast=nullcontext),
            stop=stop,
            tell=tell,
            resume="same",
            contamination=False,
        )
    except (PreemptedError, InterruptedRunError):
        raise
    except Exception as error:
        mark_asked(run, digest, _reason(error))
        raise
    mark_asked(run, digest)


def _reason(error: Exception) -> str:
    foreseen = isinstance(error, EmergectlError)
    told = str(error) if foreseen else f"{type(error).__name__}: {error}"
    return f"trained, but cannot be asked: {told}"
