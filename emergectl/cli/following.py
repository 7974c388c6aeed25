"""The end of a run's metrics or log, and what is added to it while one watches."""

from __future__ import annotations

import csv
import io
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from emergectl.cli.output import clean
from emergectl.store.metrics_log import parse_line
from emergectl.store.status import read_status

FOLLOW_SECONDS = 0.5


def print_log(lines: Sequence[bytes]) -> None:
    for line in lines:
        print(clean(line.decode(errors="replace")))


class MetricPrinter:
    """Prints metric lines; with --csv under one header, made from the first lines that come."""

    def __init__(self, *, json_: bool, csv_: bool) -> None:
        self._json, self._csv = json_, csv_
        self._columns: list[str] = []

    def __call__(self, lines: Sequence[bytes]) -> None:
        if self._json:
            for line in lines:
                print(clean(line.decode(errors="replace")))
            return
        records = [parse_line(line, "metrics.jsonl") for line in lines]
        if self._csv:
            self._print_csv(records)
            return
        for record in records:
            cells = (f"{key} {_short(value)}" for key, value in record.items())
            print(clean("  ".join(cells)))

    def _print_csv(self, records: Sequence[dict[str, Any]]) -> None:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        if not self._columns and records:
            self._columns = list(dict.fromkeys(key for record in records for key in record))
            writer.writerow(map(clean, self._columns))
        for record in records:
            cells = (record.get(column) for column in self._columns)
            writer.writerow(["" if cell is None else clean(str(cell)) for cell in cells])


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def last_lines(file: Path, run: Path, *, count: int, follow: bool) -> Iterator[list[bytes]]:
    """The last lines of a file, then, when following, new ones until the run ends.

    A file that was cut back (its run was resumed) is followed from its new end.
    """
    lines, offset = _whole_lines(file, 0)
    yield lines[-count:] if count else []
    while follow:
        live = read_status(run).live  # Asked before reading, so that no last line is missed.
        lines, offset = _whole_lines(file, offset)
        yield lines
        if not live:
            return
        time.sleep(FOLLOW_SECONDS)


def _whole_lines(file: Path, offset: int) -> tuple[list[bytes], int]:
    """The lines that are whole from `offset` on, and the offset of what follows them."""
    if not file.exists():
        return [], 0
    with file.open("rb") as stream:
        offset = min(offset, stream.seek(0, io.SEEK_END))
        stream.seek(offset)
        content = stream.read()
    end = content.rfind(b"\n") + 1
    return content[:end].splitlines(), offset + end
