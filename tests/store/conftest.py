"""What the store's tests share: an experiment, a run, a small disk."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from emergectl.config.schema import Experiment
from emergectl.store.run import Run, create_run


@pytest.fixture
def experiment() -> Experiment:
    return Experiment.model_validate({"name": "tiny", "data": {"train": [{"path": "a.txt"}]}})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def run(root: Path, experiment: Experiment) -> Iterator[Run]:
    with create_run(root, experiment, argv=["emergectl", "train", "x.yaml"]) as run:
        run.set_status("running")
        yield run
        run.set_status("done", exit_code=0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB; skipped where this user may not mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    mounted = sys.platform == "linux" and subprocess.run(command, capture_output=True)
    if not mounted or mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)
