"""T1: killed at any moment and started again, a run ends as if nothing had happened."""

import random
import signal
import time
from pathlib import Path

import pytest
from training_runs import Bench
from training_sabotage import POINTS

from emergectl.store.metrics_log import read_metrics
from emergectl.store.status import read_status

SHORT = 3
LONG = 200


def kill_and_resume(bench: Bench, run: Path, source: random.Random) -> list[str]:
    """Kill a run one to five times, in ways drawn from `source`, and let it end; what was done."""
    done = []
    for _ in range(source.randint(1, 5)):
        way = source.choice(["time", "call", "point"])
        if way == "time":
            seconds = source.uniform(0.0, 1.2)
            done.append(f"after {seconds:.3f} s")
            started = bench.start(run)
            time.sleep(seconds)
            started.signal(signal.SIGKILL)
        elif way == "call":
            harm = {"what": "at_call", "count": source.randint(1, 400)}
            harm["when"] = source.choice(["before", "after"])
            done.append(str(harm))
            started = bench.start(run, sabotage=[harm])
        else:
            harm = {"what": "at_point", "point": source.choice(POINTS)}
            harm["count"] = source.randint(1, 4)
            done.append(str(harm))
            started = bench.start(run, sabotage=[harm])
        code = started.wait().code
        assert code in (0, -signal.SIGKILL), (done, code)
        list(read_metrics(run / "metrics.jsonl"))
        if (run / "status.json").exists():
            assert read_status(run).state == ("done" if code == 0 else "failed")
    ended = bench.run(run)
    assert ended.code == 0, (done, ended.said)
    return done


@pytest.mark.parametrize("seed", range(SHORT))
def test_a_run_killed_at_random_ends_as_if_it_had_not_been(
    bench: Bench, tmp_path: Path, seed: int
) -> None:
    done = kill_and_resume(bench, tmp_path / "run", random.Random(seed))
    print(done)
    bench.assert_equal_to_plain(tmp_path / "run")


@pytest.mark.long
@pytest.mark.parametrize("seed", range(SHORT, LONG))
def test_two_hundred_runs_killed_at_random_end_as_if_they_had_not_been(
    bench: Bench, tmp_path: Path, seed: int
) -> None:
    done = kill_and_resume(bench, tmp_path / "run", random.Random(seed))
    print(done)
    bench.assert_equal_to_plain(tmp_path / "run")


def test_a_run_killed_once_at_each_named_point_of_its_saves_ends_as_if_it_had_not_been(
    bench: Bench, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    # From the last to the first: so a checkpoint stands when the next is killed half-made.
    for point in reversed(POINTS):
        ended = bench.run(run, sabotage=[{"what": "at_point", "point": point}])
        assert ended.code == -signal.SIGKILL, (point, ended.said)
    assert bench.run(run).code == 0
    bench.assert_equal_to_plain(run)
