"""Classes: which there are, in what order, and each row's target."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emergectl.data.rows import PackedRows
from emergectl.errors import ExperimentError

_LISTED = 10


@dataclass(frozen=True)
class HeadLabels:
    """The classes of the head of a model that is trained on.

    `names` in their order; None where it has none but LABEL_0, LABEL_1 …, which transformers
    gives. A binary head is one output, and knows the name of the second class alone.
    """

    outputs: int
    names: tuple[str, ...] | None


def class_names(
    packs: Sequence[PackedRows],
    given: Sequence[str | int] | None,
    *,
    binary: bool,
    head: HeadLabels | None = None,
) -> list[str]:
    """The classes in order: as given, as the head has them, else those of the packed rows, sorted
    (numbers by size).

    Raises ExperimentError under `objective.labels` where their number does not fit, and where they
    are not the head's.
    """
    found = {name for packed in packs for label, _ in packed.labels for name in label}
    if given is not None:
        names = [str(name) for name in given]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ExperimentError("objective.labels", f"{doubled[0]!r} stands there twice")
    elif head is not None:
        names = _names_of_head(head, found, binary=binary)
    else:
        names = in_order(found)
    wanted = "exactly two classes" if binary else "at least two classes"
    if (binary and len(names) != 2) or len(names) < 2:
        raise ExperimentError(
            "objective.labels", f"expected {wanted}, got {len(names)}: {_list(names)}"
        )
    if head is not None:
        _check_head(head, names, binary=binary)
    return names


def head_notes(head: HeadLabels | None, names: Sequence[str], *, binary: bool) -> list[str]:
    """What a person is to know where the head's classes get other names than they had."""
    if head is None:
        return []
    if head.names is None:
        return [f"the model's head names no classes: they are taken to be {_list(names)}, in order"]
    kept = tuple(names[1:]) if binary else tuple(names)
    if kept == head.names:
        return []
    return [f"the model's head had the classes {_list(head.names)}: now they are {_list(kept)}"]


def _names_of_head(head: HeadLabels, found: set[str], *, binary: bool) -> list[str]:
    """The head's own names, where the data's are among them."""
    if head.names is None:
        numbers = [str(number) for number in range(2 if binary else head.outputs)]
        return numbers if found <= set(numbers) else in_order(found)
    if not binary and found <= set(head.names):
        return list(head.names)
    if binary and len(found) == 2 and set(head.names) < found:
        return [*(found - set(head.names)), *head.names]
    raise ExperimentError("objective.labels", _both_sets(head, in_order(found)))


def _check_head(head: HeadLabels, names: Sequence[str], *, binary: bool) -> None:
    outputs = 1 if binary else len(names)
    if outputs != head.outputs:
        raise ExperimentError("objective.labels", _both_sets(head, names))
    own = head.names or ()
    same = set(own) < set(names) if binary else set(own) == set(names)
    if own and same and list(own) != list(names[1:] if binary else names):
        raise ExperimentError(
            "objective.labels",
            f"the model's head has its classes in another order: {_list(own)}; leave `labels` out",
        )


def _both_sets(head: HeadLabels, names: Sequence[str]) -> str:
    many = f"{head.outputs} output" if head.outputs == 1 else f"{head.outputs} classes"
    own = "" if head.names is None else f" ({_list(head.names)})"
    return (
        f"the model's head has {many}{own}, the data has {len(names)} ({_list(names)}): name them "
        "as the head does, give `labels`, as many and in the head's order, or start from weights "
        "without this head"
    )


def in_order(names: Iterable[str]) -> list[str]:
    """Sorted; numbers by size."""
    listed = sorted(names)
    try:
        sizes = {name: float(name) for name in listed}
    except ValueError:
        return listed
    if not all(map(math.isfinite, sizes.values())):
        return listed  # `nan` and `inf` are words here
    return sorted(listed, key=lambda name: (sizes[name], name))


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
