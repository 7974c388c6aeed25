"""Trackers, against the real packages: what they hold, resumed or not, and what never gets in."""

import importlib.util
import json
import math
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from emergectl.config.schema import TrackerSpec
from emergectl.errors import RequestError
from emergectl.runtime.listeners import RunFacts
from emergectl.store.measurements import Measurement, MetricFacts
from emergectl.training import tracking
from emergectl.training.tracking import BackgroundTracker, open_trackers

RUN_ID = "20260102-030405-quickstart-3f9a"


def facts(run_path: Path, *, resumed_from: int | None = None) -> RunFacts:
    return RunFacts(
        run_id=RUN_ID,
        run_path=run_path,
        name="quickstart",
        model="attention_only",
        parameters=1000,
        non_embedding_parameters=500,
        total_steps=5,
        resumed_from=resumed_from,
    )


def needs(name: str) -> None:
    """Skip where a tracker's package is absent."""
    for package in (name, "torch") if name == "tensorboard" else (name,):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed (pip install 'emergectl[{name}]')")


def track(
    name: str,
    run_path: Path,
    steps: range,
    *,
    resumed_from: int | None = None,
    state: str = "done",
    experiment: Mapping[str, Any] | None = None,
) -> None:
    """One process's part of a run, told to one tracker; any warning is an error."""
    warnings: list[str] = []
    [listener] = open_trackers(
        [TrackerSpec(name=name, project="bench", offline=True)],  # type: ignore[arg-type]
        run_path=run_path,
        run_id=RUN_ID,
        experiment=experiment or {"optimizer": {"lr": 0.001}, "data": {"train": [{"path": "a"}]}},
        warn=warnings.append,
    )
    listener.start(facts(run_path, resumed_from=resumed_from))
    for step in steps:
        loss = math.nan if step == 2 else 1 / step
        listener.metrics({"step": step, "loss": loss})
        listener.metrics({"step": step, "任务/accuracy": step / 10})
    listener.close(state)
    assert warnings == []


