"""What is said of a run is true: whoever is alive, whatever the clock says."""

import json
import os
import socket
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from store_children import die, start_child, wait

from emergectl.config.schema import Experiment
from emergectl.errors import AlreadyRunningError, RequestError
from emergectl.store import status as status_module
from emergectl.store.owner import this_process
from emergectl.store.run import Run, create_run, open_run
from emergectl.store.status import SILENCE_SECONDS, read_status, timestamp, utc_now


def rewrite(run: Path, **fields: Any) -> None:
    """Change status.json as another process, host or time would have written it."""
    path = run / "status.json"
    content = json.loads(path.read_text())
    owner = content["owner"] | fields.pop("owner", {})
    path.write_text(json.dumps(content | fields | {"owner": owner}))


def ago(seconds: float) -> str:
    return timestamp(utc_now() - timedelta(seconds=seconds))


@pytest.fixture
def left(root: Path, experiment: Experiment) -> Path:
    """A run that says `running`, as it stands on disk, held by nobody."""
    run = create_run(root, experiment, argv=[])
    run.set_status("running", step=12)
    run.close()
    return run.path


def test_a_run_whose_process_lives_is_running(left: Path) -> None:
    assert read_status(left).state == "running"
    assert read_status(left).owner == this_process()


def test_a_pid_that_was_used_again_is_not_the_run(left: Path) -> None:
    rewrite(left, owner={"process_start": "1"})
    status = read_status(left)
    assert status.state == "failed"
    assert status.reason == f"died at step 12 or later: pid {os.getpid()} is another process now"


def test_a_pid_that_is_gone_is_dead(left: Path) -> None:
    child = start_child(lambda: None)
    wait(child)
    rewrite(left, owner={"pid": child})
    assert read_status(left).reason == f"died at step 12 or later: process {child} is gone"


def test_a_zombie_is_dead(root: Path, experiment: Experiment) -> None:
    def start() -> None:
        create_run(root, experiment, argv=[]).set_status("running")
        die()

    child = start_child(start)
    time.sleep(0.05)
    while Path(f"/proc/{child}/stat").read_text().rsplit(")")[1].split()[0] != "Z":
        time.sleep(0.01)
    (path,) = root.iterdir()
    assert read_status(path).state == "failed"  # It has not been waited for.
    wait(child)


def test_after_a_reboot_the_run_is_dead_even_if_its_pid_runs(left: Path) -> None:
    rewrite(left, owner={"boot": "another-boot"})
    status = read_status(left)
    assert status.state == "failed"
    assert f"{socket.gethostname()} was started again since" in (status.reason or "")


def test_another_host_is_alive_while_its_heart_beats(left: Path) -> None:
    rewrite(left, owner={"host": "gpu7", "pid": 1}, heartbeat=ago(SILENCE_SECONDS / 2))
    assert read_status(left).state == "running"
    with pytest.raises(AlreadyRunningError, match=r"pid 1 on gpu7 since .*, last heard of at 20"):
        open_run(left)


def test_another_host_is_dead_when_it_is_silent_and_its_lock_is_free(left: Path) -> None:
    rewrite(left, owner={"host": "gpu7", "pid": 1}, heartbeat=ago(SILENCE_SECONDS * 2))
    status = read_status(left)
    assert status.state == "failed"
    assert "no sign of life from gpu7 since" in (status.reason or "")
    with open_run(left) as run:
        run.set_status("done")


def test_another_container_on_this_host_is_judged_by_its_heartbeat(left: Path) -> None:
    rewrite(left, owner={"namespace": "pid:[1]", "pid": 999_999}, heartbeat=ago(1))
    assert read_status(left).state == "running"


def test_another_host_that_is_silent_but_holds_the_lock_is_alive(run: Run) -> None:
    rewrite(run.path, owner={"host": "gpu7", "pid": 1}, heartbeat=ago(10 * SILENCE_SECONDS))
    assert read_status(run.path).state == "running"


@pytest.mark.parametrize("hours", [-24 * 365, -1, 1, 24 * 365])
def test_no_clock_makes_a_live_run_dead(
    left: Path, hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = utc_now()
    monkeypatch.setattr(status_module, "utc_now", lambda: real + timedelta(hours=hours))
    assert read_status(left).state == "running"


def test_a_heartbeat_from_the_future_is_a_sign_of_life(left: Path) -> None:
    rewrite(left, owner={"host": "gpu7", "pid": 1}, heartbeat=ago(-3600))
    assert read_status(left).state == "running"


def test_time_at_work_never_shrinks_when_the_clock_is_set_back(
    root: Path, experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = []
    real = utc_now()
    clocks = iter(real - timedelta(hours=n) for n in range(1000))
    monkeypatch.setattr("emergectl.store.run.utc_now", lambda: next(clocks))
    run = create_run(root, experiment, argv=[])
    for _ in range(2):
        with run:
            run.set_status("running")
            for step in range(5):
                time.sleep(0.002)
                run.set_status("running", step=step)
                seconds.append(read_status(run.path).seconds)
            run.set_status("preempted")
        run = open_run(run.path)
    run.close()
    assert seconds == sorted(seconds)
    assert seconds[0] >= 0
    assert seconds[-1] > seconds[4] >= 0.01


def test_times_are_stored_in_utc_whatever_the_time_zone(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    try:
        run.set_status("running", step=1)
        heartbeat = status_module.parse_timestamp(read_status(run.path).heartbeat)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert heartbeat is not None
    assert abs((utc_now() - heartbeat).total_seconds()) < 60
    assert json.loads((run.path / "status.json").read_text())["heartbeat"].endswith("Z")


def test_heartbeats_are_written_at_most_once_a_second(run: Run) -> None:
    run.set_status("running", step=0)
    written = (run.path / "status.json").stat().st_ino
    for step in range(1, 2000):
        run.heartbeat(step)
    assert (run.path / "status.json").stat().st_ino == written
    run._written -= 1.0
    run.heartbeat(2000)
    assert read_status(run.path).step == 2000


def test_the_heart_beats_while_the_loop_is_busy_and_stops_at_the_end(
    root: Path, experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emergectl.store.run.HEARTBEAT_SECONDS", 0.02)
    with create_run(root, experiment, argv=[]) as run:
        run.set_status("running", step=1)
        first = read_status(run.path).heartbeat
        deadline = time.monotonic() + 10
        while read_status(run.path).heartbeat == first:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        run.set_status("done", step=2)
        last = (run.path / "status.json").read_bytes()
        time.sleep(0.1)
        assert (run.path / "status.json").read_bytes() == last


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"state": "asleep"}', b"\0" * 300])
def test_a_status_that_cannot_be_read_is_a_failure_and_no_traceback(
    left: Path, content: bytes
) -> None:
    (left / "status.json").write_bytes(content)
    status = read_status(left)
    assert (status.state, status.reason) == ("failed", "status.json cannot be read")


def test_a_folder_without_status_is_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="not a run"):
        read_status(tmp_path)
