"""Finds tasks: every class of this folder that has a `name`, and what other packages add.

A new task is one new module, here or in a package of one's own (`emergectl.plugins`); nothing here
changes. Who asks for one task pays for its module alone: which that is, is read in the modules'
text, since importing all of them takes as long as all the rest of `validate`.
"""

from __future__ import annotations

import difflib
import importlib
import re
from functools import cache
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ValidationError

import emergectl.tasks
from emergectl.config.schema import TaskAsked
from emergectl.errors import ExperimentError, PluginError
from emergectl.plugins import Plugin, plugins, usable_plugins
from emergectl.tasks.task import SequenceTask, TextTask

Task = SequenceTask | TextTask

# The name of a class, however it is annotated: `name: ClassVar[str] = "addition"`.
_NAMED = re.compile(r"""^(?:\t| {2,4})name\b[^=\n]*= *["'](\w+)["']""", re.MULTILINE)
_MAY_NAME = re.compile(r"^class \w+\(.*^(?:\t| {2,4})name\b[^=\n]*=", re.MULTILINE | re.DOTALL)


def task_class(name: str, *, key: str = "") -> type[BaseModel] | None:
    """The class of one task; None where there is no such task.

    Raises ExperimentError, with `key` as its key, where the package that adds it does not load.
    """
    module = _modules_by_name().get(name)
    found = None if module is None else _classes_of(module).get(name)
    if found is not None:
        return found
    plugin = plugins("tasks").get(name)
    if plugin is None:
        return _own_classes().get(name)
    try:
        return _class_of_plugin(plugin)
    except PluginError as error:
        raise ExperimentError(key, str(error)) from error


def task_classes() -> dict[str, type[BaseModel]]:
    """Task name → class, over all modules of `emergectl.tasks` and all packages that add one."""
    return _own_classes() | _added_classes()[0]


def broken_tasks() -> list[str]:
    """Why each task that a package adds, and that cannot be used, cannot be; a line each."""
    return _added_classes()[1]


@cache
def _added_classes() -> tuple[dict[str, type[BaseModel]], list[str]]:
    return usable_plugins("tasks", _class_of_plugin, own=_own_classes())


@cache
def _own_classes() -> dict[str, type[BaseModel]]:
    found: dict[str, type[BaseModel]] = {}
    for name, text in _texts().items():
        if _MAY_NAME.search(text):
            found |= _classes_of(name)
    return found


@cache
def _modules_by_name() -> dict[str, str]:
    """Task name → module, as far as the modules' text shows it; nothing is imported."""
    return {name: module for module, text in _texts().items() for name in _NAMED.findall(text)}


def _texts() -> dict[str, str]:
    """Module → its text, over all modules of this folder."""
    return {
        file.stem: file.read_text(encoding="utf-8")
        for folder in emergectl.tasks.__path__
        for file in sorted(Path(folder).glob("*.py"))
        if file.stem != "__init__"
    }


def _classes_of(module_name: str) -> dict[str, type[BaseModel]]:
    """Task name → class, in one module."""
    found: dict[str, type[BaseModel]] = {}
    for value in vars(importlib.import_module(f"emergectl.tasks.{module_name}")).values():
        if _asks(value):
            name = _name_of(value)
            if name is not None:
                found[name] = value
    return found


def _asks(value: Any) -> bool:
    """Whether something is a class of tasks, of either kind."""
    if not (isinstance(value, type) and issubclass(value, BaseModel)):
        return False
    return issubclass(value, TextTask) or hasattr(value, "sequences")


def _name_of(task_type: type[BaseModel]) -> str | None:
    """The name that a class gives itself; None for one that others are made from.

    Raises TypeError where the name is annotated as a parameter: then it would name no task.
    """
    if "name" in task_type.model_fields:
        raise TypeError(
            f"{task_type.__module__}.{task_type.__qualname__}: write `name: ClassVar[str] = …`; "
            "without ClassVar it is a parameter of the task, not its name"
        )
    return vars(task_type).get("name")


def _class_of_plugin(plugin: Plugin) -> type[BaseModel]:
    """The class of tasks that a package adds. Raises PluginError where it is none, or misnamed."""
    found = plugin.load()
    if not _asks(found):
        raise plugin.broken(f"{plugin.target} is no class of tasks (a TextTask or SequenceTask)")
    try:
        name = _name_of(found)
    except TypeError as error:
        raise plugin.broken(str(error)) from error
    if name != plugin.name:
        raise plugin.broken(f"{plugin.target} is named `{name}`; both names have to be the same")
    return cast(type[BaseModel], found)


def make_task(source: TaskAsked, *, key: str) -> Task:
    """The task that a source names, with its parameters checked.

    `key` is where the source stands in the experiment (`data.train.0`). Raises ExperimentError
    for an unknown task or a parameter that does not fit, naming the nearest known one, and for a
    task of a package that does not load.
    """
    task_type = task_class(source.task, key=f"{key}.task" if key else "")
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
