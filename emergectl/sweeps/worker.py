"""A worker: a process that imports torch once and then trains one trial, or one pack
of trials, after another.

Started by a driver as `python -m emergectl.sweeps.worker`; orders come in on stdin, word goes out
on what was stdout, and whatever libraries print goes to the worker's log. A trial that breaks (a
number that is not finite, no memory, a bug) is written into its run's status and the worker goes
on; only after an error that leaves a CUDA device unusable does it leave, and another takes its
place. Between trials the process is put back as it was, so that a trial's numbers are those of
`emergectl train`.
"""

from __future__ import annotations

import gc
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from emergectl.config.schema import Experiment
from emergectl.errors import EmergectlError, PreemptedError
from emergectl.runtime.stop import StopRequest
from emergectl.sweeps.protocol import Order, Send, as_line

SECONDS_BETWEEN_STEPS = 1.0


class TrialStop(StopRequest):
    """What a trial's loop looks at: the worker's own stop, and the search's wish to give it up."""

    def __init__(self, worker: StopRequest) -> None:
        super().__init__()
        self._worker = worker
        self.pruned = False

    @property
    def signum(self) -> int | None:
        """The signal to obey; None to go on."""
        return signal.SIGTERM if self.pruned else self._worker.signum

    @signum.setter
    def signum(self, value: int | None) -> None:
        """A trial is stopped through its worker alone; this is the base class's beginning."""


class Teller:
    """A listener that tells the driver how a trial goes, at most once a second."""

    def __init__(self, order: Order, send: Send) -> None:
        self._order = order
        self._send = send
        self._told = float("-inf")

    def start(self, facts: Any) -> None:
        """The number of steps is known."""
        step = facts.resumed_from or 0
        self._send(began=self._order.key, steps=facts.total_steps, step=step)

    def metrics(self, record: Mapping[str, float]) -> None:
        """Steps now and then; each value of the watched metric."""
        watch, now = self._order.watch, time.monotonic()
        if watch is not None and watch in record:
            told = {"metrics": self._order.key, "step": record["step"], "value": record[watch]}
            self._send(**told)
        if now - self._told >= SECONDS_BETWEEN_STEPS:
            self._told = now
            self._send(at=self._order.key, step=record["step"])

    def measured(self, measurements: Any) -> None:
        """They stand in the run's measurements.jsonl."""

    def message(self, text: str) -> None:
        """It stands in the run's log."""

    def close(self, state: str) -> None:
        """The end is told by the worker, once the run is closed."""


class Control:
    """The orders that come in, read by a thread so that a stop reaches a trial that runs."""

    def __init__(self, stop: StopRequest) -> None:
        self.stop = stop
        self.trials: dict[str, TrialStop] = {}
        self._orders: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="orders", daemon=True).start()

    def next(self) -> dict[str, Any] | None:
        """The next order; None when there will be no more."""
        return self._orders.get()

    def _read(self) -> None:
        for line in sys.stdin.buffer:
            message = json.loads(line)
            if "prune" in message:
                trial = self.trials.get(message["prune"])
                if trial is not None:
                    trial.pruned = True
            elif "stop" in message:
                self.stop.signum = message["stop"]
                self._orders.put(None)
            else:
                self._orders.put(message)
        if self.stop.signum is None and self.trials:
            self.stop.signum = signal.SIGTERM  # The driver is gone: keep what there is.
        self._orders.put(None)


def main() -> int:
    """Serve a driver until it ends; the exit code."""
    stop = StopRequest()
    stop.install()
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    control = Control(stop)

    def send(**message: Any) -> None:
        try:
            out.write(as_line(**message))
        except BrokenPipeError:
            stop.signum = stop.signum or signal.SIGTERM

    process = Process()
    send(ready=True, devices=process.devices, threads=process.threads)
    while stop.signum is None and (message := control.next()) is not None:
        if "probe" in message:
            _probe(message["probe"], process, send)
        elif "weigh" in message:
            _weigh(message["weigh"], message["sizes"], process, send)
        elif not _run([Order(**each) for each in message["run"]], control, process, send):
            return 1
    return 0


class Process:
    """What a trial may change in the process, to be put back after it."""

    def __init__(self) -> None:
        import torch
        import transformers  # noqa: F401 - part of what keeps a worker warm

        import emergectl.training.session
        import emergectl.training.tracking  # noqa: F401

        wanted = os.environ.get("OMP_NUM_THREADS", "")
        if wanted.isdigit():
            torch.set_num_threads(int(wanted))
        self.threads = torch.get_num_threads()
        self.devices = torch.cuda.device_count()
        gc.collect()
        gc.freeze()  # What is imported stays: without it a collection takes 0.3 s, with it 0.01.

    def restore(self) -> None:
        """As before the trial."""
        import torch

        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(self.threads)
        gc.collect()
        if self.devices:
            torch.cuda.empty_cache()

    def is_sound(self) -> bool:
        """Whether the device still computes: some errors end a CUDA context for good."""
        import torch

        if not self.devices:
            return True
        try:
            torch.cuda.synchronize()
            return bool(torch.ones(1, device="cuda").item())
        except RuntimeError:
            return False


