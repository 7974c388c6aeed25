"""T2 on a whole run: a damaged checkpoint is named and set aside, and the one before goes on.

And what else decides where a run goes on: two processes at once, other data, nothing left.
"""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from training_runs import Bench, checkpoint_step, status

from emergectl.store.checkpoints import list_steps, step_name
from emergectl.store.metrics_log import read_metrics

KILLED_AT_42 = {"what": "in_step", "step": 42, "signum": signal.SIGKILL}


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)


def swap_with_the_previous(path: Path) -> None:
    steps = list_steps(path.parent.parent)
    path.write_bytes((path.parent.parent / step_name(steps[-2]) / path.name).read_bytes())


DAMAGES = [
    ("model.safetensors", flip_a_bit),
    ("optimizer.safetensors", truncate),
    ("training_state.json", swap_with_the_previous),
    ("config.json", Path.unlink),
    ("manifest.json", zero),
]


def test_a_damaged_checkpoint_is_passed_over_set_aside_and_made_again(
    bench: Bench, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    asides: list[str] = []
    for name, damage in DAMAGES:
        assert bench.run(run, sabotage=[KILLED_AT_42]).code == -signal.SIGKILL
        # The newest is of step 40, the best of step 30.
        assert list_steps(run / "checkpoints") == [30, 40]
        damaged = run / "checkpoints" / step_name(40)
        damage(damaged / name)
        left = sorted((path.name, path.read_bytes()) for path in damaged.iterdir())
        assert checkpoint_step(run) == 30
        # Started once more, it makes the step again, and is killed again.
        assert bench.run(run, sabotage=[KILLED_AT_42]).code == -signal.SIGKILL
        asides.append(f"aside-{step_name(40)}-{len(asides) + 1}")
        kept = run / "checkpoints" / asides[-1]
        assert sorted((path.name, path.read_bytes()) for path in kept.iterdir()) == left
        assert checkpoint_step(run) == 40
        said = (run / "log.txt").read_text().splitlines()
        assert any("passed over a damaged checkpoint" in line and name in line for line in said)
        assert "going on from the checkpoint of step 30" in said[-1]
    assert bench.run(run).code == 0
    for name in asides:
        (run / "checkpoints" / name).rename(tmp_path / name)
    bench.assert_equal_to_plain(run)


def test_where_no_checkpoint_is_good_the_run_says_so_and_changes_nothing(
    bench: Bench, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert bench.run(run, sabotage=[KILLED_AT_42]).code == -signal.SIGKILL
    for step in (30, 40):
        flip_a_bit(run / "checkpoints" / step_name(step) / "model.safetensors")
    before = (run / "metrics.jsonl").read_bytes()
    ended = bench.run(run)
    assert ended.code == 1, ended.said
    assert "no good checkpoint" in ended.stderr
    assert ended.stderr.count("model.safetensors") == 2
    assert "Traceback" not in ended.stderr
    assert (run / "metrics.jsonl").read_bytes() == before
    assert list_steps(run / "checkpoints") == [30, 40]


def test_the_second_of_two_processes_on_one_run_is_refused(bench: Bench, tmp_path: Path) -> None:
    run = tmp_path / "run"
    stopped = bench.start(run, sabotage=[{"what": "in_step", "step": 20, "signum": signal.SIGSTOP}])
    stopped.wait_for(run / "checkpoints" / step_name(16))
    second = bench.run(run)
    assert second.code == 4, second.said
    assert str(stopped.pid) in second.stderr
    assert status(run)["state"] == "running"
    stopped.signal(signal.SIGCONT)
    assert stopped.wait().code == 0
    bench.assert_equal_to_plain(run)


def test_a_run_does_not_go_on_with_other_data(
    bench: Bench, tmp_path: Path, experiment: Path
) -> None:
    run, folder = tmp_path / "run", tmp_path / "mine"
    folder.mkdir()
    for name in ("text.txt", "tiny.yaml"):
        (folder / name).write_bytes((experiment.parent / name).read_bytes())
    other = Bench(bench.nursery, folder / "tiny.yaml", run)
    assert other.run(run, sabotage=[KILLED_AT_42]).code == -signal.SIGKILL
    text = folder / "text.txt"
    was = text.read_bytes()
    text.write_bytes(was.replace(b"dogs", b"cats"))
    ended = other.run(run)
    assert ended.code == 1
    assert "other data" in ended.stderr
    text.write_bytes(was)
    assert other.run(run).code == 0
    bench.assert_equal_to_plain(run)


def test_a_run_that_is_done_stays_as_it_is(bench: Bench) -> None:
    before = {path: path.read_bytes() for path in bench.plain.rglob("*") if path.is_file()}
    ended = bench.run(bench.plain)
    assert ended.code == 0
    assert json.loads(ended.stdout)["state"] == "done"
    assert {path: path.read_bytes() for path in bench.plain.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("ref", ["path", "auto"])
def test_the_experiment_that_a_run_keeps_goes_on_under_the_same_hash(
    bench: Bench, tmp_path: Path, ref: str
) -> None:
    """`FILE --resume RUN` and `FILE --resume auto` find the run that FILE started."""
    root = tmp_path / "runs"
    start: Callable[..., object] = bench.nursery.run
    command = ("train", bench.experiment, "--json", "--runs-dir", root)
    start(*command, sabotage=[KILLED_AT_42])
    (run,) = root.iterdir()
    ended = bench.nursery.run(*command, "--resume", "auto" if ref == "auto" else run)
    assert ended.code == 0, ended.said
    assert list(root.iterdir()) == [run]
    bench.assert_equal_to_plain(run)


def test_a_run_goes_on_though_the_weights_it_started_from_are_gone(
    bench: Bench, tmp_path: Path
) -> None:
    first, plain, run = (tmp_path / name for name in ("first", "plain", "run"))
    assert bench.run(first).code == 0
    origin = shutil.copytree(first / "checkpoints" / step_name(60), tmp_path / "origin")
    start = (f"model.from={origin}", "model.size=null", "tokenizer.kind=null")
    assert bench.run(plain, *start).code == 0
    assert bench.run(run, *start, sabotage=[KILLED_AT_42]).code == -signal.SIGKILL
    shutil.rmtree(origin)
    ended = bench.run(run)
    assert ended.code == 0, ended
    for part in ("model.safetensors", "optimizer.safetensors"):
        ours, theirs = (r / "checkpoints" / step_name(60) / part for r in (run, plain))
        assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.parametrize(
    "ref",
    [
        "first",
        pytest.param("{origin}", marks=pytest.mark.long),
        pytest.param("{first}", marks=pytest.mark.long),
    ],
)
def test_a_file_finds_its_run_though_what_it_starts_from_is_gone(
    bench: Bench, tmp_path: Path, ref: str
) -> None:
    root = tmp_path / "runs"
    assert bench.run(tmp_path / "made", "name=first").code == 0
    first = root / "20260101-000000-first-0a1b"
    root.mkdir()
    shutil.move(tmp_path / "made", first)
    origin = shutil.copytree(first / "checkpoints" / step_name(60), tmp_path / "origin")
    start = (
        f"model.from={ref.format(origin=origin, first=first)}",
        "model.size=null",
        "tokenizer.kind=null",
    )
    command = ("train", bench.experiment, *start, "--json", "--runs-dir", root)
    killed = bench.nursery.run(*command, sabotage=[KILLED_AT_42])
    assert killed.code == -signal.SIGKILL
    (run,) = set(root.iterdir()) - {first}
    shutil.rmtree(origin)
    shutil.rmtree(first)
    other = (
        "train",
        bench.experiment,
        "model.from=another",
        *start[1:],
        "--json",
        "--runs-dir",
        root,
    )
    assert bench.nursery.run(*other, "--resume", "auto").code == 2
    ended = bench.nursery.run(*command, "--resume", "auto")
    assert ended.code == 0, ended.said
    assert list(root.iterdir()) == [run]


def test_the_last_step_has_a_line_of_its_own(bench: Bench, tmp_path: Path) -> None:
    assert bench.run(tmp_path / "run", "train.steps=7", "train.log_every=5").code == 0
    lines = list(read_metrics(tmp_path / "run" / "metrics.jsonl"))
    assert [line["step"] for line in lines if "lr" in line] == [1, 5, 7]
