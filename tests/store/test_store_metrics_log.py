"""metrics.jsonl is whole lines, each step once, whatever was killed."""

import math
import os
import random
import resource
import threading
import time
from collections import deque
from pathlib import Path

import pytest
from store_children import die, in_child, start_child, wait

from emergectl.errors import DataError, EmergectlError
from emergectl.store import metrics_log
from emergectl.store.atomic import DiskFullError
from emergectl.store.metrics_log import MetricsLog, read_metrics


def steps(path: Path) -> list[int]:
    return [record["step"] for record in read_metrics(path)]


def append_until_killed(path: Path) -> None:
    """Go on after the last whole line; now and then die in the middle of one."""
    log = MetricsLog(path)
    first = sum(1 for _ in read_metrics(path))
    mishap = first + random.Random(first).randrange(200)
    for step in range(first, first + 100_000):
        if step == mishap and first % 3 == 0:
            os.write(log._descriptor, b'{"step": %d, "lo' % step)
            die()
        log.append({"step": step, "loss": 1 / (step + 1), "text": "x" * 50})


def test_a_reader_never_fails_during_a_hundred_kills_and_every_step_stands_once(
    tmp_path: Path,
) -> None:
    path = tmp_path / "metrics.jsonl"
    stop = threading.Event()
    readings: list[bool] = []

    def read() -> None:
        while not stop.is_set():
            try:
                found = steps(path)
            except DataError:
                readings.append(False)
                raise
            readings.append(found == list(range(len(found))))

    reader = threading.Thread(target=read)
    reader.start()
    torn = 0
    for kill in range(100):
        child = start_child(lambda: append_until_killed(path))
        time.sleep(random.Random(kill).uniform(0.002, 0.02))
        os.kill(child, 9)
        wait(child)
        torn += path.exists() and not path.read_bytes().endswith(b"\n")
    stop.set()
    reader.join()
    assert torn, "no kill tore a line: the test tested nothing"
    assert len(readings) > 10
    assert all(readings)
    assert steps(path) == list(range(len(steps(path))))


def test_a_torn_tail_is_passed_over_by_readers_and_cut_before_the_next_line(
    tmp_path: Path,
) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 0}\n{"step": 1, "lo')
    assert steps(path) == [0]
    log = MetricsLog(path)
    log.append({"step": 1})
    assert path.read_bytes() == b'{"step": 0}\n{"step": 1}\n'


def test_a_tail_without_any_line_before_it_is_cut_to_nothing(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"\0" * 200_000)
    MetricsLog(path).append({"step": 0})
    assert path.read_bytes() == b'{"step": 0}\n'


def test_a_whole_line_that_is_not_json_is_named_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 0}\n{"st\n{"step": 2}\n')
    with pytest.raises(DataError, match=rf"^{path}:2: not JSON"):
        steps(path)


@pytest.mark.parametrize(
    "lines",
    [
        ['{"a": 1', '"b": 2}'],
        ['{"a": [{}', "{}]}", "{}, {}"],  # together three records, and none of three by itself
        ["{}", "{}, 0, {}"],
        ["{}", "", "{}"],
    ],
)
def test_lines_that_are_records_only_together_are_refused(tmp_path: Path, lines: list[str]) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines))
    with pytest.raises(DataError, match="not JSON"):
        list(read_metrics(path))


def test_nan_and_infinities_come_back_as_numbers(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    MetricsLog(path).append({"step": 0, "loss": float("nan"), "norm": float("inf")})
    (record,) = read_metrics(path)
    assert math.isnan(record["loss"])
    assert record["norm"] == float("inf")
    assert b"NaN" not in path.read_bytes()


def test_the_log_is_cut_back_to_an_offset_it_gave(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.append({"step": 0})
    offset = log.offset
    log.append({"step": 1})
    log.truncate(offset)
    log.append({"step": 1, "again": True})
    assert steps(log.path) == [0, 1]


@pytest.mark.parametrize(("offset", "reason"), [(100, "shortened"), (5, "no line ends")])
def test_an_offset_that_cannot_be_of_this_log_is_refused(
    tmp_path: Path, offset: int, reason: str
) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.append({"step": 0})
    before = log.path.read_bytes()
    with pytest.raises(EmergectlError, match=reason):
        log.truncate(offset)
    assert log.path.read_bytes() == before


def test_a_link_in_place_of_the_log_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    (tmp_path / "metrics.jsonl").symlink_to(outside)
    with pytest.raises(OSError):
        MetricsLog(tmp_path / "metrics.jsonl")
    assert outside.read_text() == "mine"


def test_a_line_that_only_half_fits_on_the_disk_leaves_no_half(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        log = MetricsLog(path)
        lines = ({"step": step, "text": "x" * 40} for step in range(1000))
        with pytest.raises(DiskFullError, match=r"metrics.jsonl: the disk is full \(\d+ bytes"):
            deque(map(log.append, lines), maxlen=0)

    assert in_child(fill) == 0
    assert path.read_bytes().endswith(b"}\n")
    assert steps(path) == list(range(len(steps(path))))
    assert 900 < path.stat().st_size <= 1000


def test_a_tail_cut_and_written_over_while_it_is_read_is_read_as_it_stands_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 0}\n{"step" 1, "loss": 2.0}\n')  # as glued out of two writings
    parse = metrics_log.parse_line

    def parse_while_written(line: bytes, where: str) -> dict[str, object]:
        try:
            return parse(line, where)
        except DataError:
            path.write_bytes(b'{"step": 0}\n{"step": 1, "loss": 2.0}\n{"step": 2}\n')
            raise

    monkeypatch.setattr(metrics_log, "parse_line", parse_while_written)
    assert steps(path) == [0, 1, 2]