def _run(orders: Sequence[Order], control: Control, process: Process, send: Send) -> bool:
    """Train a pack of trials, ask them what their sweep asks, and tell how each ended; whether the
    worker can go on."""
    sound = True
    trials: list[OpenTrial] = []
    to_ask: list[Order] = [order for order in orders if order.trained]

    def ended(trial: Order | OpenTrial, error: Exception | None) -> None:
        nonlocal sound
        reason = None if error is None else _reason(error)
        if isinstance(trial, OpenTrial):
            reason = trial.close(error, reason)
        expected = error is None or isinstance(error, EmergectlError)
        sound = sound and (expected or process.is_sound())
        del control.trials[trial.key]
        send(ended=trial.key, reason=reason, leaving=not sound)

    def over(trial: OpenTrial, error: Exception | None) -> None:
        """Its training is; what it is asked waits until the pack's is."""
        if error is None and trial.order.asks is not None:
            trial.close(None, None)
            to_ask.append(trial.order)
        else:
            ended(trial, error)

    for order in orders:
        stop = control.trials[order.key] = TrialStop(control.stop)
        if order.trained:
            continue
        try:
            trials.append(OpenTrial(order, stop, send))
        except Exception as error:  # A bug of one trial is that trial's end, and no other's.
            ended(order, error)
    if len(trials) == 1:
        over(trials[0], _alone(trials[0]))
    elif trials:
        from emergectl.training.session import run_together

        requests = [(trial.experiment, trial.session) for trial in trials]
        run_together(requests, ended=lambda number, error: over(trials[number], error))
    trials.clear()
    for order in to_ask:
        process.restore()
        ended(order, _asked(order, control.trials[order.key], send))
    process.restore()
    return sound


def _asked(order: Order, stop: StopRequest, send: Send) -> Exception | None:
    """Ask a trained trial; what ended it, if not its end."""
    from emergectl.sweeps.ask_trials import ask_trial

    try:
        ask_trial(order, stop, send)
    except Exception as error:
        return error
    return None


def _reason(error: Exception) -> str:
    """Why a trial ended, in words; where nobody foresaw it, its traceback is in the log."""
    if isinstance(error, EmergectlError):
        return str(error)
    traceback.print_exception(error)
    return f"{type(error).__name__}: {error}"


class OpenTrial:
    """A trial whose run is open, made or gone on with."""

    def __init__(self, order: Order, stop: TrialStop, send: Send) -> None:
        from pathlib import Path

        from emergectl.runtime.listeners import Listener, ListenerGroup
        from emergectl.runtime.ranks import join_ranks
        from emergectl.store.run import create_run, open_run, read_facts
        from emergectl.tasks.learning.materials import check_experiment
        from emergectl.training.session import Session
        from emergectl.training.tracking import open_trackers

        self.order, self.key, self._stop = order, order.key, stop
        self.experiment = Experiment.model_validate(order.experiment)
        path = Path(order.root) / order.run
        before: dict[str, Any] = {}
        if (path / "run.json").exists():
            self._run = open_run(path)
            before = read_facts(path)
        else:
            root, facts = Path(order.root), order.facts
            self._run = create_run(
                root, self.experiment, argv=order.argv, run_id=order.run, facts=facts
            )
        try:
            check_experiment(self.experiment)
            teller: Listener = Teller(order, send)
            trackers = open_trackers(
                self.experiment.tracking,
                run_path=path,
                run_id=self._run.id,
                experiment=order.experiment,
                warn=self._run.log,
            )
            self.session = Session(
                run=self._run,
                ranks=join_ranks(self.experiment.train),
                listener=ListenerGroup([teller, *trackers]),
                stop=stop,
                decided=before.get("arithmetic"),
            )
        except BaseException:
            self._run.close()
            raise

    def close(self, error: Exception | None, reason: str | None) -> str | None:
        """Close the run, as done where a search gave the trial up; why it ended, if not at its
        end."""
        with self._run as run:
            if isinstance(error, PreemptedError) and self._stop.pruned:
                from emergectl.store.status import read_status
                from emergectl.sweeps.folder import PRUNED

                reason = f"{PRUNED} at step {read_status(run.path).step}: behind other trials"
                run.set_status("done", exit_code=0, reason=reason)
        return reason


def _alone(trial: OpenTrial) -> Exception | None:
    """Train one trial; what ended it, if not its end."""
    from emergectl.training.session import run_session

    try:
        run_session(trial.experiment, trial.session)
    except Exception as error:
        return error
    return None


def _weigh(plain: dict[str, Any], sizes: list[int], process: Process, send: Send) -> None:
    """Measure ensembles of an experiment and tell the driver, or why they cannot be."""
    from emergectl.sweeps.measure_ensembles import weigh

    try:
        rates = weigh(Experiment.model_validate(plain), sizes)
        send(weighed=[[size, rate] for size, rate in rates.items()])
    except EmergectlError:  # Its trials will say so, each in its run.
        send(weighed=[])
    finally:
        process.restore()


def _probe(plain: dict[str, Any], process: Process, send: Send) -> None:
    """Measure an experiment and tell the driver, or why it cannot be."""
    from emergectl.sweeps.measure_cost import probe

    try:
        send(probed=probe(Experiment.model_validate(plain)))
    except EmergectlError as error:
        send(probed={"error": str(error)})
    finally:
        process.restore()


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # The interpreter's own end takes torch apart, which only costs time.
