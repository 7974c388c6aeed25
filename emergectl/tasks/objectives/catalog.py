"""Finds objectives: every class of this folder that has a `name`, and what other packages add.

A new objective is one new module, here or in a package of one's own (`emergectl.plugins`).
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from functools import cache

import emergectl.tasks.objectives
from emergectl.errors import ExperimentError, PluginError
from emergectl.plugins import Plugin, plugins
from emergectl.tasks.objectives.objective import Objective


def find_objective(name: str) -> type[Objective]:
    """The objective of a name. ExperimentError, with the nearest known one, where there is none.

    Also where the package that adds it does not load.
    """
    known = _own_classes()
    if name in known:
        return known[name]
    added = plugins("objectives")
    if name not in added:
        names = [*known, *added]
        near = difflib.get_close_matches(name, names, 1)
        hint = f"did you mean `{near[0]}`? " if near else ""
        there = ", ".join(names)
        raise ExperimentError("objective.name", f"no objective `{name}`; {hint}there are: {there}")
    try:
        return _class_of_plugin(added[name])
    except PluginError as error:
        raise ExperimentError("objective.name", str(error)) from error


def _class_of_plugin(plugin: Plugin) -> type[Objective]:
    found = plugin.load()
    if not (isinstance(found, type) and issubclass(found, Objective)):
        raise plugin.broken(f"{plugin.target} is no class of objectives")
    if vars(found).get("name") != plugin.name:
        raise plugin.broken(f'{plugin.target} does not say `name = "{plugin.name}"`')
    return found


@cache
def _own_classes() -> dict[str, type[Objective]]:
    found: dict[str, type[Objective]] = {}
    for info in pkgutil.iter_modules(emergectl.tasks.objectives.__path__):
        module = importlib.import_module(f"emergectl.tasks.objectives.{info.name}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Objective) and "name" in vars(value):
                found[value.name] = value
    return found
