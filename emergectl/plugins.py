"""What other packages add: tasks, metrics, objectives and model families.

A package says what it adds by entry points, in its own `pyproject.toml`:

    [project.entry-points."emergectl.tasks"]
    counting = "my_package.counting:Counting"

Installing it is all; nothing that stands in a YAML file imports code. The names are read from the
metadata of the installed packages, and a package is imported when one of its names is asked for,
never before. What is built in is always looked up first, so its names cannot be taken over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeVar

from emergectl.errors import PluginError

PluginKind = Literal["tasks", "metrics", "objectives", "families"]
Made = TypeVar("Made")


@dataclass(frozen=True)
class Plugin:
    """One name that a package adds. `target` is `module:attribute`; `package` is name and version.

    `rivals`: other packages that add the same name, so that nobody can say which is meant.
    """

    kind: PluginKind
    name: str
    target: str
    package: str
    rivals: tuple[str, ...] = ()

    def load(self) -> Any:
        """Import what the name stands for. PluginError, with the reason in a line, if it fails."""
        from importlib.metadata import EntryPoint

        if self.rivals:
            raise self.broken(f"so does {' and '.join(self.rivals)}; uninstall one")
        try:
            return EntryPoint(self.name, self.target, f"emergectl.{self.kind}").load()
        except (Exception, SystemExit) as error:  # whatever the code of others does
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise self.broken(f"{self.target} does not load ({reason})") from error

    def broken(self, reason: str) -> PluginError:
        """The error that this plug-in is not what it should be, for a reason."""
        return PluginError(f"`{self.name}` ({self.kind}), added by {self.package}: {reason}")


@cache
def plugins(kind: PluginKind) -> Mapping[str, Plugin]:
    """Name → plug-in of a kind, over all installed packages. Nothing of theirs is imported."""
    from importlib.metadata import entry_points

    found: dict[str, Plugin] = {}
    for point in entry_points(group=f"emergectl.{kind}"):
        package = f"{point.dist.name} {point.dist.version}" if point.dist else "a package"
        first = found.get(point.name)
        if first is None:
            found[point.name] = Plugin(kind, point.name, point.value, package)
        elif (point.value, package) != (first.target, first.package):
            rivals = (*first.rivals, package)
            found[point.name] = Plugin(kind, first.name, first.target, first.package, rivals)
    return found


def usable_plugins(
    kind: PluginKind, use: Callable[[Plugin], Made], *, own: Iterable[str]
) -> tuple[dict[str, Made], list[str]]:
    """Name → what `use` makes of each plug-in of a kind, and why the others cannot be used.

    All packages that add one are imported; `use` raises PluginError for what does not fit. `own`:
    the names that are built in, which no package can add. Reasons are a line each.
    """
    taken = set(own)
    made: dict[str, Made] = {}
    reasons = []
    for name, plugin in plugins(kind).items():
        try:
            if name in taken:
                raise plugin.broken("the name is built in; rename it")
            made[name] = use(plugin)
        except PluginError as error:
            reasons.append(str(error))
    return made, reasons
