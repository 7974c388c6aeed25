"""A sweep is brought to its end, whatever goes wrong, and repeats nothing."""

import json
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from nursery import Nursery, kill
from sweep_study import Study

from emergectl.store.checkpoints import list_steps
from emergectl.store.locate import list_runs
from emergectl.store.metrics_log import read_metrics
from emergectl.store.run import read_facts
from emergectl.store.status import read_status
from emergectl.sweeps.driver import MAX_CRASHES
from emergectl.sweeps.folder import SweepFolder
from emergectl.sweeps.table import sweep_table


def assert_complete(root: Path, trials: int, *, steps: int = 6) -> None:
    """Every trial was done exactly once, in one run, and nothing is half made."""
    runs = list_runs(root, half_made=True)
    done = [read_facts(run)["trial"] for run in runs]
    assert len(done) == len(set(done)) == trials
    for run in runs:
        assert read_status(run).state == "done"
        records = list(read_metrics(run / "metrics.jsonl"))
        assert [r["step"] for r in records if "validation/loss" in r] == [0, steps]
        assert list_steps(run / "checkpoints")[-1] == steps
    assert not list(root.glob("**/*.tmp"))
    folder = SweepFolder(root, "tiny").path
    assert not list((folder / "claims").iterdir())
    assert len(list((folder / "trials").iterdir())) == trials


def table_of(root: Path) -> tuple[list[str], list[list[Any]]]:
    folder = SweepFolder(root, "tiny")
    return sweep_table(folder, folder.read_plan())


def kill_along_the_way(
    nursery: Nursery, sweep: Path, root: Path, *, workers: int, trials: int, kills: int
) -> None:
    """Run a sweep and kill a worker at a time, at random moments, until so many are dead."""
    source = random.Random(7)
    started = nursery.start("sweep", sweep, "--workers", workers, "--runs-dir", root)
    while kills and nursery.ask({"poll": started.pid}) is None:
        time.sleep(source.uniform(0.05, 0.3))
        if len(list_runs(root)) >= trials // 10 and (pids := started.workers()):
            kill(source.choice(pids))
            kills -= 1
    ended = started.wait(600)
    assert ended.code == 0, ended.said
    assert kills == 0, "the sweep was over before all kills were done"


def test_workers_killed_along_the_way_lose_no_trial_and_double_none(
    nursery: Nursery, study: Study, tmp_path: Path
) -> None:
    sweep, root = study("seeds: 16"), tmp_path / "runs"
    kill_along_the_way(nursery, sweep, root, workers=4, trials=16, kills=3)
    assert_complete(root, 16)


@pytest.mark.long
def test_twenty_workers_and_two_hundred_trials_of_which_many_are_killed(
    nursery: Nursery, study: Study, tmp_path: Path
) -> None:
    sweep, root = study("seeds: 200"), tmp_path / "runs"
    kill_along_the_way(nursery, sweep, root, workers=20, trials=200, kills=60)
    assert_complete(root, 200)
    assert nursery.run("sweep", sweep, "--runs-dir", root).code == 0
    assert_complete(root, 200)


def test_a_sweep_of_which_everything_was_killed_ends_with_the_table_of_one_that_was_not(
    nursery: Nursery, study: Study, tmp_path: Path
) -> None:
    sweep = study("grid: {optimizer.lr: [1e-3, 1e-2]}\nseeds: 4")
    plain, killed = tmp_path / "plain", tmp_path / "killed"
    assert nursery.run("sweep", sweep, "--workers", 2, "--runs-dir", plain).code == 0
    for seconds in range(1, 9):
        started = nursery.start("sweep", sweep, "--workers", 2, "--runs-dir", killed)
        time.sleep(seconds / 4)
        started.kill_all()
        started.wait()
    ended = nursery.run("sweep", sweep, "--workers", 2, "--runs-dir", killed)
    assert ended.code == 0, ended.said
    assert_complete(killed, 8)
    assert table_of(killed) == table_of(plain)


