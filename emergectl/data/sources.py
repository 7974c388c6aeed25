"""Rows and documents out of a source of the experiment, each with the file and line of it.

`iter_rows` gives what an objective asks for under its role (`text`, `text_pair`, `label`, a field
of a template), `iter_pieces` gives running text for language modelling. A text file is one
document; everywhere else a row is one. A list where one text is wanted is joined by the source's
`join` (a line end unless it says otherwise).
Nothing is held in memory but the row at hand (and, of a text file, a piece of a megabyte or so).

A bad row stops everything with `file:line: reason`, or is counted with `bad_rows: skip`.
"""

from __future__ import annotations

import codecs
import difflib
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from emergectl.config.schema import FileSource
from emergectl.data.files import LINES_AS_ROWS, open_binary, source_files
from emergectl.data.readers import RawRow, Tally, json_type, read_rows, refuse_foreign
from emergectl.errors import DataError, ExperimentError

Converter = Callable[[Any], Any]
"""Turns a raw value into the value of a role; raises ValueError saying what is wrong."""

PIECE_CHARS = 64 * 1024
_READ_BYTES = 1 << 20
_SKIPPED_LISTED = 5


@dataclass(frozen=True, slots=True)
class SourceRow:
    """Values by role, and the file:line they came from."""

    values: dict[str, Any]
    where: str


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a document's text; `ends` on the last one."""

    text: str
    ends: bool


def iter_rows(
    source: FileSource, *, roles: Mapping[str, Converter], key: str, cache: Path, tally: Tally
) -> Iterator[SourceRow]:
    """The usable rows of a source, in order.

    `roles` says which roles are wanted and how each value is checked. The column of a role is
    `source.columns[role]`, else the role's own name. Raises DataError (`file:line: reason`) at the
    first bad row unless the source skips them, and where no row is left at all.
    """
    if "id" in source.columns:
        roles = {**roles, "id": _doubled_ids()}
    columns = {role: source.columns.get(role, role) for role in roles}
    for raw in _raw_rows(source, columns, key=key, cache=cache, tally=tally):
        row = _checked(raw, roles, source)
        if isinstance(row, SourceRow):
            tally.rows += 1
            yield row
        else:
            note_bad_row(source.bad_rows, row, tally)
    if not tally.rows:
        seen = f"; the first: {tally.first_skipped[0]}" if tally.skipped else ""
        raise DataError(f"{source.path or source.hub}: no usable row ({tally.skipped} bad{seen})")


def note_bad_row(bad_rows: str, message: str, tally: Tally) -> None:
    """Count a bad row (`bad_rows` of its source: skip), or raise it as DataError (error)."""
    if bad_rows == "error":
        raise DataError(f"{message} (`bad_rows: skip` leaves such rows out)")
    tally.skipped += 1
    if len(tally.first_skipped) < _SKIPPED_LISTED:
        tally.first_skipped.append(message)


def iter_pieces(
    source: FileSource,
    *,
    key: str,
    cache: Path,
    tally: Tally,
    next_border: Callable[[str, int], int] | None,
) -> Iterator[Piece]:
    """The running text of a source in pieces, document by document.

    `next_border(text, start)` says where text may be cut at or after `start` (-1: nowhere); with
    None every document comes whole.
    """
    files = [] if source.path is None else source_files(source, key=key, cache=cache)
    if files and all(format_ == "text" for _, format_ in files):
        for path, _ in files:
            problem = text_problem(path)
            if problem:
                note_bad_row(source.bad_rows, problem, tally)
                continue
            tally.rows += 1
            yield from _pieces_of_file(path, tally, next_border)
        if not tally.rows:
            raise DataError(f"{source.path}: no usable text; the first: {tally.first_skipped[0]}")
        return
    for row in iter_rows(source, roles={"text": as_text}, key=key, cache=cache, tally=tally):
        yield from cut_text(row.values["text"], next_border)


def cut_text(text: str, next_border: Callable[[str, int], int] | None) -> Iterator[Piece]:
    """One document cut into pieces of PIECE_CHARS and a little more."""
    start = 0
    while next_border is not None and len(text) - start > PIECE_CHARS:
        stop = next_border(text, start + PIECE_CHARS)
        if stop < 0 or stop >= len(text):
            break
        yield Piece(text[start:stop], ends=False)
        start = stop
    yield Piece(text[start:], ends=True)


