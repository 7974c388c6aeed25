"""Raw rows out of files, each with where it came from.

One small generator a format. None of them decides what to do about a bad row: they say what is
wrong with it (`problem`) and go on, and `sources` stops or counts. Lines are read one at a time and
bounded, so that a file never has to fit into memory; a JSON document (`emergectl.data.documents`)
has to. CSV follows RFC 4180; TSV has no quoting, as in GLUE and its kin, where a quotation mark is
text.
"""

from __future__ import annotations

import csv
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from emergectl.data.documents import LAYOUTS, read_json_document, rows_of_chid, unique_keys
from emergectl.data.files import open_binary
from emergectl.errors import DataError

MAX_ROW_BYTES = 100 * 2**20
_BOM = b"\xef\xbb\xbf"
_LONGEST_BEGINNING = 2**20
# What a file of rows or text never begins with, and what such a file is.
_FOREIGN = {
    b"\xff\xfe\0\0": "UTF-32, not UTF-8: convert it (iconv -f utf-32)",
    b"\0\0\xfe\xff": "UTF-32, not UTF-8: convert it (iconv -f utf-32)",
    b"\xff\xfe": "UTF-16, not UTF-8: convert it (iconv -f utf-16)",
    b"\xfe\xff": "UTF-16, not UTF-8: convert it (iconv -f utf-16)",
    b"\x1f\x8b": "compressed with gzip: let its name end in .gz, or unpack it",
    b"PK\x03\x04": "a zip archive (an .xlsx is one too): unpack or export it",
    b"version https://git-lfs": "a pointer of Git LFS, not the data: fetch it (git lfs pull)",
}


@dataclass(frozen=True, slots=True)
class RawRow:
    """Columns as a file holds them, or what is wrong with them; `where` is file:line."""

    where: str
    values: dict[str, Any]
    problem: str | None = None


@dataclass
class Tally:
    """What reading has found so far, for progress and for the report."""

    bytes_read: int = 0
    rows: int = 0
    skipped: int = 0
    first_skipped: list[str] = field(default_factory=list)


def read_rows(
    path: Path, format_: str, tally: Tally, *, header: Sequence[str] = ()
) -> Iterator[RawRow]:
    """The rows of one file in one of the formats of FileSource, other than text.

    `header` names the columns of a csv or tsv file whose first line is a row already.
    """
    if format_ in LAYOUTS:
        return _read_layout(path, format_, tally)
    if format_ in ("csv", "tsv"):
        return (_read_csv if format_ == "csv" else _read_tsv)(path, tally, list(header) or None)
    return _READERS[format_](path, tally)


def numbered_lines(path: Path, tally: Tally) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers from 1. Of a line over MAX_ROW_BYTES comes only the beginning."""
    number = 0
    try:
        with open_binary(path) as file:
            while line := file.readline(MAX_ROW_BYTES + 1):
                number += 1
                tally.bytes_read += len(line)
                if number == 1:
                    refuse_foreign(path, line)
                    _refuse_lines_of_cr(path, line)
                    line = line.removeprefix(_BOM)
                yield number, line
                while len(line) > MAX_ROW_BYTES and not line.endswith(b"\n"):
                    line = file.readline(MAX_ROW_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}:{number + 1}: cannot be read: {error}") from error


def refuse_foreign(path: Path, head: bytes) -> None:
    """Raise DataError where the beginning of a file shows it to be neither rows nor UTF-8 text."""
    for mark, what in _FOREIGN.items():
        if head.startswith(mark):
            raise DataError(f"{path}:1: this is {what}")
    if len(head) > 3 and (head[1:4:2] == b"\0\0" or head[0:3:2] == b"\0\0"):
        raise DataError(f"{path}:1: every second byte is NUL: convert it (iconv -f utf-16le)")


def _refuse_lines_of_cr(path: Path, line: bytes) -> None:
    """Raise DataError for a file of rows whose lines end as on old Macs: it would be one line."""
    if not line.endswith(b"\n") and b"\r" in line.rstrip(b"\r"):
        raise DataError(f"{path}:1: its lines end in CR alone: convert it (tr '\\r' '\\n' < FILE)")


def _read_jsonl(path: Path, tally: Tally) -> Iterator[RawRow]:
    first = True
    for number, line in numbered_lines(path, tally):
        if not line.strip():
            continue
        if first and _is_begun_document(line):
            raise DataError(
                f"{path}:{number}: each line has to be a row, and here one JSON value goes on over "
                "several lines: give `format: json` where it is a list of rows (squad or c3 where "
                "it is a document of that kind)"
            )
        first = False
        yield _parse_json(line, f"{path}:{number}")


def _is_begun_document(line: bytes) -> bool:
    """Whether a line is the beginning of a JSON value that goes on: `[`, `{`, `{"data": [` …"""
    if not line.endswith(b"\n") or len(line) > _LONGEST_BEGINNING:
        return False
    text = line.decode("utf-8", "replace").strip()
    if not text.startswith(("[", "{")):
        return False
    try:
        _JSON.decode(text)
    except json.JSONDecodeError as error:
        return error.pos >= len(text)
    except (ValueError, RecursionError):
        return False
    return False


def _parse_json(line: bytes, where: str) -> RawRow:
    problem = _line_problem(line)
    if problem:
        return RawRow(where, {}, problem)
    try:
        # Bytes that are not UTF-8 become lone surrogates, which the check of the text finds.
        value = _JSON.decode(line.decode("utf-8", "surrogateescape"))
    except RecursionError:
        return RawRow(where, {}, "nested too deeply")
    except ValueError as error:
        cut_off = "" if line.endswith(b"\n") else "the last line is cut off: "
        return RawRow(where, {}, f"{cut_off}not JSON: {str(error).replace(': line 1 ', ' at ')}")
    if not isinstance(value, dict):
        return RawRow(where, {}, f"expected an object of columns, got {json_type(value)}")
    return RawRow(where, value)


def _line_problem(line: bytes) -> str | None:
    if len(line) > MAX_ROW_BYTES:
        return f"a row of more than {MAX_ROW_BYTES // 2**20} MB"
    if b"\0" in line:
        return "holds a NUL byte"
    return None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


_JSON = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=unique_keys)


def json_type(value: object) -> str:
    """The kind of a value in words that fit JSON and YAML."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true/false"
    if isinstance(value, (int, float)):
        return f"a number ({value})"
    words = ((str, "text"), (list, "a list"), (dict, "an object"))
    return next((word for type_, word in words if isinstance(value, type_)), type(value).__name__)


