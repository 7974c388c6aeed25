"""A committed directory is whole or not there, and what is damaged is never taken for good."""

import errno
import os
import random
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from store_children import die, in_child, start_child, wait

from emergectl.errors import ExperimentError
from emergectl.store.atomic import DiskFullError
from emergectl.store.checkpoints import (
    CheckpointError,
    commit,
    is_committed,
    list_steps,
    newest,
    prune,
    step_name,
    sweep_temporary,
    verify,
)
from emergectl.store.origins import find_origin

FILES = ("model.safetensors", "training/optimizer.safetensors", "config.json", "manifest.json")


def writer(seed: int, *, size: int = 5000) -> Callable[[Path], None]:
    """Writes three files, as different for each seed as weights are."""

    def write(directory: Path) -> None:
        source = random.Random(seed)
        (directory / "training").mkdir()
        for name in FILES[:3]:
            (directory / name).write_bytes(source.randbytes(size))

    return write


def commit_step(directory: Path, step: int, **facts: Any) -> Path:
    return commit(directory, step, writer(step), facts={"metrics_offset": step * 10} | facts)


def tree(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in files_of(directory)}


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def files_of(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


# What can happen to a file ----------------------------------------------------------------------


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b" ")


def swap_with_the_previous(path: Path) -> None:
    path.write_bytes(Path(str(path).replace(step_name(2), step_name(1))).read_bytes())


def put_a_link_there(path: Path) -> None:
    moved = path.rename(path.with_name("elsewhere"))
    path.symlink_to(moved)


DAMAGES = [truncate, empty, zero, flip_a_bit, grow, swap_with_the_previous, Path.unlink]
CASES = [(name, damage) for name in FILES for damage in DAMAGES]
CASES.remove(("manifest.json", grow))  # White space after JSON changes nothing that it says.


