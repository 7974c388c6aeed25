"""Items and levels by task, from a file of their own: `task,n`, `task,chance`, `task,shortcut`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emergectl.analysis.formats.cells import number
from emergectl.analysis.formats.text_tables import open_table
from emergectl.analysis.table import Table, listed, names_of
from emergectl.errors import DataError, RequestError


def read_levels(path: Path, word: str) -> dict[str, float]:
    """A number by `task/metric`, `task` or `metric`, from the columns of those names.

    word: `n`, `chance` or `shortcut`, the column that has the number (or `value`). Rows without a
    number are left out. Raises RequestError where such columns are not there, DataError for what is
    no number and for two numbers of one name.
    """
    if not path.exists():
        raise RequestError(f"no file {path}")
    table = open_table(path)
    column = next((name for name in (word, "value") if name in table.names), None)
    keys = [name for name in ("task", "metric") if name in table.names]
    if column is None or not keys:
        raise RequestError(
            f"{path}: expected the columns task (or metric) and {word}; there are "
            f"{listed(table.names, 40) or 'none'}"
        )
    found: dict[str, float] = {}
    for line, record in table.rows:
        where = f"{path}:{line}"
        value = number(record.get(column), word, where, decimal_comma=table.decimal_comma)
        name = _name(record, keys)
        if value is None or not name:
            continue
        if found.setdefault(name, value) != value:
            raise DataError(f"{where}: {word} of {name} is {value:g} and was {found[name]:g}")
    return found


def fitting(table: Table, levels: Mapping[str, float], option: str) -> dict[str, float]:
    """Those numbers whose names the table has; what fits on neither side is noted.

    option: as a person typed it, `--n FILE`.
    """
    known = {name for row in table.rows for name in names_of(row)}
    if strange := [name for name in levels if name not in known]:
        table.note(f"{option}: the table has no {listed(strange)}")
    without = {row.task for row in table.rows if not any(n in levels for n in names_of(row))}
    if without:
        table.note(f"{option}: nothing is said of {listed(sorted(without))}")
    return {name: value for name, value in levels.items() if name in known}


def _name(record: Mapping[str, Any], keys: Sequence[str]) -> str:
    return "/".join(str(record[key]).strip() for key in keys if record.get(key))
