"""Classes: which there are, in what order, and each row's target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emergectl.data.rows import PackedRows
from emergectl.errors import ExperimentError

_LISTED = 10


def class_names(
    packs: Sequence[PackedRows], given: Sequence[str | int] | None, *, binary: bool
) -> list[str]:
    """The classes in order: as given, else those of the packed rows, sorted (numbers by size).

    Raises ExperimentError under `objective.labels` where their number does not fit.
    """
    if given is not None:
        names = [str(name) for name in given]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ExperimentError("objective.labels", f"{doubled[0]!r} stands there twice")
    else:
        found = {name for packed in packs for label, _ in packed.labels for name in label}
        numeric = all(name.lstrip("-").isdecimal() for name in found)
        names = sorted(found, key=lambda name: (int(name) if numeric else 0, name))
    wanted = "exactly two classes" if binary else "at least two classes"
    if (binary and len(names) != 2) or len(names) < 2:
        raise ExperimentError(
            "objective.labels", f"expected {wanted}, got {len(names)}: {_list(names)}"
        )
    return names


def class_targets(
    packed: PackedRows, names: Sequence[str], *, multilabel: bool
) -> tuple[NDArray[Any], NDArray[np.bool_], list[str]]:
    """Each row's target, which rows have one, and what is wrong with the labels of the others.

    Targets are int64 [rows], or with `multilabel` float32 [rows, classes] of 0 and 1.
    """
    numbers = {name: number for number, name in enumerate(names)}
    table = np.zeros((len(packed.labels), len(names)), np.float32)
    known = np.ones(len(packed.labels), bool)
    problems = []
    for code, (label, where) in enumerate(packed.labels):
        unknown = [name for name in label if name not in numbers]
        table[code, [numbers[name] for name in label if name in numbers]] = 1.0
        if unknown:
            known[code] = False
            problems.append(
                f"{where}: the label {unknown[0]!r} is not among the classes {_list(names)}"
            )
    targets = table if multilabel else table.argmax(axis=1)
    return targets[packed.codes], known[packed.codes], problems


def count_classes(targets: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """How many rows bear each class."""
    if targets.ndim == 2:
        return np.asarray(targets.sum(axis=0), np.int64)
    return np.bincount(targets, minlength=classes).astype(np.int64)


def _list(names: Sequence[str]) -> str:
    more = f" … ({len(names)} in all)" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
