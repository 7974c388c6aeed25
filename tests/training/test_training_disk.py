"""T3: on a full disk a run ends saying what it wanted where, and goes on once there is room."""

import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from training_runs import Bench, checkpoint_step, status

from emergectl.store.checkpoints import list_steps, newest, step_name, verify
from emergectl.store.metrics_log import read_metrics

DISK_BYTES = 2 * 2**20
ENOUGH_BYTES = 670_000
"""nearly what the run of these tests takes, with all its files and a checkpoint in the making"""
LEVELS = 30


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two MiB; skipped where this user may not mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk)]
    mounted = sys.platform == "linux" and subprocess.run(command, capture_output=True)
    if not mounted or mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path, *, leave: int) -> Path:
    """Fill a disk until only `leave` bytes are free; the file that does it."""
    filler = disk / "filler"
    free = shutil.disk_usage(disk).free
    filler.write_bytes(bytes(max(0, free - leave)))
    return filler


def fill_and_resume(bench: Bench, disk: Path, leave: int) -> int | None:
    """Run into a disk with `leave` bytes free, then make room; the step it had come to."""
    run = disk / "run"
    filler = fill(disk, leave=leave)
    ended = bench.run(run)
    assert ended.code == 1, ended.said
    assert re.search(rf"{disk}\S*: the disk is full \([\d,]+ bytes wanted", ended.stderr), (
        ended.said
    )
    assert "Traceback" not in ended.stderr
    kept = None
    if (run / "run.json").exists():
        said = status(run)
        assert (said["state"], said["exit_code"]) == ("failed", 1)
        assert "the disk is full" in said["reason"]
        kept, rejected = newest(run / "checkpoints")
        assert rejected == []
        names = sorted(path.name for path in (run / "checkpoints").iterdir())
        assert names == [step_name(step) for step in list_steps(run / "checkpoints")]
        list(read_metrics(run / "metrics.jsonl"))
    # Still no room: it fails again, and what is there stays.
    again = bench.run(run)
    assert again.code == 1, again.said
    assert "Traceback" not in again.stderr
    assert checkpoint_step(run) == (None if kept is None else kept.step)
    if kept is not None:
        assert verify(kept.path) == kept
    filler.unlink()
    assert bench.run(run).code == 0
    return None if kept is None else kept.step


@pytest.mark.long
def test_a_run_on_a_full_disk_ends_with_what_it_had_and_goes_on_later(
    bench: Bench, small_disk: Path
) -> None:
    reached = []
    for part in (0.0, 0.35, 0.7):
        reached.append(fill_and_resume(bench, small_disk, int(part * ENOUGH_BYTES)))
        bench.assert_equal_to_plain(small_disk / "run")
        shutil.rmtree(small_disk / "run")
    print(reached)
    assert reached[0] is None
    assert reached[-1] is not None


@pytest.mark.long
def test_a_run_on_a_disk_full_at_thirty_levels_goes_on_later(
    bench: Bench, small_disk: Path
) -> None:
    source = random.Random(3)
    for level in range(LEVELS):
        leave = ENOUGH_BYTES * level // LEVELS + source.randrange(ENOUGH_BYTES // LEVELS)
        print(leave, fill_and_resume(bench, small_disk, leave))
        bench.assert_equal_to_plain(small_disk / "run")
        shutil.rmtree(small_disk / "run")
