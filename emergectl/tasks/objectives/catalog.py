"""Finds objectives: every class of this folder that has a `name`, and what others add.

A new objective is one new module, here or elsewhere; one of elsewhere is put into OBJECTIVES.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from functools import cache

import emergectl.tasks.objectives
from emergectl.errors import ExperimentError
from emergectl.tasks.objectives.objective import Objective

OBJECTIVES: dict[str, type[Objective]] = {}
"""name → class of the objectives that other packages add; built-in ones are looked up first"""


def objective_classes() -> dict[str, type[Objective]]:
    """Name → class of every objective."""
    return OBJECTIVES | _own_classes()


def find_objective(name: str) -> type[Objective]:
    """The objective of a name. ExperimentError, with the nearest known one, where there is none."""
    classes = objective_classes()
    if name not in classes:
        near = difflib.get_close_matches(name, classes, 1)
        hint = f"did you mean `{near[0]}`? " if near else ""
        known = ", ".join(classes)
        raise ExperimentError("objective.name", f"no objective `{name}`; {hint}there are: {known}")
    return classes[name]


@cache
def _own_classes() -> dict[str, type[Objective]]:
    found: dict[str, type[Objective]] = {}
    for info in pkgutil.iter_modules(emergectl.tasks.objectives.__path__):
        module = importlib.import_module(f"emergectl.tasks.objectives.{info.name}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Objective) and "name" in vars(value):
                found[value.name] = value
    return found
