"""What an evaluation leaves in a folder: asked.json, items.jsonl, results.json.

`asked.json` comes first and says what is asked. `items.jsonl` grows as answers come in, in
whatever order, a line each; a kill costs the torn last line at most. When all have come it is put
into the order of the items, as a whole, and `results.json` is written: where that stands, the
evaluation is complete, and kept when the same is asked again. Asked again with `--resume`, only
the items that are missing are asked.

Of several ranks rank 0 alone holds the folder; the others know what it found there, take in the
same answers and write nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from emergectl.errors import AlreadyRunningError, DataError, RequestError
from emergectl.evaluation.records import ItemRecord, record_from_json, record_to_json
from emergectl.runtime.rank_agreement import on_main
from emergectl.store.atomic import json_safe, write_json, write_text
from emergectl.store.lock import LOCK_NAME, drop_ballast, take_lock
from emergectl.store.measurements import Measurement, append_measurements
from emergectl.store.metrics_log import MetricsLog, read_metrics

if TYPE_CHECKING:
    from emergectl.runtime.place import Place

ASKED, ITEMS, RESULTS = "asked.json", "items.jsonl", "results.json"

ResumeMode = bool | Literal["same"]
"""whether to go on with what is there; `same`: where it was asked in the same way"""


class ItemFile:
    """The growing items.jsonl of one task, held by this process alone."""

    def __init__(self, folder: Path, asked: dict[str, Any], *, resume: ResumeMode) -> None:
        """Begin anew; keep what is there where it is complete and was asked the same; go on with
        it where `resume`.

        Raises RequestError where that was asked otherwise, naming the difference; with `same` it is
        asked anew then.
        """
        self.folder = folder
        self.records: list[ItemRecord] = []
        """what has come so far, in whatever order"""
        self.asked = asked = json.loads(json.dumps(json_safe(asked)))
        there = (folder / ASKED).exists()
        differs = self._difference(asked) if there else None
        if resume is True and differs:
            raise RequestError(differs)
        if there and not differs and (resume or self.is_complete):
            self.records = list(read_items(folder / ITEMS))
        else:
            for name in (RESULTS, ITEMS):
                (folder / name).unlink(missing_ok=True)
            write_json(folder / ASKED, asked)
        self._log = MetricsLog(folder / ITEMS)

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to be asked."""
        return (self.folder / RESULTS).exists()

    def append(self, record: ItemRecord) -> None:
        """Add what came of one item."""
        self._log.append(record_to_json(record))
        self.records.append(record)

    def finish(
        self,
        records: Iterable[ItemRecord],
        results: dict[str, Any],
        *,
        run: Path,
        measured: Sequence[Measurement],
    ) -> None:
        """Leave all records in this order, the results, and what was measured in the run's
        measurements; nothing where all of that was left before."""
        results = json.loads(json.dumps(json_safe(results)))
        if self.is_complete and read_json(self.folder / RESULTS) == results:
            return
        write_items(self.folder / ITEMS, records)
        append_measurements(run, measured)
        write_json(self.folder / RESULTS, results)

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        self._log.close()

    def _difference(self, asked: dict[str, Any]) -> str | None:
        """How what is there was asked otherwise; None where it was asked the same."""
        path = self.folder / ASKED
        before = read_json(path)
        for name in asked:
            if before.get(name) != asked[name]:
                return (
                    f"{path}: was asked with {name} {_short(before.get(name))}, not "
                    f"{_short(asked[name])}; without --resume it is asked anew"
                )
        return None


@dataclass
class FollowedItems:
    """What rank 0 holds as an ItemFile, on the other ranks: in memory alone."""

    folder: Path
    asked: dict[str, Any]
    records: list[ItemRecord]
    is_complete: bool

    def append(self, record: ItemRecord) -> None:
        """Take in what came of one item."""
        self.records.append(record)

    def finish(
        self,
        records: Iterable[ItemRecord],
        results: dict[str, Any],
        *,
        run: Path,
        measured: Sequence[Measurement],
    ) -> None:
        """Nothing: rank 0 leaves the records and the results."""


@contextmanager
def open_items(
    folder: Path, asked: dict[str, Any], *, resume: ResumeMode, place: Place
) -> Iterator[ItemFile | FollowedItems]:
    """The item file of a folder, which is made; AlreadyRunningError where somebody is at it."""
    with ExitStack() as stack:
        file: ItemFile | None = None

        def hold() -> tuple[dict[str, Any], list[ItemRecord], bool]:
            nonlocal file
            file = stack.enter_context(_held(folder, asked, resume=resume))
            return file.asked, file.records, file.is_complete

        found = on_main(place, hold)
        yield file or FollowedItems(folder, *found)


@contextmanager
def _held(folder: Path, asked: dict[str, Any], *, resume: ResumeMode) -> Iterator[ItemFile]:
    folder.mkdir(parents=True, exist_ok=True)
    lock = take_lock(folder)
    if lock is None:
        raise AlreadyRunningError(f"{folder}: another evaluation is at work there")
    drop_ballast(lock)
    try:
        file = ItemFile(folder, asked, resume=resume)
        try:
            yield file
        finally:
            file.close()
    finally:
        (folder / LOCK_NAME).unlink(missing_ok=True)
        os.close(lock)


def read_items(path: Path) -> Iterator[ItemRecord]:
    """The records of an items.jsonl; a torn last line is passed over.

    Raises DataError (`file:line: reason`) for a whole line that is no record.
    """
    for number, values in enumerate(read_metrics(path), start=1):
        yield record_from_json(values, f"{path}:{number}")


def write_items(path: Path, records: Iterable[ItemRecord]) -> None:
    """Replace an items.jsonl, as a whole."""
    lines = (json.dumps(json_safe(record_to_json(one)), ensure_ascii=False) for one in records)
    write_text(path, "".join(f"{line}\n" for line in lines))


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; DataError where the file does not hold one."""
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path}:1: not JSON ({error})") from None
    if not isinstance(found, dict):
        raise DataError(f"{path}:1: expected an object")
    return found


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:59] + "…"