def in_a_child(code: str, *, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a fresh process: some trackers are bound to their process for good."""
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    return subprocess.run(
        [sys.executable, "-c", "from test_training_tracking import *\n" + code],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def files_holding(folder: Path, text: str) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file() and text.encode() in p.read_bytes()]


# --- tensorboard


def tensorboard_scalars(run_path: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run_path / "tensorboard"))
    events.Reload()
    return {
        tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


def test_tensorboard_holds_every_metric_at_its_step(tmp_path: Path) -> None:
    needs("tensorboard")
    track("tensorboard", tmp_path, range(1, 4))
    scalars = tensorboard_scalars(tmp_path)
    assert set(scalars) == {"loss", "任务/accuracy"}
    assert [step for step, _ in scalars["loss"]] == [1, 2, 3]
    assert scalars["loss"][2][1] == pytest.approx(1 / 3)
    assert math.isnan(scalars["loss"][1][1])


def test_the_ends_of_intervals_stand_beside_their_values(tmp_path: Path) -> None:
    needs("tensorboard")
    (listener,) = open_trackers(
        [TrackerSpec(name="tensorboard")],
        run_path=tmp_path,
        run_id=RUN_ID,
        experiment={},
        warn=print,
    )
    what = MetricFacts("discontinuous", "up", "share")
    bounded = Measurement("copy", "exact_match", 0.5, what, "loop", step=7, low=0.25, high=0.75)
    listener.start(facts(tmp_path))
    listener.metrics({"step": 7, "copy/exact_match": 0.5, "copy/loss": 1.0})
    listener.measured([bounded, replace(bounded, metric="loss", low=None, high=None)])
    listener.close("done")
    assert tensorboard_scalars(tmp_path) == {
        "copy/exact_match": [(7, 0.5)],
        "copy/loss": [(7, 1.0)],
        "copy/exact_match/low": [(7, 0.25)],
        "copy/exact_match/high": [(7, 0.75)],
    }


def test_tensorboard_shows_steps_once_after_a_kill_and_a_resume(tmp_path: Path) -> None:
    needs("tensorboard")
    track("tensorboard", tmp_path, range(1, 6), state="failed")
    track("tensorboard", tmp_path, range(4, 8), resumed_from=3)
    assert [step for step, _ in tensorboard_scalars(tmp_path)["loss"]] == [1, 2, 3, 4, 5, 6, 7]


# --- mlflow


def mlflow_run(run_path: Path) -> Any:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{run_path}/mlflow/mlflow.db")
    project = client.get_experiment_by_name("bench")
    assert project is not None
    [run] = client.search_runs([project.experiment_id])
    histories = {k: client.get_metric_history(run.info.run_id, k) for k in run.data.metrics}
    return run, {k: [(m.step, m.value) for m in h] for k, h in histories.items()}


def test_mlflow_goes_on_in_the_same_run_and_counts_steps_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    track("mlflow", tmp_path, range(1, 6), state="preempted")
    run, _ = mlflow_run(tmp_path)
    assert run.info.status == "KILLED"
    track("mlflow", tmp_path, range(4, 8), resumed_from=3)
    run, histories = mlflow_run(tmp_path)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"optimizer.lr": "0.001", "data.train.0.path": "a"}
    assert [step for step, _ in histories["loss"]] == [1, 2, 3, 4, 5, 6, 7]
    assert histories["任务/accuracy"][-1] == (7, 0.7)
    assert [p.name for p in tmp_path.iterdir()] == ["mlflow"]


# --- trackio


def test_trackio_goes_on_in_the_same_run_and_counts_steps_once(tmp_path: Path) -> None:
    needs("trackio")
    part = "track('trackio', Path.cwd(), range({}), resumed_from={})"
    for steps, resumed_from in (("1, 6", None), ("4, 8", 3)):
        child = in_a_child(
            part.format(steps, resumed_from), cwd=tmp_path, HF_TOKEN="hf_" + "x" * 20
        )
        assert child.returncode == 0, child.stderr
        assert child.stdout == ""
    look = in_a_child(
        "from trackio.sqlite_storage import SQLiteStorage as s\n"
        f"print(json.dumps([r['step'] for r in s.get_logs('bench', '{RUN_ID}') if 'loss' in r]))",
        cwd=tmp_path,
        TRACKIO_DIR=str(tmp_path / "trackio"),
    )
    assert json.loads(look.stdout) == [1, 2, 3, 4, 5, 6, 7]
    assert [p.name for p in tmp_path.iterdir()] == ["trackio"]


def test_trackio_bound_to_another_directory_is_refused_and_never_written_to(
    tmp_path: Path,
) -> None:
    needs("trackio")
    child = in_a_child(
        "track('trackio', Path('one').absolute(), range(1, 2))\n"
        "track('trackio', Path('two').absolute(), range(1, 2))",
        cwd=tmp_path,
    )
    assert "RequestError: tracking: trackio already writes to" in child.stderr
    assert not (tmp_path / "two").exists()


# --- wandb


def leveldb_records(content: bytes) -> Iterator[bytes]:
    """The records of a LevelDB log, the outer form of a .wandb file (after its 7 bytes of header).

    Blocks of 32 KiB hold pieces: checksum (4 bytes), length (2), kind (1: whole, 2: first,
    3: middle, 4: last), data.
    """
    position, record = 7, b""
    while position + 7 <= len(content):
        if 32768 - position % 32768 < 7:
            position += 32768 - position % 32768
            continue
        length, kind = struct.unpack_from("<HB", content, position + 4)
        record += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):
            yield record
            record = b""


def wandb_history(run_path: Path) -> list[dict[str, Any]]:
    """The history rows of all offline parts, oldest first, as `wandb sync` would send them."""
    from wandb.proto.wandb_internal_pb2 import Record

    rows = []
    for path in sorted((run_path / "wandb").glob("offline-run-*/run-*.wandb")):
        for data in leveldb_records(path.read_bytes()):
            record = Record.FromString(data)
            if record.HasField("history"):
                items = record.history.item
                rows.append({i.key or i.nested_key[0]: json.loads(i.value_json) for i in items})
    return rows


def test_wandb_offline_writes_into_the_run_directory_under_the_runs_id(tmp_path: Path) -> None:
    needs("wandb")
    track("wandb", tmp_path, range(1, 4))
    [part] = (tmp_path / "wandb").glob("offline-run-*")
    assert part.name.endswith(RUN_ID)
    rows = wandb_history(tmp_path)
    assert [row["_step"] for row in rows] == [1, 2, 3]
    assert [row["loss"] for row in rows] == pytest.approx([1, math.nan, 1 / 3], nan_ok=True)
    assert rows[2]["任务/accuracy"] == pytest.approx(0.3)


def test_wandb_without_a_key_is_refused_instead_of_asking(tmp_path: Path) -> None:
    needs("wandb")
    child = in_a_child(
        "open_trackers([TrackerSpec(name='wandb')], run_path=Path.cwd(), run_id=RUN_ID,\n"
        "    experiment={}, warn=print)",
        cwd=tmp_path,
        HOME=str(tmp_path),
        WANDB_API_KEY="",
        WANDB_MODE="online",
        NETRC=str(tmp_path / "none"),
    )
    assert "RequestError: tracking: wandb has no API key; set WANDB_API_KEY" in child.stderr


# --- all of them


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow", "trackio"])
def test_no_secret_of_environment_arguments_or_urls_enters_the_run_directory(
    name: str, tmp_path: Path
) -> None:
    needs(name)
    secret = "5ec0e7" * 6 + "abcd"
    code = (
        f"import sys; sys.argv = ['emergectl', '--token', {secret!r}]\n"
        f"experiment = {{'path': 'https://me:{secret}@host/a.csv?token={secret}', 'seed': 7}}\n"
        f"track({name!r}, Path.cwd(), range(1, 4), experiment=experiment)"
    )
    keys = dict.fromkeys(["WANDB_API_KEY", "HF_TOKEN", "MLFLOW_TRACKING_PASSWORD"], secret)
    child = in_a_child(code, cwd=tmp_path, **keys)
    assert child.returncode == 0, child.stderr
    assert any(p.is_file() for p in tmp_path.rglob("*"))
    assert files_holding(tmp_path, secret) == []


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow", "trackio"])
def test_a_package_that_is_not_installed_is_named_with_its_extra(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(RequestError, match=rf"{name} is not installed; .*'emergectl\[{name}\]'"):
        open_trackers(
            [TrackerSpec(name=name)],  # type: ignore[arg-type]
            run_path=tmp_path,
            run_id=RUN_ID,
            experiment={},
            warn=print,
        )


def test_a_folder_of_old_wandb_runs_is_not_taken_for_the_package(tmp_path: Path) -> None:
    (tmp_path / "wandb").mkdir()
    child = subprocess.run(
        [
            sys.executable,
            "-c",
            "import importlib.util as u; from emergectl.training.tracking import _require_package\n"
            "import sys; sys.path = [p for p in sys.path if 'site-packages' not in p]\n"
            "_require_package('wandb')",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert "RequestError: tracking: wandb is not installed" in child.stderr


class BrokenTracker:
    """Fails at the third record, as a server that goes away would make it."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def start(self, _resumed_from: int | None, /) -> None: ...

    def log(self, records: Any) -> None:
        for record in records:
            if record["step"] >= 3:
                raise ConnectionError("server is gone\nand more that nobody wants to read")
            self.steps.append(record["step"])

    def finish(self, _state: str) -> None: ...


def test_a_tracker_that_fails_warns_once_and_never_raises(tmp_path: Path) -> None:
    warnings: list[str] = []
    tracker = BackgroundTracker(BrokenTracker(), name="mlflow", warn=warnings.append)
    tracker.start(facts(tmp_path))
    for step in range(1, 1000):
        tracker.metrics({"step": step, "loss": 1.0})
    tracker.close("done")
    assert warnings == ["mlflow failed (server is gone); the run goes on without it"]


class StuckTracker(BrokenTracker):
    """Never answers, as a server behind a dead network would not."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()

    def log(self, _records: Any) -> None:
        self.let_go.wait(60)


def test_a_tracker_that_never_answers_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "QUEUE_LENGTH", 5)
    monkeypatch.setattr(tracking, "SECONDS_TO_FINISH", 0.2)
    warnings: list[str] = []
    stuck = StuckTracker()
    tracker = BackgroundTracker(stuck, name="wandb", warn=warnings.append)
    tracker.start(facts(tmp_path))
    for step in range(1, 1000):
        tracker.metrics({"step": step, "loss": 1.0})
    tracker.close("done")
    stuck.let_go.set()
    assert warnings == ["wandb does not answer, 5 records are waiting; the run goes on without it"]
