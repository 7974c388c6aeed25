"""The first rows of an experiment's files, read for `validate` without torch.

`validate` cannot read all of the data, but the slips that make training refuse it (a column under
another name, a label that is none of the classes, a file in another format) mostly stand in the
first rows. Hub data sets and URLs are left alone: nothing is fetched here.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

from emergectl.config.schema import CLASSIFICATION, Experiment, FileSource
from emergectl.data.files import cache_root, source_files
from emergectl.data.readers import Tally
from emergectl.data.sources import (
    Converter,
    as_field,
    as_label,
    as_labels,
    as_text,
    iter_rows,
    note_bad_row,
    text_problem,
)
from emergectl.data.templates import template_fields
from emergectl.errors import DataError, ExperimentError

ROWS = 100
"""how many rows of each source are read"""
WHOLE_BYTES = 4 << 20
"""text files, and JSON documents, that are read as a whole: up to this size"""
_DOCUMENTS = ("json", "squad", "c3", "chid")


def check_first_rows(experiment: Experiment, shape: str) -> None:
    """Raise what training would of the first rows: DataError (`file:line: reason`) or
    ExperimentError. `shape`: what the data is for, as in `build_data`."""
    labels = experiment.objective.labels
    names = None if labels is None else [str(label) for label in labels]
    for part in ("train", "validation", "test"):
        found: dict[str, str] = {}
        complete = True
        for number, source in enumerate(getattr(experiment.data, part)):
            if isinstance(source, FileSource):
                complete &= _read(source, f"data.{part}.{number}", experiment, shape, names, found)
        if part == "train" and shape in CLASSIFICATION:
            names = names or (list(found) if complete else None)
            _check_classes(names or list(found), shape, complete=complete or labels is not None)


def _read(
    source: FileSource,
    key: str,
    experiment: Experiment,
    shape: str,
    names: list[str] | None,
    found: dict[str, str],
) -> bool:
    """Read the first rows of a source, adding labels to `found`; whether these were all rows."""
    if source.path is None or source.path.startswith(("http://", "https://")):
        return False
    files = source_files(source, key=key, cache=cache_root())
    if shape in ("clm", "mlm") and all(format_ == "text" for _, format_ in files):
        for path, _ in files:
            small = path.stat().st_size <= WHOLE_BYTES
            problem = text_problem(path) if small else None
            if problem:
                note_bad_row(source.bad_rows, problem, Tally())
        return True
    if any(format_ in _DOCUMENTS and p.stat().st_size > WHOLE_BYTES for p, format_ in files):
        return False
    roles = _roles(source, experiment, shape)
    rows = iter_rows(source, roles=roles, key=key, cache=cache_root(), tally=Tally())
    count = 0
    for row in islice(rows, ROWS):
        count += 1
        label = row.values.get("label", [])
        for name in [label] if isinstance(label, str) else label:
            found.setdefault(name, row.where)
            if names is not None and name not in names and source.bad_rows == "error":
                raise DataError(
                    f"{row.where}: the label {name!r} is not among the classes "
                    f"{', '.join(names[:10])} (`bad_rows: skip` leaves such rows out)"
                )
    return count < ROWS


def _roles(source: FileSource, experiment: Experiment, shape: str) -> dict[str, Converter]:
    """The roles that a row has to fill, and how each is checked."""
    if shape == "answer":
        spec = experiment.objective
        fields = template_fields(spec.prompt or "", key="objective.prompt")
        fields += template_fields(spec.answer or "", key="objective.answer")
        return dict.fromkeys(fields, as_field)
    roles: dict[str, Any] = {"text": as_text}
    if shape in CLASSIFICATION:
        if "text_pair" in source.columns:
            roles["text_pair"] = as_text
        roles["label"] = as_labels if shape == "multilabel" else as_label
    return roles


def _check_classes(names: list[str], shape: str, *, complete: bool) -> None:
    """Refuse a number of classes that cannot be; of too few only when all rows are known."""
    too_many = shape == "binary" and len(names) > 2
    if too_many or (complete and len(names) < 2):
        wanted = "exactly two classes" if shape == "binary" else "at least two classes"
        some = ", ".join(names[:10])
        raise ExperimentError("objective.labels", f"expected {wanted}, got {len(names)}: {some}")
