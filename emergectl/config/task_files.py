"""Task files: a task that is written down once and asked of many models.

A YAML file says `task:`, the name of a kind, and the kind's parameters; a JSON file is a task of
BIG-bench or BIG-Bench-Hard. Wherever a task may be named, such a file may be, or the name of one
that is shipped, with parameters beside it that win over the file's. References are resolved when
an experiment is loaded, so that the one that a run keeps holds the task itself: a file that changes
later changes no run. A parameter called `path`, or whatever ends in `_path`, is a path, and starts
at the folder of the file that it is written in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emergectl.config.explain import message_at
from emergectl.config.overrides import apply_overrides
from emergectl.config.paths import absolute_source
from emergectl.config.reader import Document, Key, parse_yaml, read_yaml
from emergectl.config.shipped import shipped_tasks
from emergectl.errors import ExperimentError, RequestError

BIG_BENCH = "bigbench"
_ENDINGS = (".yaml", ".yml", ".json")
Anchor = Callable[[tuple[Key, ...]], Path]
"""The folder at which a path starts that stands under a key."""
_PARAMETERS = re.compile(r":(?=[A-Za-z_][\w.]*=)")
_HARNESS_KEY = re.compile(
    r"^(?:doc_to_text|doc_to_target|doc_to_choice|dataset_path|dataset_name|output_type"
    r"|metric_list|tag|test_split|process_docs|include)\s*:",
    re.MULTILINE,
)
_HARNESS_TAG = re.compile(r"^[ -]*\w+\s*:\s*!function\s", re.MULTILINE)


@dataclass(frozen=True)
class WrittenTask:
    """A task as it was written: its kind, its parameters, and the file they stand in, if any."""

    task: str
    params: dict[str, Any]
    document: Document | None = None

    def locate(self, error: ExperimentError) -> RequestError:
        """The error of a parameter (its key begins with the parameter) with file and line."""
        keys = [key for key in error.key.split(".") if key]
        if self.document is None:
            return RequestError(": ".join(filter(None, [self.task, *keys, error.message])))
        return RequestError(message_at(self.document, keys, error.message))


def written_task(reference: str) -> WrittenTask:
    """The task of a reference such as `addition:digits=4`, `gsm8k:test_path=test.jsonl`, a file.

    Paths in a task file start at its own folder, those in parameters after a reference at the
    current one. Raises RequestError naming file and line.
    """
    name, overrides = split_reference(reference)
    file = task_file(name, folder=Path.cwd())
    is_yaml = file is not None and file.suffix != ".json" and not is_harness_file(file)
    try:
        if file is not None and is_yaml and file.is_file():
            return _of_yaml(file, overrides, given={}, check=True)
        task, params = resolved(reference, {}, (), lambda _: Path.cwd(), check=True)
    except ExperimentError as error:
        raise RequestError(error.message) from None
    return WrittenTask(task, params)


def split_reference(reference: str) -> tuple[str, list[str]]:
    """A reference's name or file, and the parameters (`key=value`) that follow it."""
    name, *parameters = _PARAMETERS.split(reference)
    return name, parameters


def task_file(name: str, *, folder: Path) -> Path | None:
    """The file that a task's name stands for; None for a task of the catalog."""
    if name.endswith(_ENDINGS):
        return folder / Path(name).expanduser()
    return shipped_tasks().get(name)


def is_harness_file(path: Path) -> bool:
    """Whether a file is a task of lm-evaluation-harness, which only that can run.

    Such files have a tag (`!function`) and keys of their own: they are recognised by the one or by
    two of the others, and not read.
    """
    if path.suffix == ".json" or not path.is_file():
        return False
    text = path.read_text(encoding="utf-8", errors="replace")
    return len(_HARNESS_KEY.findall(text)) >= 2 or _HARNESS_TAG.search(text) is not None


def resolved(
    reference: str,
    given: Mapping[str, Any],
    keys: tuple[Key, ...],
    anchor: Anchor,
    *,
    check: bool,
) -> tuple[str, dict[str, Any]]:
    """The kind and all parameters behind a reference and the parameters given beside it.

    `keys` is where the reference stands, `anchor` tells at which folder the path of a key starts.
    A task of lm-evaluation-harness is named by its whole path and stays as it is. Raises
    ExperimentError for a file that is not there, RequestError for what is wrong in one.
    """
    name, overrides = split_reference(reference)
    beside = apply_overrides(parse_yaml("{}", name=name), overrides)
    params = _anchored({**beside.data, **given}, keys, anchor, check=check)
    file = task_file(name, folder=anchor((*keys, "task")))
    if file is None or not (check or file.is_file()):
        return name, params
    if not file.is_file():
        raise ExperimentError(".".join(map(str, (*keys, "task"))), f"no such task file: {file}")
    if is_harness_file(file):
        return str(file.absolute()), params
    if file.suffix == ".json":
        return BIG_BENCH, {"path": str(file.absolute()), **params}
    written = _of_yaml(file, (), given=params, check=check)
    return written.task, written.params


def _anchored(
    params: Mapping[str, Any], keys: tuple[Key, ...], anchor: Anchor, *, check: bool
) -> dict[str, Any]:
    """Parameters with their paths made absolute."""
    found = dict(params)
    for key, value in params.items():
        if (key == "path" or key.endswith("_path")) and isinstance(value, str):
            at = (*keys, key)
            found[key] = absolute_source(value, at, anchor(at), check)
    return found


def _of_yaml(
    path: Path, overrides: Sequence[str], *, given: Mapping[str, Any], check: bool
) -> WrittenTask:
    """The task of a YAML file, with overrides, and parameters that win over the file's."""
    document = apply_overrides(read_yaml(path), overrides)
    data = document.data
    if not isinstance(data, dict) or not isinstance(data.get("task"), str):
        raise RequestError(f"{path}:1: not a task file: it says `task:`, the name of a kind")

    def anchor(keys: tuple[Key, ...]) -> Path:
        return path.parent.absolute() if document.line_of(keys) is not None else Path.cwd()

    own = {key: value for key, value in data.items() if key != "task" and key not in given}
    try:
        own = _anchored(own, (), anchor, check=check)
    except ExperimentError as error:
        raise RequestError(message_at(document, error.key.split("."), error.message)) from None
    return WrittenTask(data["task"], {"called": path.stem, **own, **given}, document)
