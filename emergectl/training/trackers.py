"""The four trackers, each told its run's records by the thread that `tracking` gives it.

Here stands what is particular to each package: where it writes, how a resumed run finds its
tracker's run again, how records that are told twice count once, how an end is said.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

LoggedMetrics = Mapping[str, float]


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told of the run that it reflects."""

    id: str
    path: Path
    project: str
    offline: bool
    config: Mapping[str, Any]


class Tracker(Protocol):
    """What a tracker must do; called from one thread only, and free to raise."""

    def start(self, resumed_from: int | None, /) -> None:
        """Open the tracker's run, or go on in it from a checkpoint's step."""

    def log(self, records: Sequence[LoggedMetrics]) -> None:
        """Lines of metrics.jsonl, in order."""

    def finish(self, state: str) -> None:
        """Send what is left and end the tracker's run as done, failed or preempted."""


class TensorBoardTracker:
    """Event files in RUN/tensorboard; `tensorboard --logdir runs` shows all runs together."""

    def __init__(self, run: TrackedRun) -> None:
        self._run = run

    def start(self, resumed_from: int | None, /) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # What was written beyond the checkpoint comes again: TensorBoard hides the first telling.
        self._writer = SummaryWriter(
            str(self._run.path / "tensorboard"),
            purge_step=None if resumed_from is None else resumed_from + 1,
            flush_secs=10,
        )
        if resumed_from is None:
            text = json.dumps(self._run.config, indent=2, ensure_ascii=False)
            self._writer.add_text("experiment", "    " + text.replace("\n", "\n    "), 0)

    def log(self, records: Sequence[LoggedMetrics]) -> None:
        for record in records:
            step = int(record["step"])
            for name, value in _measured(record):
                self._writer.add_scalar(name, value, step)

    def finish(self, _state: str) -> None:
        self._writer.close()


class WandbTracker:
    """Weights & Biases: online, or in RUN/wandb for a later `wandb sync`."""

    def __init__(self, run: TrackedRun) -> None:
        self._run = run

    def start(self, _resumed_from: int | None, /) -> None:
        import wandb

        settings = wandb.Settings(
            console="off",
            silent=True,
            # The command line, the git remote and the environment may hold secrets.
            x_disable_meta=True,
            x_disable_machine_info=True,
            disable_git=True,
            disable_code=True,
            x_save_requirements=False,
        )
        self._wandb_run = wandb.init(
            project=self._run.project,
            id=self._run.id,
            name=self._run.id,
            dir=str(self._run.path),
            config=dict(self._run.config),
            mode="offline" if self._run.offline else None,
            # Online, W&B itself leaves out steps that it has seen. Offline each start leaves one
            # folder with the same id, and `wandb sync` sends them in order of time.
            resume="allow",
            reinit="create_new",
            settings=settings,
        )

    def log(self, records: Sequence[LoggedMetrics]) -> None:
        for record in records:
            self._wandb_run.log(dict(_measured(record)), step=int(record["step"]))

    def finish(self, state: str) -> None:
        if state == "preempted":
            self._wandb_run.mark_preempting()
        self._wandb_run.finish(exit_code={"done": 0, "preempted": 75}.get(state, 1))