def _read_csv(path: Path, tally: Tally, header: list[str] | None) -> Iterator[RawRow]:
    csv.field_size_limit(MAX_ROW_BYTES)
    lines = (line.decode("utf-8", "surrogateescape") for _, line in numbered_lines(path, tally))
    reader = csv.reader(lines, strict=True)
    while True:
        begun = reader.line_num + 1
        where = f"{path}:{begun}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield RawRow(where, {}, _csv_problem(str(error)))
            continue
        if header is None:
            header = _checked_header(cells, where)
        elif cells:  # a blank line is no row
            yield _named_cells(header, cells, where)


def _csv_problem(error: str) -> str:
    if "unexpected end of data" in error or "field larger" in error:
        return "not CSV: the quotation mark that opens here is never closed"
    return f"not CSV: {error}"


def _read_tsv(path: Path, tally: Tally, header: list[str] | None) -> Iterator[RawRow]:
    for number, line in numbered_lines(path, tally):
        where = f"{path}:{number}"
        problem = _line_problem(line)
        text = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
        if header is None and not problem:
            header = _checked_header(text.split("\t"), where)
        elif problem or header is None:
            yield RawRow(where, {}, problem)
        elif text:
            yield _named_cells(header, text.split("\t"), where)


def _checked_header(cells: list[str], where: str) -> list[str]:
    doubled = sorted({cell for cell in cells if cells.count(cell) > 1})
    if doubled:
        raise DataError(f"{where}: two columns of the header are called {doubled[0]!r}")
    return cells


def _named_cells(header: list[str], cells: list[str], where: str) -> RawRow:
    if len(cells) != len(header):
        return RawRow(where, {}, f"{len(cells)} fields, but the header has {len(header)}")
    return RawRow(where, dict(zip(header, cells, strict=True)))


def _read_parquet(path: Path, tally: Tally) -> Iterator[RawRow]:
    """Rows of a parquet file; the number after the path counts rows from 1."""
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            _checked_header(file.schema_arrow.names, f"{path}:1")
            size_of_row = path.stat().st_size / max(1, file.metadata.num_rows)
            for batch in file.iter_batches(batch_size=1024):
                for values in batch.to_pylist():
                    number += 1
                    yield RawRow(f"{path}:{number}", values)
                tally.bytes_read += int(size_of_row * batch.num_rows)
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}:{number + 1}: not a parquet file: {reason}") from error


def _read_layout(path: Path, format_: str, tally: Tally) -> Iterator[RawRow]:
    """Rows of a JSON document; `where` is file: and the path in the document."""
    document = read_json_document(path)
    tally.bytes_read += path.stat().st_size
    try:
        for location, row in LAYOUTS[format_](document):
            where = f"{path}: {location}"
            yield RawRow(where, {}, row) if isinstance(row, str) else RawRow(where, row)
    except ValueError as error:
        raise DataError(f"{path}:1: not `format: {format_}`: {error}") from None


def _read_chid(path: Path, tally: Tally) -> Iterator[RawRow]:
    """Rows of ChID's JSON lines, with the answers of the file beside it."""
    beside = path.with_name(path.name.replace(".json", "_answer.json", 1))
    if beside == path or not beside.is_file():
        raise DataError(f"{path}:1: the answers are looked for in {beside}, which is not there")
    answers = read_json_document(beside)
    for line in _read_jsonl(path, tally):
        if line.problem is not None:
            yield line
            continue
        for row in rows_of_chid(line.values, answers):
            yield RawRow(line.where, {}, row) if isinstance(row, str) else RawRow(line.where, row)


_READERS: dict[str, Callable[[Path, Tally], Iterator[RawRow]]] = {
    "jsonl": _read_jsonl,
    "parquet": _read_parquet,
    "chid": _read_chid,
}
