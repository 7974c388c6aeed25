"""T4: a signal ends a run with a checkpoint, soon, whatever it is doing; a second one at once."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from nursery import REPOSITORY, Ended
from training_runs import Bench, checkpoint_step, status

CODES = {signal.SIGTERM: 75, signal.SIGUSR1: 75, signal.SIGINT: 130}
SAVING = ("optimizer half written", "manifest about to be named", "checkpoint named")


def assert_stopped(run: Path, ended: Ended, signum: signal.Signals) -> int:
    """The run ended as the signal asks, and can go on; the step it ended at."""
    assert ended.code == CODES[signum], ended.said
    assert "Traceback" not in ended.stderr
    said = status(run)
    assert (said["state"], said["exit_code"]) == ("preempted", CODES[signum])
    step = checkpoint_step(run)
    assert step == said["step"]
    return step


def test_a_signal_in_the_middle_of_a_step_keeps_that_very_step(
    bench: Bench, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    for step, signum in zip((5, 16, 42), CODES, strict=True):
        harm = {"what": "in_step", "step": step, "signum": signum}
        assert assert_stopped(run, bench.run(run, sabotage=[harm]), signum) == step
    assert bench.run(run).code == 0
    bench.assert_equal_to_plain(run)


def test_a_signal_in_the_middle_of_a_save_lets_it_end(bench: Bench, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for point, signum in zip(SAVING, CODES, strict=True):
        harm = {"what": "at_point", "point": point, "count": 2, "signum": signum}
        assert_stopped(run, bench.run(run, sabotage=[harm]), signum)
    assert bench.run(run).code == 0
    bench.assert_equal_to_plain(run)


def test_a_signal_in_the_middle_of_an_evaluation_leaves_it_for_the_next_start(
    bench: Bench, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    # Two batches each at the steps 0, 15, 30, 45 and 60: the third start is in the last of them.
    for (batch, step), signum in zip(((3, 15), (3, 30), (5, 60)), CODES, strict=True):
        harm = {"what": "in_evaluation", "count": batch, "signum": signum}
        assert assert_stopped(run, bench.run(run, sabotage=[harm]), signum) == step
    assert bench.run(run).code == 0
    bench.assert_equal_to_plain(run)


def signalled_at_random(bench: Bench, run: Path, source: random.Random) -> list[str]:
    """Signal a run up to four times at random moments, and let it end; what was done."""
    done = []
    for _ in range(source.randint(2, 4)):
        signum, seconds = source.choice(list(CODES)), source.uniform(0.0, 1.5)
        done.append(f"{signum.name} after {seconds:.3f} s")
        started = bench.start(run)
        time.sleep(seconds)
        started.signal(signum)
        ended = started.wait()
        if ended.code not in (0, -signum) and ended.code != 130:
            assert_stopped(run, ended, signum)
    ended = bench.run(run)
    assert ended.code == 0, (done, ended.said)
    return done


@pytest.mark.parametrize("seed", range(2))
def test_a_run_signalled_at_random_ends_as_if_it_had_not_been(
    bench: Bench, tmp_path: Path, seed: int
) -> None:
    print(signalled_at_random(bench, tmp_path / "run", random.Random(seed)))
    bench.assert_equal_to_plain(tmp_path / "run")


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 40))
def test_forty_runs_signalled_at_random_end_as_if_they_had_not_been(
    bench: Bench, tmp_path: Path, seed: int
) -> None:
    print(signalled_at_random(bench, tmp_path / "run", random.Random(seed)))
    bench.assert_equal_to_plain(tmp_path / "run")


def test_a_second_signal_ends_at_once_and_the_run_goes_on_all_the_same(
    bench: Bench, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    first = {"what": "in_step", "step": 20, "signum": signal.SIGTERM}
    second = {"what": "at_point", "point": "optimizer half written", "count": 4}
    ended = bench.run(run, sabotage=[first, second | {"signum": signal.SIGUSR1}])
    assert ended.code == 128 + signal.SIGUSR1, ended.said
    assert status(run)["state"] == "running", "it did not end at once"
    assert checkpoint_step(run) == 16
    assert bench.run(run).code == 0
    bench.assert_equal_to_plain(run)


@pytest.fixture
def real_process(bench: Bench, tmp_path: Path) -> Any:
    """Starts `python -m emergectl train` as a person does."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    environment["EMERGECTL_CACHE"] = str(tmp_path / "cache")

    def start(run: Path, **options: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "emergectl", "train", bench.experiment, "--run-dir", run]
        return subprocess.Popen(
            command, env=environment, text=True, stdout=-1, stderr=-1, **options
        )

    return start


@pytest.mark.long
def test_a_signal_while_torch_is_imported_is_not_lost(
    bench: Bench, tmp_path: Path, real_process: Any
) -> None:
    signals = (signal.SIGTERM, signal.SIGINT)
    started = {signum: real_process(tmp_path / signum.name) for signum in signals}
    for signum, process in started.items():
        maps = Path(f"/proc/{process.pid}/maps")
        while "libtorch" not in maps.read_text():
            time.sleep(0.005)
        process.send_signal(signum)
    for signum, process in started.items():
        run = tmp_path / signum.name
        stdout, stderr = process.communicate(timeout=60)
        assert assert_stopped(run, Ended(process.returncode, stdout, stderr), signum) == 0
    assert bench.run(tmp_path / "SIGTERM").code == 0
    bench.assert_equal_to_plain(tmp_path / "SIGTERM")
