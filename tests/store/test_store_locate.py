"""A run is found by what a person would type, and by nothing that leads elsewhere."""

import os
from pathlib import Path

import pytest

from emergectl.errors import RequestError
from emergectl.store.locate import find_run, find_run_by_full_id, list_runs, runs_root

COPY_1 = "20261101-100000-copy-aaaa"
COPY_2 = "20261102-100000-copy-bbbb"
ADDITION = "20261102-100000-addition-1m-cccc"


def make(path: Path, created: str = "") -> Path:
    path.mkdir(parents=True)
    (path / "run.json").write_text(f'{{"id": "{path.name}", "created": "{created}"}}')
    return path


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    root = tmp_path / "runs"
    make(root / COPY_1, "2026-11-01T10:00:00.000Z")
    make(root / COPY_2, "2026-11-02T10:00:00.700Z")
    make(root / ADDITION, "2026-11-02T10:00:00.300Z")
    (root / "notes").mkdir()
    (root / ".removed-20261101-100000-gone-dddd-0123").mkdir()
    (root / "linked").symlink_to(root / COPY_1)
    return root


@pytest.mark.parametrize(
    ("ref", "found"),
    [
        (COPY_1, COPY_1),
        ("20261101", COPY_1),
        ("20261102-100000-a", ADDITION),
        ("addition-1m", ADDITION),
        ("copy-bbbb", COPY_2),
        ("latest", COPY_2),
    ],
)
def test_a_run_is_found_by_id_prefix_end_name_and_latest(runs: Path, ref: str, found: str) -> None:
    assert find_run(ref, runs) == runs / found


def test_a_run_is_found_by_path_relative_and_absolute(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs)
    elsewhere = runs.parent / "elsewhere"
    assert find_run(f"./{COPY_1}", elsewhere) == runs / COPY_1
    assert find_run(f"../runs/{COPY_1}/", elsewhere) == runs / COPY_1
    assert find_run(str(runs / COPY_2), elsewhere) == runs / COPY_2


@pytest.mark.parametrize("ref", ["copy", "2026", "20261102-100000"])
def test_an_ambiguous_name_lists_its_candidates_newest_first(runs: Path, ref: str) -> None:
    with pytest.raises(RequestError) as refusal:
        find_run(ref, runs)
    first, *listed = str(refusal.value).splitlines()
    assert "runs match" in first
    assert [line.strip() for line in listed] == [
        run for run in (COPY_2, ADDITION, COPY_1) if run.startswith(ref) or ref in run[16:]
    ]


@pytest.mark.parametrize(
    ("ref", "reason"),
    [
        ("", "an empty text"),
        ("-rf", "does not begin with a dash"),
        ("co\0py", "control characters"),
        ("copy\n", "control characters"),
        ("\x1b[31mcopy", "control characters"),
        ("сopy", r"'с' \(U\+0441\) is not"),  # A Cyrillic letter that looks like c.
        ("copy-aaａa", r"U\+FF41"),
        ("../x", "no such run directory"),
        ("..", "not a run"),
        (".", "not a run"),
        ("/etc", "not a run"),
        ("/etc/passwd", "no such run directory"),
        ("~/x", "no such run directory"),
        ("linked", "is a link, not a run"),
        ("notes", "no run 'notes'"),
        (".removed-20261101-100000-gone-dddd-0123", "no run"),
        ("copi", "did you mean copy"),
        ("*", "no run"),
    ],
)
def test_what_is_not_a_run_is_refused(
    runs: Path, ref: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs / "notes")
    with pytest.raises(RequestError, match=reason):
        find_run(ref, runs)


@pytest.mark.parametrize(
    ("ref", "reason"),
    [
        ("copy", "is not a full id; did you mean"),
        ("20261101", "is not a full id"),
        ("latest", "no run"),
        ("notes", "no run"),
        ("linked", "is a link"),
        ("*", "no run"),
        ("..", "not in the runs directory"),
        (".", "not in the runs directory"),
        ("/etc", "not in the runs directory"),
        (f"../runs/{COPY_1}", "not in the runs directory"),
        ("-rf", "dash"),
        ("a\0", "control"),
        ("", "empty"),
    ],
)
def test_what_cannot_be_undone_wants_a_full_id_in_the_runs_directory(
    runs: Path, ref: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs)
    with pytest.raises(RequestError, match=reason):
        find_run_by_full_id(ref, runs)
    assert find_run_by_full_id(COPY_1, runs) == runs / COPY_1
    assert find_run_by_full_id(f"{runs}/{COPY_1}", runs) == runs / COPY_1


def test_listing_is_newest_first_and_leaves_out_links_and_other_folders(runs: Path) -> None:
    make(runs / "by-hand")
    assert [path.name for path in list_runs(runs)] == ["by-hand", COPY_2, ADDITION, COPY_1]


def test_what_a_killed_start_left_is_no_run_but_can_be_removed(runs: Path) -> None:
    half = runs / "20261103-100000-copy-eeee"
    half.mkdir()
    assert half not in list_runs(runs)
    assert find_run("latest", runs) == runs / COPY_2
    assert find_run_by_full_id(half.name, runs) == half


def test_without_runs_one_is_told_where_they_were_looked_for(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=f"there are no runs in {tmp_path}"):
        find_run("latest", tmp_path)


def test_the_runs_directory_is_the_given_one_then_the_environments_then_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EMERGECTL_RUNS", raising=False)
    assert runs_root() == Path(os.path.realpath(tmp_path)) / "runs"
    monkeypatch.setenv("EMERGECTL_RUNS", str(tmp_path / "other"))
    assert runs_root() == tmp_path / "other"
    assert runs_root(tmp_path / "given") == tmp_path / "given"
