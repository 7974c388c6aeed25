"""What a format gives: flat records, the columns they have, and how they were asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

Record = Mapping[str, Any]

BESIDE = " beside"
"""a column that no file has: why a record is left out unless its metric is asked for"""
LOGGED_OF = ("train", "eval", "validation", "valid", "val", "test", "dev")
"""what logs put before the name of a metric"""


@dataclass
class FileRecords:
    """Records of one file, each with where it stands.

    `names`: the columns, the union over all records. `asked`: the columns that tell two askings of
    one task apart; where a table has several values of one, its curves are kept apart. `in_group`:
    those that stand in the column `group` already. `notes`: what a reader is told of them.
    """

    names: list[str]
    rows: Iterable[tuple[str, Record]]
    asked: tuple[str, ...] = ()
    in_group: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)


def collected(
    rows: Iterable[tuple[str, Record]],
    *,
    asked: tuple[str, ...] = (),
    in_group: tuple[str, ...] = (),
    notes: Iterable[str] = (),
) -> FileRecords:
    """Records that are in memory already; their columns in the order in which they come."""
    kept = list(rows)
    names: dict[str, Any] = {}
    for _, record in kept:
        names.update(record)
    return FileRecords([n for n in names if n != BESIDE], kept, asked, in_group, list(notes))


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether a JSON value is a number (True and False are none)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def items_of_share(share: float, stderr: Any) -> float | None:
    """Of how many items a share is, by its standard error: p(1 − p)/(n − 1) = stderr².

    None where that is not so: a mean of probabilities has a smaller error, and a share of n items
    is a whole number of them (as far as its digits tell).
    """
    if not is_number(stderr) or not stderr > 0 or not 0 < share < 1:
        return None
    items = round(share * (1 - share) / stderr**2 + 1)
    right = share * items
    whole = abs(right - round(right)) <= 1e-6 * items
    return float(items) if whole or round(share, 4) == share else None


def split_name(name: str, otherwise: str) -> tuple[str, str]:
    """(task, metric) of a logged value: `eval/loss` and `eval_loss` are the loss of `eval`; a name
    without such a part is of `otherwise`."""
    if "/" in name:
        task, _, metric = name.rpartition("/")
        return task, metric
    for part in LOGGED_OF:
        if name.startswith(f"{part}_") and len(name) > len(part) + 1:
            return part, name[len(part) + 1 :]
    return otherwise, name


def as_dict(value: Any) -> dict[str, Any]:
    """The value where it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}
