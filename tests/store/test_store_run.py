"""A run directory is claimed once, held by one process, and keeps no secrets."""

import json
import os
import secrets
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

import pytest
from store_children import die, in_child, start_child, wait

from emergectl.config.schema import Experiment
from emergectl.errors import AlreadyRunningError, RequestError
from emergectl.store.atomic import DiskFullError
from emergectl.store.checkpoints import list_steps
from emergectl.store.metrics_log import read_metrics
from emergectl.store.run import Run, create_run, forget_unbegun, open_run, read_facts, remove_run
from emergectl.store.status import read_status

ARGV = ["emergectl", "train", "x.yaml"]
COMPLETE = {
    "checkpoints",
    "experiment.yaml",
    "metrics.jsonl",
    "run.json",
    "run.lock",
    "snapshots",
    "status.json",
}


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


# Claiming ---------------------------------------------------------------------------------------


def test_fifty_starts_at_once_with_one_frozen_clock_make_fifty_complete_directories(
    root: Path, experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_795_362_153.0)
    monkeypatch.setattr("emergectl.store.provenance.code_version", dict)  # Git, fifty times.
    token_hex = secrets.token_hex
    gate_out, gate_in = os.pipe()

    def start() -> None:
        # All draw the same ids in the same order: the claim and not luck must keep them apart.
        ids = (f"{number:04x}" for number in range(50))
        draw = lambda length: next(ids) if length == 2 else token_hex(length)  # noqa: E731
        monkeypatch.setattr(secrets, "token_hex", draw)
        os.close(gate_in)
        os.read(gate_out, 1)  # All wait here until the parent opens the gate.
        with create_run(root, experiment, argv=ARGV) as run:
            run.set_status("done", exit_code=0)

    children = [start_child(start) for _ in range(50)]
    os.close(gate_in)
    os.close(gate_out)
    assert [wait(child) for child in children] == [0] * 50
    runs = list(root.iterdir())
    assert len(runs) == 50
    for path in runs:
        assert names(path) == COMPLETE
        assert read_facts(path)["id"] == path.name
        assert path.name.startswith("20261122-154233-tiny-00")
        assert read_status(path).state == "done"


