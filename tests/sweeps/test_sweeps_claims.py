"""A trial is claimed by exactly one living process, whatever clocks and process ids do."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from emergectl.store.owner import this_process
from emergectl.sweeps import claims as claims_module
from emergectl.sweeps.claims import Claims

RACE = """
import sys, time
from pathlib import Path
from emergectl.sweeps.claims import Claims
folder, out = Path(sys.argv[1]), Path(sys.argv[2])
claims = Claims(folder)
while not (out / "go").exists():
    time.sleep(0.001)
for number in range(60):
    if claims.take(f"key{number}"):
        if not (out / f"done{number}").exists():
            descriptor = open(out / f"log{number}", "a")
            descriptor.write("begin\\n"); descriptor.flush()
            time.sleep(0.001)
            descriptor.write("end\\n"); descriptor.close()
            (out / f"done{number}").touch()
        claims.release(f"key{number}")
"""


def plant(folder: Path, name: str, **changes: object) -> Path:
    """A claim of a process that differs from this one in what is given."""
    path = folder / name
    path.write_text(json.dumps(this_process().to_dict() | changes))
    return path


def test_of_many_processes_one_has_a_trial_at_a_time(tmp_path: Path) -> None:
    folder, out = tmp_path / "claims", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    for number in range(0, 60, 2):  # Half of the claims were left by a process that is dead.
        plant(folder, f"key{number}.0", pid=os.getpid(), process_start="0")
    command = [sys.executable, "-c", RACE, str(folder), str(out)]
    racers = [subprocess.Popen(command) for _ in range(6)]
    time.sleep(0.5)
    (out / "go").touch()
    assert [racer.wait(60) for racer in racers] == [0] * 6
    claims = Claims(folder)
    for number in range(60):
        log = out / f"log{number}"
        if not log.exists():  # Two withdrew for each other's sake: the next look gets it.
            assert claims.take(f"key{number}")
            claims.release(f"key{number}")
        else:
            assert log.read_text() == "begin\nend\n"
    assert not list(folder.iterdir())


def test_a_claim_of_a_living_process_stands_and_ends_with_its_release(tmp_path: Path) -> None:
    one, two = Claims(tmp_path), Claims(tmp_path)
    assert one.take("a")
    assert not one.take("a")
    assert not two.take("a")
    assert "a" in two.owners()
    one.release("a")
    assert two.take("a")
    two.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "changes",
    [{"process_start": "1"}, {"boot": "another"}, {"pid": 2**22 + 1}],
    ids=["its pid is another process now", "the machine was started again", "it is gone"],
)
def test_a_claim_whose_owner_on_this_machine_is_dead_comes_back_at_once(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    plant(tmp_path, "a.0", **changes)
    assert Claims(tmp_path).take("a")


@pytest.mark.parametrize("mtime", [0.0, 4e9], ids=["long ago", "in the future"])
def test_another_machines_claim_stands_however_its_clock_is_set(
    tmp_path: Path, mtime: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims_module, "SILENCE_SECONDS", 0.3)
    path = plant(tmp_path, "a.0", host="elsewhere")
    claims = Claims(tmp_path)
    for beat in range(6):
        os.utime(path, (mtime + beat, mtime + beat))
        assert not claims.take("a")
        time.sleep(0.1)


def test_another_machines_claim_comes_back_when_it_has_been_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims_module, "SILENCE_SECONDS", 0.2)
    plant(tmp_path, "a.0", host="elsewhere")
    claims = Claims(tmp_path)
    assert not claims.take("a")
    time.sleep(0.25)
    assert claims.take("a")


def test_a_holder_gives_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims_module, "HEARTBEAT_SECONDS", 0.05)
    claims = Claims(tmp_path)
    assert claims.take("a")
    path = tmp_path / "a.0"
    os.utime(path, (0, 0))
    time.sleep(0.3)
    assert path.stat().st_mtime > 1
    claims.close()


def test_threads_that_take_at_the_same_time_never_both_have_it(tmp_path: Path) -> None:
    barrier, holders = threading.Barrier(8), []

    def take() -> None:
        claims = Claims(tmp_path)
        barrier.wait()
        if claims.take("a"):
            holders.append(claims)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(holders) <= 1


def test_whoever_makes_a_claim_too_late_sees_the_living_one_before_it_and_withdraws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, "a.0", process_start="0")  # of a process that is dead
    late, other, living = Claims(tmp_path), Claims(tmp_path), Claims(tmp_path)
    make = late._make

    def made_late(path: Path) -> bool:
        """It has looked, and is slow: meanwhile one takes the trial and is done, another begins."""
        monkeypatch.undo()
        assert other.take("a")
        other.release("a")
        assert living.take("a")
        return make(path)

    monkeypatch.setattr(late, "_make", made_late)
    assert not late.take("a")
    assert [path.name for path in tmp_path.iterdir()] == ["a.0"]
    living.release("a")
    assert late.take("a")


def test_whoever_was_given_up_leaves_the_claim_of_its_successor_alone(tmp_path: Path) -> None:
    slow = Claims(tmp_path)
    assert slow.take("a")
    successor = plant(tmp_path, "a.1")
    slow.release("a")
    assert list(tmp_path.iterdir()) == [successor]