@pytest.mark.parametrize(("name", "damage"), CASES)
def test_damage_is_found_and_named_and_the_previous_one_is_used(
    tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    commit_step(tmp_path, 1)
    damaged = commit_step(tmp_path, 2) / name
    damage(damaged)
    before = tree(tmp_path)
    manifest, rejected = newest(tmp_path)
    assert manifest is not None
    assert manifest.step == 1
    assert len(rejected) == 1
    assert str(damaged) in rejected[0]
    assert tree(tmp_path) == before, "something was deleted or changed"


def test_a_link_in_place_of_a_file_is_no_checkpoint(tmp_path: Path) -> None:
    put_a_link_there(commit_step(tmp_path, 1) / "model.safetensors")
    assert newest(tmp_path)[0] is None


def test_every_single_flipped_bit_of_a_manifest_is_found(tmp_path: Path) -> None:
    path = commit_step(tmp_path, 1) / "manifest.json"
    good = path.read_bytes()
    undetected = []
    for position in range(len(good)):
        flipped = bytearray(good)
        flipped[position] ^= 1 << (position % 8)
        path.write_bytes(flipped)
        try:
            verify(path.parent)
            undetected.append(position)
        except CheckpointError:
            continue
    # White space between JSON's words may become other white space: nothing is said differently.
    assert all(good[position : position + 1].isspace() for position in undetected)


def test_two_files_of_one_checkpoint_swapped_are_found(tmp_path: Path) -> None:
    committed = commit_step(tmp_path, 1)
    first, second = committed / FILES[0], committed / FILES[1]
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model.safetensors: changed since it was written"):
        verify(committed)


def test_a_checkpoint_under_another_steps_name_is_found(tmp_path: Path) -> None:
    commit_step(tmp_path, 1)
    shutil.copytree(tmp_path / step_name(1), tmp_path / step_name(9))
    manifest, rejected = newest(tmp_path)
    assert manifest is not None
    assert manifest.step == 1
    assert "belongs to step-00000001, not step-00000009" in rejected[0]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("named", ["step-00000003", "copied"])
def test_a_checkpoints_own_directory_with_a_flipped_bit_is_no_origin(
    tmp_path: Path, file: str, named: str
) -> None:
    path = commit_step(tmp_path, 3)
    path = path.rename(path.with_name(named))
    sound = find_origin(str(path), tmp_path, key="model.from")
    assert sound.source == str(path)
    content = bytearray((path / file).read_bytes())
    content[len(content) // 2] ^= 1
    (path / file).write_bytes(content)
    with pytest.raises(ExperimentError) as error:
        find_origin(str(path), tmp_path, key="model.from")
    assert error.value.key == "model.from"
    assert error.value.message.startswith(f"{path / file}: ")


@pytest.mark.parametrize("manifest", [None, "{}", '{"name": "app", "icons": []}', "[1, 2]"])
def test_a_directory_of_something_else_is_taken_as_it_is(
    tmp_path: Path, manifest: str | None
) -> None:
    (tmp_path / "config.json").write_text("{}")
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest)
    assert find_origin(str(tmp_path), tmp_path, key="model.from").source == str(tmp_path)
    assert not is_committed(tmp_path)


def test_the_newest_is_the_highest_step_whatever_the_times_say(tmp_path: Path) -> None:
    for step in (3, 1, 200_000_000, 20):
        committed = commit_step(tmp_path, step)
        for path in (committed, *committed.rglob("*")):
            os.utime(path, (1e9 - step, 1e9 - step))
    manifest, rejected = newest(tmp_path)
    assert manifest is not None
    assert (manifest.step, rejected) == (200_000_000, [])
    assert list_steps(tmp_path) == [1, 3, 20, 200_000_000]


def test_a_manifest_gives_back_the_facts_it_was_given(tmp_path: Path) -> None:
    facts = {"data": {"fingerprint": "漢字"}, "best": float("inf"), "offset": 17}
    committed = commit(tmp_path, 5, writer(5), facts=facts)
    manifest = verify(committed)
    assert manifest.facts == {**facts, "best": "inf"}
    assert set(manifest.files) == set(FILES[:3])
    assert manifest.total_bytes == 15_000


# Committing again -------------------------------------------------------------------------------


def refuse(_: Path) -> None:
    raise AssertionError("was written again")


def test_a_step_that_stands_and_verifies_is_kept_and_not_written_again(tmp_path: Path) -> None:
    committed = commit_step(tmp_path, 1)
    before = tree(tmp_path)
    assert commit(tmp_path, 1, refuse, facts={"metrics_offset": 10}) == committed
    assert tree(tmp_path) == before


@pytest.mark.parametrize("damage", [truncate, zero, Path.unlink], ids=lambda f: f.__name__)
def test_a_damaged_step_is_moved_aside_and_not_deleted(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    damage(commit_step(tmp_path, 1) / "model.safetensors")
    damaged = tree(tmp_path / step_name(1))
    commit_step(tmp_path, 1)
    assert verify(tmp_path / step_name(1)).step == 1
    assert tree(tmp_path / "aside-step-00000001-1") == damaged


def test_a_step_with_other_facts_gives_way_to_the_new_one(tmp_path: Path) -> None:
    commit_step(tmp_path, 1)
    commit_step(tmp_path, 1, metrics_offset=999)
    assert verify(tmp_path / step_name(1)).facts == {"metrics_offset": 999}
    assert names(tmp_path) == [step_name(1)]


# Kills ------------------------------------------------------------------------------------------

# Everything by which a commit or a prune changes the disk goes through one of these.
POINTS = ("open", "mkdir", "write", "fsync", "rename", "replace", "unlink", "rmdir", "close")


def die_at_call(number: int, *, after: bool) -> None:
    """Patch this process so that it dies before or after one of its calls that touch a disk."""
    calls = iter(range(1_000_000))

    def wrap(real: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            mine = next(calls) == number
            if mine and not after:
                die()
            try:
                return real(*args, **options)
            finally:
                if mine:
                    die()

        return wrapped

    for name in POINTS:
        setattr(os, name, wrap(getattr(os, name)))


def kill_everywhere(action: Callable[[], object], check: Callable[[], None]) -> int:
    """Kill `action` before and after each of its calls, checking each time; how often it died."""
    deaths = 0
    for number in range(1000):
        for after in (False, True):

            def attempt(number: int = number, after: bool = after) -> None:
                die_at_call(number, after=after)
                action()

            code = in_child(attempt)
            assert code in (0, -9)
            check()
            if code == 0:
                return deaths
            deaths += 1
    raise AssertionError("the action never ended")


def test_a_commit_killed_at_any_point_leaves_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    outcomes = set()

    def check() -> None:
        manifest, rejected = newest(tmp_path)
        assert manifest is not None
        assert rejected == []
        sweep_temporary(tmp_path)
        outcomes.add(manifest.step)
        assert set(names(tmp_path)) <= {step_name(1), step_name(2)}
        if manifest.step == 2:
            shutil.rmtree(tmp_path / step_name(2))

    commit_step(tmp_path, 1)
    deaths = kill_everywhere(lambda: commit_step(tmp_path, 2), check)
    assert deaths > 20
    assert outcomes == {1, 2}


def test_a_commit_over_a_damaged_step_killed_at_any_point_loses_nothing(tmp_path: Path) -> None:
    commit_step(tmp_path, 1)
    truncate(commit_step(tmp_path, 2) / "model.safetensors")
    damaged = tree(tmp_path / step_name(2))

    def check() -> None:
        sweep_temporary(tmp_path)
        kept = [tree(path) for path in tmp_path.iterdir() if path.name != step_name(1)]
        assert damaged in kept
        manifest, _ = newest(tmp_path)
        assert manifest is not None
        aside = tmp_path / "aside-step-00000002-1"
        if aside.exists():
            shutil.rmtree(tmp_path / step_name(2), ignore_errors=True)
            aside.rename(tmp_path / step_name(2))

    assert kill_everywhere(lambda: commit_step(tmp_path, 2), check) > 20


def test_a_commit_over_the_only_checkpoint_killed_at_any_point_leaves_the_old_or_the_new(
    tmp_path: Path,
) -> None:
    outcomes = set()

    def check() -> None:
        sweep_temporary(tmp_path)
        assert names(tmp_path) == [step_name(1)]
        outcomes.add(verify(tmp_path / step_name(1)).facts["metrics_offset"])
        commit_step(tmp_path, 1)

    commit_step(tmp_path, 1)
    assert kill_everywhere(lambda: commit_step(tmp_path, 1, metrics_offset=999), check) > 20
    assert outcomes == {10, 999}


def test_a_prune_killed_at_any_point_leaves_no_half_checkpoint(tmp_path: Path) -> None:
    def restore() -> None:
        for step in (1, 2, 3):
            commit_step(tmp_path, step)

    def check() -> None:
        for step in list_steps(tmp_path):
            verify(tmp_path / step_name(step))
        assert 3 in list_steps(tmp_path)
        sweep_temporary(tmp_path)
        assert set(names(tmp_path)) <= {step_name(step) for step in (1, 2, 3)}
        restore()

    restore()
    assert kill_everywhere(lambda: prune(tmp_path, keep={3}), check) > 10


def test_every_file_and_folder_is_on_the_disk_before_the_rename_and_the_name_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, rename = os.fsync, os.rename

    def record_fsync(descriptor: int) -> None:
        events.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    def record_rename(source: Path, target: Path) -> None:
        events.append("RENAME")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "rename", record_rename)
    committed = commit_step(tmp_path, 1)
    split = events.index("RENAME")
    temporary = {Path(event) for event in events[:split]}
    # The manifest was synced under its own temporary name.
    synced = {"/".join(path.relative_to(tmp_path).parts[1:]) for path in temporary}
    assert {*FILES[:3], "training", ""} <= synced
    assert any("manifest.json" in name for name in synced)
    assert events[split + 1 :] == [str(tmp_path)]
    assert committed.exists()


@pytest.mark.long
def test_commits_killed_at_random_two_hundred_times_go_on(tmp_path: Path) -> None:
    def work() -> None:
        sweep_temporary(tmp_path)
        manifest, _ = newest(tmp_path)
        for step in range(manifest.step + 1 if manifest else 1, 100_000):
            commit_step(tmp_path, step)
            prune(tmp_path, keep={step})

    for kill in range(200):
        child = start_child(work)
        time.sleep(random.uniform(0.01, 0.2))
        os.kill(child, 9)
        assert wait(child) == -9
        manifest, rejected = newest(tmp_path)
        assert rejected == []
        assert manifest is not None or kill < 20


def test_what_a_living_process_is_writing_is_not_swept_away(tmp_path: Path) -> None:
    def write(directory: Path) -> None:
        assert sweep_temporary(tmp_path) == []
        writer(1)(directory)

    assert verify(commit(tmp_path, 1, write, facts={})).step == 1


# Failures ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt(), OSError(5, "I/O error")])
def test_a_failed_write_leaves_nothing_behind_and_says_what_it_said(
    tmp_path: Path, error: BaseException
) -> None:
    commit_step(tmp_path, 1)

    def fail(directory: Path) -> None:
        writer(2)(directory)
        raise error

    with pytest.raises(type(error)):
        commit(tmp_path, 2, fail, facts={})
    assert names(tmp_path) == [step_name(1)]


def test_a_disk_full_while_syncing_is_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit_step(tmp_path, 1)

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(DiskFullError, match=r"step-00000002: the disk is full \(15,000 bytes"):
        commit_step(tmp_path, 2)
    assert names(tmp_path) == [step_name(1)]


def test_a_file_size_limit_is_told_as_a_full_disk(tmp_path: Path) -> None:
    commit_step(tmp_path, 1)

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
        with pytest.raises(DiskFullError, match="what was committed before is intact"):
            commit_step(tmp_path, 2)

    assert in_child(limited) == 0
    assert names(tmp_path) == [step_name(1)]
    assert verify(tmp_path / step_name(1))


def test_at_thirty_levels_of_a_full_disk_the_previous_one_is_intact_and_room_is_enough(
    small_disk: Path,
) -> None:
    directory, filling = small_disk / "checkpoints", small_disk / "filling"
    commit(directory, 1, writer(1, size=100_000), facts={})
    free = shutil.disk_usage(small_disk).free
    outcomes = set()
    for level in range(30):
        filling.write_bytes(bytes(int(free * level / 29)))
        said = None
        try:
            commit(directory, 2, writer(2, size=100_000), facts={})
        except DiskFullError as error:
            said = str(error)
        outcomes.add(said is None)
        if said is not None:
            assert f"{directory / step_name(2)}: the disk is full (300,000 bytes" in said
            assert names(directory) == [step_name(1)]
        assert verify(directory / step_name(1)).step == 1
        filling.unlink()
        commit(directory, 2, writer(2, size=100_000), facts={})
        assert verify(directory / step_name(2)).step == 2
        shutil.rmtree(directory / step_name(2))
    assert outcomes == {True, False}


def test_a_link_among_the_files_cannot_be_committed(tmp_path: Path) -> None:
    def write(directory: Path) -> None:
        (directory / "weights").symlink_to("/etc/passwd")

    with pytest.raises(CheckpointError, match="neither a file nor a folder"):
        commit(tmp_path, 1, write, facts={})
    assert names(tmp_path) == []
