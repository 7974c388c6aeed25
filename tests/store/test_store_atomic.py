"""Files are whole or not there."""

import errno
import json
import math
import threading
from pathlib import Path

import pytest

from emergectl.store.atomic import (
    DiskFullError,
    is_disk_full,
    json_floats,
    json_safe,
    write_bytes,
    write_json,
)


def test_a_reader_sees_the_old_content_or_the_new_and_never_half(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, [0] * 5000)
    stop = threading.Event()
    seen: set[int] = set()

    def read() -> None:
        while not stop.is_set():
            values = json.loads(path.read_bytes())
            assert len(values) == 5000
            seen.update(values)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 100):
        write_json(path, [number] * 5000, durable=False)
    stop.set()
    reader.join()
    assert len(seen) > 3, "the reader did not run beside the writer"


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    write_bytes(path, b"old")

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "the disk broke")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="the disk broke"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_a_full_disk_is_told_with_the_path_and_the_bytes_wanted(small_disk: Path) -> None:
    path = small_disk / "a"
    write_bytes(path, b"old")
    with pytest.raises(DiskFullError, match=rf"{path}: the disk is full \(2,000,000 bytes wanted"):
        write_bytes(path, b"x" * 2_000_000)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in small_disk.iterdir()] == ["a"]


def test_a_full_disk_is_known_by_what_rust_says_of_it() -> None:
    said = "Error while serializing: I/O error: No space left on device (os error 28)"
    assert is_disk_full(RuntimeError(said))
    assert not is_disk_full(RuntimeError("I/O error: Permission denied (os error 13)"))


def test_a_replaced_link_leaves_what_it_pointed_to_alone(tmp_path: Path) -> None:
    outside, link = tmp_path / "outside", tmp_path / "link"
    outside.write_text("mine")
    link.symlink_to(outside)
    write_bytes(link, b"new")
    assert outside.read_text() == "mine"
    assert not link.is_symlink()


def test_numbers_that_json_lacks_survive_as_text() -> None:
    value = {"a": [float("nan"), float("inf"), -float("inf"), 1.5], "b": "text"}
    text = json.dumps(json_safe(value), allow_nan=False)
    assert json.loads(text)["a"] == ["nan", "inf", "-inf", 1.5]
    back = json_floats(json.loads(text))
    assert math.isnan(back["a"][0])
    assert back["a"][1:] == [float("inf"), -float("inf"), 1.5]
    assert back["b"] == "text"
