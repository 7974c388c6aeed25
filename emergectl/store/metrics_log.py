"""metrics.jsonl: one JSON object a line, only ever appended to, read while it grows.

A line goes out in one write() with O_APPEND, so it is there as a whole or, after a kill or on a
full disk, as a tail without its newline. Readers pass over such a tail and writers cut it off
before they append. On resume the log is cut back to the byte offset that the checkpoint's manifest
names, so that every step stands in it once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from emergectl.errors import DataError, EmergectlError
from emergectl.store.atomic import disk_full_named, json_floats, json_safe

_CHUNK_BYTES = 1 << 20


class MetricsLog:
    """The writing side of one metrics.jsonl; one writer at a time (the run's lock sees to it)."""

    def __init__(self, path: Path) -> None:
        """Open `path` for appending, made where missing, and cut off a torn last line."""
        self.path = path
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        with disk_full_named(path, None):
            self._descriptor = os.open(path, flags, 0o666)
        self._mend()

    def append(self, record: dict[str, Any]) -> None:
        """Add one line, NaN and infinities as the strings "nan", "inf", "-inf".

        Raises DiskFullError, with the log as it was before, where there is no room for the line.
        """
        line = json.dumps(json_safe(record), ensure_ascii=False, allow_nan=False) + "\n"
        content = line.encode()
        before = self._size()
        try:
            with disk_full_named(self.path, len(content)):
                written = os.write(self._descriptor, content)
                while written < len(content):  # Nearly full: the rest says so, as an error.
                    written += os.write(self._descriptor, content[written:])
        except BaseException:
            os.ftruncate(self._descriptor, before)
            raise

    @property
    def offset(self) -> int:
        """Bytes in the log, all of them on the disk: what a manifest may promise."""
        with disk_full_named(self.path, self._size()):
            os.fsync(self._descriptor)
        return self._size()

    def truncate(self, offset: int) -> None:
        """Cut the log back to `offset` bytes, an earlier value of `offset`.

        Raises EmergectlError where the log is shorter or a line does not end there: then it is not
        the log that the checkpoint was made with.
        """
        if offset > self._size():
            raise EmergectlError(
                f"{self.path}: has {self._size():,} bytes where the checkpoint counts on {offset:,}"
                "; it was shortened since, put it back to go on"
            )
        if offset > 0 and os.pread(self._descriptor, 1, offset - 1) != b"\n":
            raise EmergectlError(
                f"{self.path}: no line ends at byte {offset:,}, where the checkpoint was made"
                "; it was changed since, put it back to go on"
            )
        os.ftruncate(self._descriptor, offset)
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def _mend(self) -> None:
        end = end_of_whole_lines(self._descriptor)
        if end < self._size():
            os.ftruncate(self._descriptor, end)


def end_of_whole_lines(descriptor: int) -> int:
    """Bytes of an open file up to the end of its last whole line; what follows is a torn tail."""
    end = os.fstat(descriptor).st_size
    while end > 0:
        start = max(0, end - 65536)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def read_metrics(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a metrics.jsonl in order; none where the file is not there yet.

    A last line without its newline is still being written, or torn: it is passed over. Raises
    DataError (`file:line: reason`) for a whole line that is not a JSON object.
    """
    if not path.exists():
        return
    start, number, doubted = 0, 1, -1
    while True:
        with path.open("rb") as file:
            file.seek(start)
            while (records := _parse_together(lines := file.readlines(_CHUNK_BYTES))) is not None:
                start, number = start + sum(map(len, lines)), number + len(lines)
                yield from records
            file.seek(start)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                try:
                    record = parse_line(line, f"{path}:{number}")
                except DataError:
                    # Half of it may be a torn tail that a writer has cut off meanwhile, to go on
                    # in its place: a line is bad if it is bad when read anew.
                    if doubted == start:
                        raise
                    doubted = start
                    break
                start, number = start + len(line), number + 1
                yield record
            else:
                return


def _parse_together(lines: list[bytes]) -> list[dict[str, Any]] | None:
    """The records of lines in a third of the time that each by itself takes; None where a line has
    to be looked at by itself, or there is none. The zeros between them tell a line that is two
    records from two lines that are one."""
    if not all(line.startswith(b"{") and line.endswith(b"}\n") for line in lines):
        return None
    content = b",0,".join(lines)
    if not lines or b'"nan"' in content or b'inf"' in content:
        return None
    try:
        found = json.loads(b"[" + content + b"]")
    except ValueError:
        return None
    records, zeros = found[::2], found[1::2]
    whole = len(records) == len(lines) and zeros == [0] * (len(lines) - 1)
    return records if whole and all(isinstance(record, dict) for record in records) else None


def parse_line(line: bytes, where: str) -> dict[str, Any]:
    """One whole line as a record; DataError beginning with `where` for anything else."""
    try:
        record = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: not JSON ({error})") from None
    if not isinstance(record, dict):
        raise DataError(f"{where}: a {type(record).__name__} where an object was expected")
    if b'"nan"' in line or b'inf"' in line:
        record = json_floats(record)
    return record
