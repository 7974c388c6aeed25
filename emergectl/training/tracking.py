"""TensorBoard, W&B, MLflow and trackio, told what metrics.jsonl is told.

Each tracker lives in a thread of its own behind a queue, since a service may be slow to start
(MLflow makes its database in 4 s) or to answer (10 ms a call to SQLite, seconds over a network)
and the loop waits for nobody. A tracker that fails is given up with one warning and never stops
the run: metrics.jsonl has everything.

A resumed run goes on in the same tracker run, found by the run's id. Steps that were told twice,
because the run was killed after its last checkpoint, count once.

Nothing leaves the machine unless the person chose so: TensorBoard, MLflow and trackio write into
the run directory (MLFLOW_TRACKING_URI and TRACKIO_DIR name another place), W&B is online only
where `offline` is false, and the packages' own telemetry is off. Keys stay in the environment; the
trackers are given neither the command line nor the environment.
"""

from __future__ import annotations

import contextlib
import importlib.util
import netrc
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from emergectl.config.schema import TrackerSpec
from emergectl.errors import RequestError
from emergectl.runtime.listeners import Listener, RunFacts
from emergectl.store.masking import mask_values
from emergectl.store.measurements import Measurement
from emergectl.training.trackers import TRACKERS, LoggedMetrics, TrackedRun, Tracker

QUEUE_LENGTH = 10_000
BATCH_LENGTH = 200
SECONDS_TO_FINISH = 30.0

TELEMETRY_OFF = {
    "WANDB_ERROR_REPORTING": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GRADIO_ANALYTICS_ENABLED": "False",
}


def open_trackers(
    specs: Sequence[TrackerSpec],
    *,
    run_path: Path,
    run_id: str,
    experiment: Mapping[str, Any],
    warn: Callable[[str], None],
) -> list[Listener]:
    """A listener for each tracker of the experiment.

    `experiment` is the resolved experiment as plain data. `warn` is told in one line, from the
    thread that calls the listener, of a tracker that is given up. Raises RequestError where a
    package is not installed, W&B has no key, or trackio is bound to another directory.
    """
    for variable, value in TELEMETRY_OFF.items():
        os.environ.setdefault(variable, value)
    config = mask_values(experiment)
    trackers: list[Listener] = []
    for spec in specs:
        _require_package(spec.name)
        if spec.name == "wandb":
            _require_wandb_key(spec)
        if spec.name == "trackio":
            _bind_trackio(run_path)
        run = TrackedRun(run_id, run_path.resolve(), spec.project, spec.offline, config)
        trackers.append(BackgroundTracker(TRACKERS[spec.name](run), name=spec.name, warn=warn))
    return trackers


class BackgroundTracker:
    """A tracker behind a queue: never raises, never waits but for the end."""

    def __init__(self, tracker: Tracker, *, name: str, warn: Callable[[str], None]) -> None:
        self._tracker = tracker
        self._name = name
        self._warn = warn
        self._queue: queue.Queue[LoggedMetrics | None] = queue.Queue(QUEUE_LENGTH)
        self._trouble: str | None = None
        self._warned = False
        self._thread: threading.Thread | None = None
        self._state = "failed"

    def start(self, facts: RunFacts) -> None:
        # A daemon: a process that dies without close() is not held back by a silent server.
        self._thread = threading.Thread(
            target=self._work, args=(facts,), name=f"tracker-{self._name}", daemon=True
        )
        self._thread.start()

    def measured(self, measurements: Sequence[Measurement]) -> None:
        """The ends of the intervals; the values themselves stand in the line of metrics.jsonl."""
        for step in dict.fromkeys(one.step for one in measurements):
            record: dict[str, float] = {"step": step or 0}
            for one in measurements:
                if one.step == step and one.low is not None and one.high is not None:
                    record |= {f"{one.name}/low": one.low, f"{one.name}/high": one.high}
            if len(record) > 1:
                self.metrics(record)

    def metrics(self, record: LoggedMetrics) -> None:
        if self._trouble is None:
            try:
                self._queue.put_nowait(dict(record))
            except queue.Full:
                self._trouble = f"does not answer, {QUEUE_LENGTH:,} records are waiting"
        self._tell_trouble()

    def message(self, text: str) -> None:
        """Messages are for people; log.txt has them."""

    def close(self, state: str) -> None:
        if self._thread is None:
            return
        self._state = state
        deadline = time.monotonic() + SECONDS_TO_FINISH
        with contextlib.suppress(queue.Full):  # then the thread is stuck, and said so below
            self._queue.put(None, timeout=SECONDS_TO_FINISH)
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            self._trouble = self._trouble or f"had not finished after {SECONDS_TO_FINISH:.0f} s"
        self._tell_trouble()

    def _work(self, facts: RunFacts) -> None:
        try:
            self._tracker.start(facts.resumed_from)
            going_on = True
            while going_on:
                records, going_on = self._take()
                if records:
                    self._tracker.log(records)
            self._tracker.finish(self._state)
        except Exception as error:
            # Whatever a tracker may raise, the run is worth more than its reflection.
            first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            self._trouble = f"failed ({first_line})"

    def _take(self) -> tuple[list[LoggedMetrics], bool]:
        """Wait for a record and take what has gathered behind it; False at the end."""
        records: list[LoggedMetrics] = []
        while len(records) < BATCH_LENGTH:
            try:
                record = self._queue.get(block=not records)
            except queue.Empty:
                break
            if record is None:
                return records, False
            records.append(record)
        return records, True

    def _tell_trouble(self) -> None:
        if self._trouble is not None and not self._warned:
            self._warned = True
            self._warn(f"{self._name} {self._trouble}; the run goes on without it")


def _require_package(name: str) -> None:
    spec = importlib.util.find_spec(name)
    # A folder of that name, such as ./wandb full of old runs, is found but has no origin.
    if spec is None or spec.origin is None:
        raise RequestError(
            f"tracking: {name} is not installed; pip install 'emergectl[{name}]', or leave it out"
        )


def _require_wandb_key(spec: TrackerSpec) -> None:
    """Refuse what would make W&B ask at the keyboard; nobody is there."""
    if spec.offline or os.environ.get("WANDB_MODE", "online") not in ("online", "run", "shared"):
        return
    import wandb

    settings = wandb.setup().settings
    host = urlsplit(settings.base_url).hostname or ""
    if settings.api_key or settings.identity_token_file or _netrc_knows(host):
        return
    raise RequestError(
        "tracking: wandb has no API key; set WANDB_API_KEY, run `wandb login`, "
        "or write locally with {name: wandb, offline: true}"
    )


def _netrc_knows(host: str) -> bool:
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        return netrc.netrc(str(path)).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _bind_trackio(run_path: Path) -> None:
    """Point trackio at the run directory; it reads TRACKIO_DIR once, when it is imported."""
    given = os.environ.get("TRACKIO_DIR")
    folder = Path(given or run_path.resolve() / "trackio")
    os.environ["TRACKIO_DIR"] = str(folder)
    try:
        import trackio.utils
    finally:
        if not given:
            del os.environ["TRACKIO_DIR"]
    if Path(trackio.utils.TRACKIO_DIR) != folder:
        raise RequestError(
            f"tracking: trackio already writes to {trackio.utils.TRACKIO_DIR} in this process; "
            "set TRACKIO_DIR to one directory for all runs"
        )