def test_a_start_killed_while_it_claims_blocks_neither_its_folder_nor_the_listing(
    tmp_path: Path, experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mine"

    def start() -> None:
        monkeypatch.setattr("emergectl.store.provenance.experiment_as_kept", lambda _: die())
        create_run(tmp_path, experiment, argv=ARGV, run_dir=folder)

    assert in_child(start) == -9
    with pytest.raises(RequestError, match=r"mine: not a run \(it has no run.json\)"):
        open_run(folder)
    with create_run(tmp_path, experiment, argv=ARGV, run_dir=folder) as run:
        run.set_status("done", exit_code=0)
    assert names(folder) == COMPLETE


def test_a_start_that_fails_leaves_no_half_run(
    root: Path, experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise ValueError("no")

    monkeypatch.setattr("emergectl.store.provenance.facts", fail)
    with pytest.raises(ValueError, match="no"):
        create_run(root, experiment, argv=ARGV)
    assert list(root.iterdir()) == []


def test_a_folder_that_holds_something_else_is_refused_and_left_alone(
    tmp_path: Path, experiment: Experiment
) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(RequestError, match=r"is not empty \(thesis.tex\)"):
        create_run(tmp_path, experiment, argv=ARGV, run_dir=tmp_path)
    assert names(tmp_path) == {"thesis.tex"}


def test_a_folder_that_holds_a_run_says_how_to_go_on_with_it(
    run: Run, root: Path, experiment: Experiment
) -> None:
    with pytest.raises(AlreadyRunningError):
        create_run(root, experiment, argv=ARGV, run_dir=run.path)
    run.set_status("done")
    run.close()
    with pytest.raises(RequestError, match=r"already holds a run; `--resume .*` goes on with it"):
        create_run(root, experiment, argv=ARGV, run_dir=run.path)


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_place_where_no_folder_can_be_is_a_wrong_request(
    tmp_path: Path, experiment: Experiment, place: str
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match="no run can be made there"):
        create_run(tmp_path / place, experiment, argv=ARGV)


@pytest.mark.parametrize(
    ("kind", "said"), [("link", "is a symbolic link"), ("folder", "a folder"), ("pipe", "no ordin")]
)
def test_what_stands_in_place_of_the_lock_is_named_and_left_alone(
    root: Path, experiment: Experiment, tmp_path: Path, kind: str, said: str
) -> None:
    run = create_run(root, experiment, argv=ARGV)
    run.set_status("done")
    run.close()
    lock, target = run.path / "run.lock", tmp_path / "precious"
    lock.unlink()
    target.write_text("mine")
    if kind == "link":
        lock.symlink_to(target)
    elif kind == "folder":
        lock.mkdir()
    else:
        os.mkfifo(lock)
    with pytest.raises(RequestError, match=said) as error:
        open_run(run.path)
    assert str(error.value).startswith(f"{lock}: ")
    assert target.read_text() == "mine"


# Holding ----------------------------------------------------------------------------------------


def test_a_second_process_is_refused_with_pid_host_and_since_when(run: Run) -> None:
    def second() -> None:
        with pytest.raises(AlreadyRunningError) as refusal:
            open_run(run.path)
        owner = read_status(run.path).owner
        assert owner is not None
        said = str(refusal.value)
        assert f"{run.id}: already running: pid {os.getppid()} on {owner.host} since 20" in said
        assert refusal.value.exit_code == 4

    before = (run.path / "status.json").read_bytes()
    assert in_child(second) == 0
    assert (run.path / "status.json").read_bytes() == before


def test_a_killed_process_leaves_the_run_free_and_failed(
    root: Path, experiment: Experiment
) -> None:
    def start() -> None:
        run = create_run(root, experiment, argv=ARGV)
        run.set_status("running", step=7)
        die()

    assert in_child(start) == -9
    (path,) = root.iterdir()
    status = read_status(path)
    assert status.state == "failed"
    assert (status.reason or "").startswith("died at step 7 or later: process ")
    with open_run(path) as run:
        assert run.former is not None
        assert run.former.state == "failed"
        run.set_status("done")


def test_a_forked_worker_does_not_keep_the_lock_of_its_dead_parent(
    root: Path, experiment: Experiment
) -> None:
    out, into = os.pipe()

    def start() -> None:
        run = create_run(root, experiment, argv=ARGV)
        run.set_status("running")
        worker = start_child(lambda: time.sleep(60))
        os.write(into, b"%d\n" % worker)
        die()

    assert in_child(start) == -9
    worker = int(os.read(out, 20))
    try:
        (path,) = root.iterdir()
        with open_run(path) as run:
            run.set_status("done")
    finally:
        os.kill(worker, 9)
        os.close(out)
        os.close(into)


def test_opening_clears_what_was_left_half_written_and_keeps_how_it_stood(
    root: Path, experiment: Experiment
) -> None:
    with create_run(root, experiment, argv=ARGV) as run:
        run.set_status("preempted", step=30, exit_code=75)
    (run.path / ".status.json.0123456789ab.tmp").write_text("{")
    (run.path / "metrics.jsonl").write_text('{"step": 1}\n{"st')
    rubbish = run.checkpoints / ".partial-0123-99999999-1-abcd"
    rubbish.mkdir()
    with open_run(run.path) as again:
        assert again.id == run.id
        assert names(run.path) == COMPLETE
        assert not rubbish.exists()
        assert [record["step"] for record in read_metrics(run.path / "metrics.jsonl")] == [1]
        assert read_status(run.path).state == "preempted"
    status = read_status(run.path)
    assert (status.state, status.step, status.exit_code) == ("preempted", 30, 75)


def test_an_end_without_a_word_is_a_failure_with_its_cause(
    root: Path, experiment: Experiment
) -> None:
    run = create_run(root, experiment, argv=ARGV)
    run.set_status("running")
    with pytest.raises(ZeroDivisionError), run:
        _ = 1 / 0
    status = read_status(run.path)
    assert (status.state, status.exit_code) == ("failed", 1)
    assert status.reason == "ZeroDivisionError: division by zero"


def test_removing_refuses_a_run_at_work_and_removes_one_that_is_not(
    root: Path, experiment: Experiment
) -> None:
    with create_run(root, experiment, argv=ARGV) as run:
        run.set_status("running")
        with pytest.raises(AlreadyRunningError):
            remove_run(run.path)
        assert names(run.path) == COMPLETE
        run.set_status("done")
        with pytest.raises(AlreadyRunningError):
            remove_run(run.path)  # Done, but its process still holds it.
    remove_run(run.path)
    assert list(root.iterdir()) == []


def test_a_run_that_never_measured_anything_is_forgotten_and_no_other(
    root: Path, experiment: Experiment
) -> None:
    with create_run(root, experiment, argv=ARGV) as begun:
        begun.metrics.append({"step": 0})
    with create_run(root, experiment, argv=ARGV) as unbegun:
        pass
    forget_unbegun(begun.path)
    forget_unbegun(unbegun.path)
    assert [path.name for path in root.iterdir()] == [begun.path.name]


def test_facts_are_merged_and_others_stay(run: Run) -> None:
    run.describe(parameters=12, devices=["cpu"])
    run.describe(parameters=13)
    facts = read_facts(run.path)
    assert (facts["parameters"], facts["devices"], facts["id"]) == (13, ["cpu"], run.id)
    assert facts["versions"]["torch"]
    assert facts["argv"] == ARGV


# A full disk ------------------------------------------------------------------------------------


def test_on_a_full_disk_the_run_fails_naming_it_and_goes_on_once_there_is_room(
    small_disk: Path, experiment: Experiment
) -> None:
    ballast = small_disk / "ballast"
    run = create_run(small_disk / "runs", experiment, argv=ARGV)
    run.set_status("running")
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    lines = ({"step": step} for step in range(10_000))
    with pytest.raises(DiskFullError, match=r"metrics.jsonl: the disk is full \([\d,]+ bytes"), run:
        deque(map(run.metrics.append, lines), maxlen=0)
    status = read_status(run.path)
    assert status.state == "failed"
    assert "the disk is full" in (status.reason or "")
    steps = [record["step"] for record in read_metrics(run.path / "metrics.jsonl")]
    assert steps == list(range(len(steps)))
    ballast.unlink()
    with open_run(run.path) as again:
        again.metrics.append({"step": len(steps)})
        again.set_status("done")
    assert list_steps(run.checkpoints) == []
    assert len(list(read_metrics(run.path / "metrics.jsonl"))) == len(steps) + 1


# Secrets ----------------------------------------------------------------------------------------


def test_no_secret_is_found_anywhere_under_the_run_directory(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = {
        "HF_TOKEN": "hf_abcdefghijklmnopqrstuv",
        "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
        "MY_PASSWORD": "correct horse battery",
        "SOMETHING_ELSE": "not-by-name-nor-shape",
    }
    for name, value in planted.items():
        monkeypatch.setenv(name, value)
    in_url, in_query, in_argument = "s3cr3tURLpart", "s3cr3tQUERYpart", "s3cr3tARGpart"
    url = f"https://me:{in_url}@example.org/a.jsonl?X-Amz-Signature={in_query}&split=1"
    experiment = Experiment.model_validate({"name": "tiny", "data": {"train": [{"path": url}]}})
    argv = [*ARGV, f"data.train.0.path={url}", "--api-key", in_argument, f"--token={in_argument}"]
    with create_run(root, experiment, argv=argv) as run:
        run.set_status("running")
        run.log(f"fetching {url} with Authorization: Bearer {in_argument}")
        run.log(f"password: {planted['MY_PASSWORD']}")
        run.describe(sources=[{"url": url}])
        run.set_status("failed", reason=f"{url}: 403 for {planted['WANDB_API_KEY']}")
    everything = b"".join(p.read_bytes() for p in run.path.rglob("*") if p.is_file())
    for secret in (*planted.values(), in_url, in_query, in_argument):
        assert secret.encode() not in everything
    assert b"example.org/a.jsonl" in everything
    assert b"split=1" in everything


def test_the_environment_is_kept_by_a_list_of_allowed_names(
    root: Path, experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("HARMLESS_LOOKING", "value")
    with create_run(root, experiment, argv=ARGV) as run:
        run.set_status("done")
    environment = json.loads((run.path / "run.json").read_text())["environment"]
    assert environment["OMP_NUM_THREADS"] == "3"
    assert "HARMLESS_LOOKING" not in environment