def as_text(value: Any) -> str:
    """A text, or a list of texts joined by line ends."""
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        value = "\n".join(value)
    if not isinstance(value, str):
        raise ValueError(f"expected text, got {json_type(value)}")
    if not value.strip():
        raise ValueError("is empty")
    if "\0" in value:
        raise ValueError("holds a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        code = ord(value[error.start])
        if 0xDC80 <= code <= 0xDCFF:
            raise ValueError(f"holds a byte that is not UTF-8 (0x{code - 0xDC00:02X})") from error
        raise ValueError(f"holds half a surrogate pair (\\u{code:04x})") from error
    return value


def as_field(value: Any) -> str:
    """A field of a template: text, a number, or true/false."""
    if isinstance(value, float) and value != value:
        raise ValueError("is not a number (NaN)")
    if isinstance(value, (int, float)):
        return json.dumps(value)
    return as_text(value)


def joined(value: Any, separator: str) -> Any:
    """A list of texts and numbers as one text; any other value as it stands.

    An empty list is the empty text, so that it is refused as such.
    """
    if not isinstance(value, list) or not all(isinstance(p, (str, int, float)) for p in value):
        return value
    return separator.join(part if isinstance(part, str) else as_field(part) for part in value)


_ONE_TEXT = (as_text, as_field)


def as_name(value: Any) -> str:
    """A name (of a class, an option, a group): text or a whole number."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # parquet turns whole numbers into floats where one is missing
    if isinstance(value, (bool, int)):
        return json.dumps(value)
    if not isinstance(value, str):
        raise ValueError(f"expected a label, got {json_type(value)}")
    return as_text(value).strip()


def as_label(value: Any) -> str:
    """The name of a row's class; `NaN`, as tables write what is missing, is none."""
    name = as_name(value)
    if name in ("NaN", "nan"):
        raise ValueError(f"is {name}: the label is missing")
    return name


def as_labels(value: Any) -> list[str]:
    """The names of any number of classes: a list, or a text with commas, semicolons or bars.

    An empty list or text is a row of none of the classes.
    """
    if isinstance(value, str):
        separator = next((s for s in "|;," if s in value), ",")
        value = [part for part in value.split(separator) if part.strip()]
    elif value is None:
        raise ValueError("expected labels, got null (a row without any has an empty list)")
    elif not isinstance(value, list):
        value = [value]
    return sorted({as_label(part) for part in value})


def _raw_rows(
    source: FileSource, columns: Mapping[str, str], *, key: str, cache: Path, tally: Tally
) -> Iterator[RawRow]:
    """Every row; ExperimentError where a table, whose rows are all alike, lacks a column."""
    if source.hub is not None:
        for row in _hub_rows(source, key=key):
            if row.where.endswith(":1"):
                _check_columns(row, columns, key=key)
            yield row
        return
    for path, format_ in source_files(source, key=key, cache=cache):
        if format_ == "text":
            raise ExperimentError(
                f"{key}.path",
                f"{path} is plain text; here rows are needed: jsonl, csv, tsv …, or "
                f"{LINES_AS_ROWS} (two aligned files: `paste A B > both.tsv` first)",
            )
        empty, checked = True, format_ not in ("csv", "tsv", "parquet")
        for row in read_rows(path, format_, tally, header=source.header):
            if not checked and row.problem is None:
                _check_columns(row, columns, key=key)
                checked = True
            empty = False
            yield row
        if empty and source.bad_rows == "error":
            raise DataError(f"{path}:1: the file holds no rows")
        if empty:
            yield RawRow(f"{path}:1", {}, "the file holds no rows")


def _check_columns(row: RawRow, columns: Mapping[str, str], *, key: str) -> None:
    for role, column in columns.items():
        if column.split(".")[0] not in row.values and column not in row.values:
            raise ExperimentError(f"{key}.columns.{role}", f"{row.where}: {_missing(row, column)}")


def _missing(row: RawRow, column: str) -> str:
    near = difflib.get_close_matches(column, list(row.values), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    if len(row.values) == 1:
        only = next(iter(row.values))
        separators = {"\t": "is this `format: tsv`?", ";": "it is separated by `;`, not by commas"}
        separators |= {",": "is this `format: csv`?"}
        hint = next((f": {said}" for mark, said in separators.items() if mark in only), hint)
    if len(row.values) == 1 and isinstance(
        row.values.get("data", row.values.get("examples")), list
    ):
        hint = ": is this `format: json`?"
    return f"no column {column!r}; there are: {', '.join(row.values) or 'none'}{hint}"


def load_hub(source: FileSource, *, key: str) -> Any:
    """The split of a hub data set, as `datasets` gives it (downloaded once, then cached)."""
    assert source.hub is not None
    try:
        return _load_hub(source.hub, source.config, source.split or "train")
    except Exception as error:
        # Whatever the hub library raises here, the request cannot be met and this says why.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ExperimentError(
            f"{key}.hub",
            f"the data set {source.hub!r} cannot be had: {reason}. Check the name, "
            "`config`, `split` and the network, or give `path` to files",
        ) from error


@lru_cache(maxsize=16)
def _load_hub(name: str, config: str | None, split: str) -> Any:
    import datasets
    from huggingface_hub.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # else a dozen lines of retries where there is no network
    try:
        return datasets.load_dataset(name, config, split=split)
    finally:
        logging.set_verbosity(verbosity)


def _hub_rows(source: FileSource, *, key: str) -> Iterator[RawRow]:
    """Rows of a hub data set; classes that it numbers come under their names."""
    data = load_hub(source, key=key)
    classes = {column: names for column, f in data.features.items() if (names := _class_names(f))}
    for number, values in enumerate(data, start=1):
        named = {column: _named(values[column], names) for column, names in classes.items()}
        yield RawRow(f"{source.hub}:{number}", values | named)


def _class_names(feature: Any) -> list[str] | None:
    """The names of a column of classes, or of lists of classes; None for other columns."""
    inner = getattr(feature, "feature", feature)
    return getattr(inner, "names", None)


def _named(value: Any, names: list[str]) -> Any:
    if isinstance(value, list):
        return [_named(part, names) for part in value]
    known = isinstance(value, int) and 0 <= value < len(names)
    return names[value] if known else value  # -1 is a label that is kept secret


def _checked(raw: RawRow, roles: Mapping[str, Converter], source: FileSource) -> SourceRow | str:
    """The row under its roles, or what is wrong with it as `file:line: reason`."""
    if raw.problem is not None:
        return f"{raw.where}: {raw.problem}"
    values = {}
    for role, check in roles.items():
        column = source.columns.get(role, role)
        try:
            value = _cell(raw.values, column)
            values[role] = check(joined(value, source.join) if check in _ONE_TEXT else value)
        except KeyError:
            return f"{raw.where}: {_missing(raw, column)}"
        except ValueError as error:
            return f"{raw.where}: {column}: {error}"
    return SourceRow(values, raw.where)


def _cell(values: Mapping[str, Any], column: str) -> Any:
    """A column of a row; a dot in its name leads into an object. KeyError where it is not there."""
    if column in values:
        return values[column]
    first, dot, rest = column.partition(".")
    inside = values[first]
    if not dot or not isinstance(inside, dict):
        raise KeyError(column)
    return _cell(inside, rest)


def _doubled_ids() -> Converter:
    """A check that remembers the ids it has seen, by their hashes."""
    seen: set[int] = set()

    def check(value: Any) -> Any:
        mark = hash(json.dumps(value, sort_keys=True, default=str))
        if mark in seen:
            raise ValueError(f"the id {value!r} came before")
        seen.add(mark)
        return value

    return check


def text_problem(path: Path) -> str | None:
    """Why a text file cannot be used, as `file:line: reason`; None where it can."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    line, empty = 1, True
    try:
        with open_binary(path) as file:
            while chunk := file.read(_READ_BYTES):
                if empty:
                    refuse_foreign(path, chunk)
                if b"\0" in chunk:
                    line += chunk[: chunk.index(b"\0")].count(b"\n")
                    return f"{path}:{line}: holds a NUL byte: this is not text"
                empty = empty and not chunk.strip()
                decoder.decode(chunk)
                line += chunk.count(b"\n")
            decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        line += error.object[: error.start].count(b"\n")
        byte = error.object[error.start]
        return f"{path}:{line}: holds a byte that is not UTF-8 (0x{byte:02X})"
    except (OSError, EOFError, zlib.error) as error:
        return f"{path}:{line}: cannot be read: {error}"
    return f"{path}:1: the file is empty" if empty else None


def _pieces_of_file(
    path: Path, tally: Tally, next_border: Callable[[str, int], int] | None
) -> Iterator[Piece]:
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    rest = ""
    with open_binary(path) as file:
        if next_border is None:
            whole = file.read()
            tally.bytes_read += len(whole)
            yield Piece(whole.decode("utf-8-sig"), ends=True)
            return
        while chunk := file.read(_READ_BYTES):
            tally.bytes_read += len(chunk)
            pieces = list(cut_text(rest + decoder.decode(chunk), next_border))
            rest = pieces.pop().text  # the last border may lie in what is still to come
            yield from pieces
    yield from cut_text(rest + decoder.decode(b"", final=True), next_border)
