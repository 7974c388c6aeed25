"""Tables as text and Parquet: a stream of records, each with its line, and the columns beforehand.

CSV with commas, semicolons or tabs (what the header has most of); numbers may have decimal commas,
as the first rows show: in semicolons and tabs everywhere, between commas in single columns. JSONL
is read twice, since records may have different fields: its columns are all that any record has, in
whatever order the lines stand.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import IO, Any

from emergectl.analysis.formats.cells import comma_in
from emergectl.analysis.formats.records import Record
from emergectl.errors import DataError

TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
DELIMITERS = {".csv": (",", ";", "\t"), ".tsv": ("\t", ";", ",")}
LOOKED_AT = 200
"""rows in which a decimal comma is looked for"""
BATCH_ROWS = 4096
LFS = "version https://git-lfs"
"""how a pointer begins that Git LFS leaves where a file was not fetched"""


@dataclass(frozen=True)
class TextTable:
    """Columns and a stream of (line, record) of a file; every record has the columns it has."""

    names: list[str]
    rows: Iterable[tuple[int, Record]]
    decimal_comma: bool = False


def open_table(path: Path) -> TextTable:
    """A table of one of the kinds in `TABLES`.

    Raises DataError (`file:line: reason`) for what cannot be read, when it is reached.
    """
    kind = file_kind(path)
    if kind == ".parquet":
        return _parquet(path)
    return _jsonl(path) if kind == ".jsonl" else _csv(path)


def file_kind(path: Path) -> str:
    """What the end of a name says of a file: `.csv` of `a.CSV` and of `a.csv.gz`."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def open_text(path: Path, *, newline: str | None = None) -> IO[str]:
    """A text, packed with gzip where its name says so, without a byte-order mark."""
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline=newline)
    return path.open(encoding="utf-8-sig", newline=newline)


def no_pointer(text: str, path: Path) -> None:
    """DataError for what Git LFS leaves in place of a file."""
    if text.startswith(LFS):
        raise DataError(f"{path}:1: a pointer of Git LFS, not the file (git lfs pull)")


def _parquet(path: Path) -> TextTable:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path}:1: no Parquet file: {error}") from None

    def rows() -> Iterator[tuple[int, Record]]:
        line = 0
        try:
            for batch in file.iter_batches(BATCH_ROWS):
                for record in batch.to_pylist():
                    line += 1
                    yield line, record
        except (OSError, pyarrow.ArrowException) as error:
            raise DataError(f"{path}:{line + 1}: no Parquet file: {error}") from None

    return TextTable(list(file.schema_arrow.names), rows())


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text, numbered, with their ends."""
    line = 0
    try:
        with open_text(path, newline="\n") as file:
            for line, text in enumerate(file, 1):
                if line == 1:
                    no_pointer(text, path)
                if "\0" in text:
                    raise DataError(f"{path}:{line}: a NUL byte; this is no text")
                yield line, text
    except UnicodeDecodeError:
        raise DataError(f"{path}:{_undecodable(path)}: not UTF-8") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}:{line + 1}: not whole gzip: {error}") from None


def _undecodable(path: Path) -> str:
    """The line of the first byte that is not UTF-8."""
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
        for line, raw in enumerate(file, 1):
            try:
                raw.decode()
            except UnicodeDecodeError as error:
                return f"{line}: byte {error.start + 1}"
    return "1"


def _jsonl(path: Path) -> TextTable:
    names: dict[str, Any] = {}
    for _, record in _json_records(path):
        names.update(record)
    return TextTable(list(names), _json_records(path))


def _json_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, text in _lines(path):
        if not text.strip():
            continue
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}:{line}: not JSON: {error}") from None
        if not isinstance(record, dict):
            raise DataError(f"{path}:{line}: expected an object with the row's fields")
        yield line, record


def _csv(path: Path) -> TextTable:
    first = next((text for _, text in _lines(path)), None)
    if first is None:
        return TextTable([], ())
    delimiter = _delimiter(first, DELIMITERS[file_kind(path)])
    cells = _csv_cells(path, delimiter)
    header = next(cells)[1]
    names = [name.strip() for name in header]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise DataError(f"{path}:1: two columns are called {double!r}")
    ahead = []
    for row in cells:
        ahead.append(row)
        if len(ahead) == LOOKED_AT:
            break
    told = [
        {comma_in(cell) for cell in column}
        for column in zip_longest(*(row for _, row in ahead), fillvalue="")
    ]
    anywhere = set().union(*told)
    commas = delimiter != "," and (
        "decimal" in anywhere or ("either" in anywhere and "point" not in anywhere)
    )
    decimal = [index for index, found in enumerate(told) if "decimal" in found and not commas]
    padded = any(name != name.strip() for name in header)

    def rows() -> Iterator[tuple[int, Record]]:
        for part in (ahead, cells):
            for line, row in part:
                if len(row) != len(names):
                    if not any(cell.strip() for cell in row):
                        continue
                    raise DataError(f"{path}:{line}: {len(row)} cells; the header has {len(names)}")
                if padded:
                    row = [cell.strip() for cell in row]
                for index in decimal:  # A column of quoted decimal commas between commas.
                    row[index] = row[index].replace(".", "").replace(",", ".")
                if any(row) and any(cell.strip() for cell in row):
                    yield line, dict(zip(names, row, strict=True))

    return TextTable(names, rows(), commas)


def _csv_cells(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader((text for _, text in _lines(path)), delimiter=delimiter)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: {error}") from None


def _delimiter(header: str, candidates: tuple[str, ...]) -> str:
    """What a header has most of, outside quotes; the first candidate of equals."""
    counts = {one: len(next(csv.reader([header], delimiter=one))) for one in candidates}
    return max(candidates, key=lambda one: counts[one])