def test_fired_again_and_again_as_by_cron_one_runs_and_the_others_exit_4_without_a_word(
    nursery: Nursery, study: Study, tmp_path: Path
) -> None:
    sweep, root = study("seeds: 8"), tmp_path / "runs"
    first = nursery.start("sweep", sweep, "--workers", 2, "--runs-dir", root)
    while not list_runs(root):
        time.sleep(0.01)
    plan = root / "sweeps" / "tiny" / "plan.json"
    first_plan = plan.stat().st_ino
    while nursery.ask({"poll": first.pid}) is None:
        ended = nursery.run("sweep", sweep, "--workers", 2, "--runs-dir", root)
        if nursery.ask({"poll": first.pid}) is None:
            assert (ended.code, ended.stderr) == (4, "")
            assert plan.stat().st_ino == first_plan  # It did not get as far as a plan.
        time.sleep(0.2)
    assert first.wait().code == 0
    assert_complete(root, 8)


def test_ten_starts_at_the_same_moment_are_one_sweep(
    nursery: Nursery, study: Study, tmp_path: Path
) -> None:
    sweep, root = study("seeds: 6"), tmp_path / "runs"
    starts = [nursery.start("sweep", sweep, "--workers", 2, "--runs-dir", root) for _ in range(10)]
    assert sorted(start.wait().code for start in starts) == [0] + 9 * [4]
    assert_complete(root, 6)


def test_a_stopped_sweep_keeps_checkpoints_exits_75_and_goes_on(
    nursery: Nursery, study: Study, tmp_path: Path
) -> None:
    sweep, root = study("seeds: 2", steps=4000), tmp_path / "runs"
    started = nursery.start("sweep", sweep, "--workers", 2, "--runs-dir", root)
    while len([run for run in list_runs(root) if list_steps(run / "checkpoints")]) < 2:
        time.sleep(0.02)
    started.signal(signal.SIGTERM)
    ended = started.wait(30)
    assert ended.code == 75, ended.said
    assert {read_status(run).state for run in list_runs(root)} == {"preempted"}
    steps = [list_steps(run / "checkpoints")[-1] for run in list_runs(root)]
    again = nursery.start("sweep", sweep, "--workers", 2, "--runs-dir", root)
    while min(list_steps(run / "checkpoints")[-1] for run in list_runs(root)) <= max(steps):
        time.sleep(0.02)
    assert nursery.run("sweep", "stop", "tiny", "--runs-dir", root).code == 0
    ended = again.wait(30)
    assert ended.code == 75, ended.said
    later = [list_steps(run / "checkpoints")[-1] for run in list_runs(root)]
    assert len(later) == 2
    assert min(later) > max(steps)


def test_a_trial_that_breaks_is_told_and_leaves_the_others_alone(
    nursery: Nursery, study: Study, tmp_path: Path
) -> None:
    varies = "grid: {optimizer.lr: [1e-3, 1e30]}\nseeds: 2"
    sweep, root = study(varies), tmp_path / "runs"
    ended = nursery.run("sweep", sweep, "--workers", 1, "--json", "--runs-dir", root)
    assert ended.code == 3, ended.said
    answer = json.loads(ended.stdout)
    assert answer["trials"] == {"done": 2, "failed": 2}
    assert "nan" in answer["failed"][0]["reason"]
    assert len(list_runs(root)) == 4
    assert nursery.run("sweep", sweep, "--runs-dir", root).code == 3
    record = SweepFolder(root, "tiny").record(answer["failed"][0]["trial"])
    assert record is not None
    assert record.retries == 0


def test_what_failed_is_retried_as_often_as_asked_and_no_oftener(
    nursery: Nursery, study: Study, tmp_path: Path
) -> None:
    sweep, root = study("grid: {optimizer.lr: [1e30]}"), tmp_path / "runs"
    for retry, retries in ((0, 0), (2, 2), (2, 2), (3, 3)):
        ended = nursery.run("sweep", sweep, "--retry", retry, "--runs-dir", root)
        assert ended.code == 3, ended.said
        folder = SweepFolder(root, "tiny")
        records = [folder.record(planned.key) for planned in folder.read_plan()]
        assert [record.retries for record in records if record] == [retries]


def test_fail_fast_stops_the_others_with_a_checkpoint(
    nursery: Nursery, study: Study, tmp_path: Path
) -> None:
    varies = "grid: {optimizer.lr: [1e-3, 1e30]}"
    sweep, root = study(varies, steps=100_000), tmp_path / "runs"
    ended = nursery.run("sweep", sweep, "--workers", 2, "--fail-fast", "--runs-dir", root)
    assert ended.code == 1, ended.said
    assert "first failure" in ended.stderr
    assert {read_status(run).state for run in list_runs(root)} == {"failed", "preempted"}


