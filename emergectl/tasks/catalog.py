"""Finds tasks: every class of this folder that has a `name`, and asks in text or in sequences.

A new task is one new module; nothing here changes. Who asks for one task pays for its module
alone: which that is, is read in the modules' text, since importing all of them takes as long as
all the rest of `validate`.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import re
from functools import cache
from pathlib import Path
from typing import cast

from pydantic import BaseModel, ValidationError

import emergectl.tasks
from emergectl.config.schema import TaskAsked
from emergectl.errors import ExperimentError
from emergectl.tasks.task import SequenceTask, TextTask

Task = SequenceTask | TextTask


_NAMED = re.compile(r"""^    name: ClassVar\[str\] = ["'](\w+)["']""", re.MULTILINE)
_MAY_NAME = re.compile(r"^    name: ", re.MULTILINE)


def task_class(name: str) -> type[BaseModel] | None:
    """The class of one task; None where there is no such task."""
    module = _modules_by_name().get(name)
    return task_classes().get(name) if module is None else _classes_of(module).get(name)


@cache
def task_classes() -> dict[str, type[BaseModel]]:
    """Task name → class, over all modules of `emergectl.tasks`."""
    found: dict[str, type[BaseModel]] = {}
    for module_info in pkgutil.iter_modules(emergectl.tasks.__path__):
        if not module_info.ispkg and _MAY_NAME.search(_text(module_info.name)):
            found |= _classes_of(module_info.name)
    return found


def _text(module_name: str) -> str:
    """The text of a module of this folder."""
    (folder, *_) = emergectl.tasks.__path__
    return (Path(folder) / f"{module_name}.py").read_text(encoding="utf-8")


def _classes_of(module_name: str) -> dict[str, type[BaseModel]]:
    """Task name → class, in one module."""
    found: dict[str, type[BaseModel]] = {}
    for value in vars(importlib.import_module(f"emergectl.tasks.{module_name}")).values():
        if not (isinstance(value, type) and issubclass(value, BaseModel)):
            continue
        asks = issubclass(value, TextTask) or hasattr(value, "sequences")
        if asks and "name" in vars(value):
            found[vars(value)["name"]] = value
    return found


@cache
def _modules_by_name() -> dict[str, str]:
    """Task name → module, as far as the modules' text shows it; nothing is imported."""
    return {
        name: file.stem
        for folder in emergectl.tasks.__path__
        for file in sorted(Path(folder).glob("*.py"))
        for name in _NAMED.findall(file.read_text(encoding="utf-8"))
    }


def make_task(source: TaskAsked, *, key: str) -> Task:
    """The task that a source names, with its parameters checked.

    `key` is where the source stands in the experiment (`data.train.0`). Raises ExperimentError
    for an unknown task or a parameter that does not fit, naming the nearest known one.
    """
    task_type = task_class(source.task)
    if task_type is None:
        classes = task_classes()
        near = difflib.get_close_matches(source.task, classes, 1)
        hint = f"did you mean `{near[0]}`? " if near else ""
        known = ", ".join(sorted(classes))
        raise ExperimentError(f"{key}.task", f"no task `{source.task}`; {hint}there are: {known}")
    try:
        return cast(Task, task_type(**source.params))
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0]) if first["loc"] else "task"
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            fields = list(task_type.model_fields)
            near = difflib.get_close_matches(field, fields, 1)
            hint = f"did you mean `{near[0]}`?" if near else f"it has: {', '.join(fields)}"
            message = f"task `{source.task}` has no such parameter; {hint}"
        raise ExperimentError(f"{key}.{field}", message) from None