class MlflowTracker:
    """MLflow: RUN/mlflow/mlflow.db, or the server that MLFLOW_TRACKING_URI names."""

    def __init__(self, run: TrackedRun) -> None:
        self._run = run

    def start(self, _resumed_from: int | None, /) -> None:
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic"):  # both tell of every table that they make
            logging.getLogger(name).setLevel(logging.WARNING)
        uri, artifacts = os.environ.get("MLFLOW_TRACKING_URI"), None
        if not uri:
            folder = self._run.path / "mlflow"
            folder.mkdir(exist_ok=True)
            uri, artifacts = f"sqlite:///{folder}/mlflow.db", (folder / "artifacts").as_uri()
        self._client = MlflowClient(tracking_uri=uri)
        project = self._client.get_experiment_by_name(self._run.project)
        project_id = (
            project.experiment_id
            if project
            else self._client.create_experiment(self._run.project, artifact_location=artifacts)
        )
        self._mlflow_id, self._last_steps = self._find_or_create(project_id)

    def _find_or_create(self, project_id: str) -> tuple[str, dict[str, int]]:
        """MLflow's own id of this run, and the last step that it knows of each metric."""
        from mlflow.entities import Param

        tag = "emergectl.run_id"
        known = self._client.search_runs([project_id], f"tags.`{tag}` = '{self._run.id}'")
        if known:
            mlflow_id = known[0].info.run_id
            self._client.update_run(mlflow_id, status="RUNNING")
            histories = {
                name: self._client.get_metric_history(mlflow_id, name)
                for name in known[0].data.metrics
            }
            return mlflow_id, {k: max(m.step for m in h) for k, h in histories.items() if h}
        run = self._client.create_run(project_id, run_name=self._run.id, tags={tag: self._run.id})
        params = [Param(k, v[:6000]) for k, v in _flat(self._run.config).items()]
        for start in range(0, len(params), 100):  # MLflow's limit for one call
            self._client.log_batch(run.info.run_id, params=params[start : start + 100])
        return run.info.run_id, {}

    def log(self, records: Sequence[LoggedMetrics]) -> None:
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        metrics = [
            Metric(name, value, now_ms, int(record["step"]))
            for record in records
            for name, value in _measured(record)
            if record["step"] > self._last_steps.get(name, -1)
        ]
        for start in range(0, len(metrics), 1000):  # MLflow's limit for one call
            self._client.log_batch(self._mlflow_id, metrics=metrics[start : start + 1000])

    def finish(self, state: str) -> None:
        status = {"done": "FINISHED", "preempted": "KILLED"}.get(state, "FAILED")
        self._client.set_terminated(self._mlflow_id, status)


class TrackioTracker:
    """trackio: RUN/trackio, or the directory that TRACKIO_DIR names; always local."""

    def __init__(self, run: TrackedRun) -> None:
        self._run = run

    def start(self, _resumed_from: int | None, /) -> None:
        import trackio
        from trackio.sqlite_storage import SQLiteStorage

        class LocalRun(trackio.Run):
            def _get_username(self) -> None:
                """Nobody: trackio would ask the hub whose token this machine holds."""

        project, run_id = self._run.project, self._run.id
        self._last_step = SQLiteStorage.get_max_step_for_run(project, run_id, run_id=run_id)
        # Not trackio.init: that would obey TRACKIO_SPACE_ID and talk to stdout.
        self._trackio_run = LocalRun(
            url=None,
            project=project,
            client=None,
            name=run_id,
            run_id=run_id,
            config=dict(self._run.config),
        )

    def log(self, records: Sequence[LoggedMetrics]) -> None:
        for record in records:
            step = int(record["step"])
            if self._last_step is None or step > self._last_step:
                self._trackio_run.log(dict(_measured(record)), step=step)

    def finish(self, _state: str) -> None:
        with contextlib.redirect_stdout(io.StringIO()):  # "Uploading logs to Trackio"
            self._trackio_run.finish()


TRACKERS: dict[str, Callable[[TrackedRun], Tracker]] = {
    "tensorboard": TensorBoardTracker,
    "wandb": WandbTracker,
    "mlflow": MlflowTracker,
    "trackio": TrackioTracker,
}


def _measured(record: LoggedMetrics) -> list[tuple[str, float]]:
    return [(name, float(value)) for name, value in record.items() if name != "step"]


def _flat(data: Any, prefix: str = "") -> dict[str, str]:
    """Nested plain data as dotted keys: `{"a": {"b": 1}}` becomes `{"a.b": "1"}`."""
    if isinstance(data, Mapping):
        items = [(str(key), value) for key, value in data.items()]
    elif isinstance(data, list):
        items = [(str(index), value) for index, value in enumerate(data)]
    else:
        return {prefix: str(data)}
    flat: dict[str, str] = {}
    for key, value in items:
        flat |= _flat(value, f"{prefix}.{key}" if prefix else key)
    return flat