def test_a_trial_that_takes_its_process_down_again_and_again_has_failed(
    nursery: Nursery, study: Study, tmp_path: Path
) -> None:
    sweep, root = study("grid: {seed: [0]}", steps=100_000), tmp_path / "runs"
    started = nursery.start("sweep", sweep, "--workers", 1, "--runs-dir", root)
    killed: set[int] = set()
    while nursery.ask({"poll": started.pid}) is None:
        running = [run for run in list_runs(root) if read_status(run).live]
        for pid in started.workers() if running else []:
            owner = read_status(running[0]).owner
            if owner is not None and owner.pid == pid and pid not in killed:
                killed.add(pid)
                kill(pid)
        time.sleep(0.02)
    ended = started.wait()
    assert ended.code == 3, ended.said
    assert len(killed) == MAX_CRASHES
    reason = read_status(list_runs(root)[0]).reason
    assert reason == "took its process down 10 times (signal 9)"


def test_a_changed_file_adds_and_drops_trials_and_says_so(
    nursery: Nursery, study: Study, tmp_path: Path
) -> None:
    root = tmp_path / "runs"
    assert nursery.run("sweep", study("grid: {seed: 0..2}"), "--runs-dir", root).code == 0
    ended = nursery.run("sweep", study("grid: {seed: 1..4}"), "--runs-dir", root)
    assert ended.code == 0, ended.said
    assert "2 trials added" in ended.stderr
    assert "1 trials dropped" in ended.stderr
    assert "2 done already" in ended.stderr
    assert len(list_runs(root)) == 5
    header, rows = table_of(root)
    assert {row[header.index("seed")] for row in rows} == {1, 2, 3, 4}


def test_a_lost_sweep_directory_loses_no_run(
    nursery: Nursery, study: Study, tmp_path: Path
) -> None:
    import shutil

    sweep, root = study("seeds: 3"), tmp_path / "runs"
    assert nursery.run("sweep", sweep, "--runs-dir", root).code == 0
    before = table_of(root)
    shutil.rmtree(root / "sweeps")
    ended = nursery.run("sweep", sweep, "--runs-dir", root)
    assert ended.code == 0, ended.said
    assert "3 trials found again" in ended.stderr
    assert len(list_runs(root)) == 3
    assert table_of(root) == before


def test_a_trial_in_a_warm_worker_gives_the_numbers_of_a_run_by_itself(
    nursery: Nursery, study: Study, tmp_path: Path
) -> None:
    root, alone = tmp_path / "runs", tmp_path / "alone"
    sweep = study("grid: {model.dropout: [0.1], seed: [0, 3]}")
    assert nursery.run("sweep", sweep, "--workers", 1, "--runs-dir", root).code == 0
    for run in list_runs(root):
        own = alone / run.name
        ended = nursery.run("train", run / "experiment.yaml", "--json", "--run-dir", own)
        assert ended.code == 0, ended.said
        weights = "checkpoints/step-00000006/model.safetensors"
        assert (own / weights).read_bytes() == (run / weights).read_bytes()


def test_two_machines_share_a_sweep_and_a_dead_one_gives_its_trials_back(
    nursery: Nursery, study: Study, tmp_path: Path
) -> None:
    sweep, root = study("seeds: 12"), tmp_path / "runs"
    patience = {
        "emergectl.sweeps.claims:HEARTBEAT_SECONDS": 0.2,
        "emergectl.sweeps.claims:SILENCE_SECONDS": 2.0,
        "emergectl.store.status:SILENCE_SECONDS": 1.0,
        "emergectl.sweeps.driver:POLL_SECONDS": 0.2,
    }
    one, two = (
        nursery.start(
            "sweep", sweep, "--workers", 2, "--runs-dir", root, host=host, values=patience
        )
        for host in ("alpha", "beta")
    )
    while len(list_runs(root)) < 3:
        time.sleep(0.02)
    one.kill_all()
    one.wait()
    ended = two.wait()
    assert ended.code == 0, ended.said
    assert_complete(root, 12)
    assert {read_facts(run)["host"] for run in list_runs(root)} == {"alpha", "beta"}
