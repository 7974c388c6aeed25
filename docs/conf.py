"""How the site is built: Sphinx, pages in Markdown (MyST), its own theme, no network.

Two directives write what would grow old if it were copied: `commands` prints the help of every
command, `fields` the fields of an experiment or of a sweep, from the schema itself.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parents[1]))

from emergectl import __version__
from emergectl.cli.main import COMMANDS, load_command, main
from emergectl.config.json_schema import experiment_schema, sweep_schema

project = "emergectl"
author = "The emergectl maintainers"
copyright = "The emergectl maintainers, Apache-2.0"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["notebooks"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
html_theme = "alabaster"
html_theme_options = {
    "description": "The bench for emergent abilities of language models",
    "fixed_sidebar": True,
    "page_width": "70rem",
}
html_show_sourcelink = False
html_copy_source = False


class Commands(Directive):
    """The help of every command, as a terminal shows it."""

    def run(self) -> list[nodes.Node]:
        return [_section(f"emergectl {name}", _literal(text)) for name, text in helps()]


def helps() -> Iterator[tuple[str, str]]:
    """Every command with its help: `("runs list", "Usage: emergectl runs list …")`."""
    os.environ["COLUMNS"] = "88"
    for name in COMMANDS:
        for command in (name, *(f"{name} {sub}" for sub in commands_below(name))):
            shown = io.StringIO()
            with redirect_stdout(shown):
                main([*command.split(), "--help"])
            yield command, shown.getvalue()


def commands_below(name: str) -> list[str]:
    """The commands of a group such as `runs`; none of a command that stands alone."""
    return list(getattr(load_command(name), "commands", {}))


class Fields(Directive):
    """The fields of an `experiment` or a `sweep`: a table a section."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        schema = {"experiment": experiment_schema, "sweep": sweep_schema}[self.arguments[0]]()
        parts = {schema["title"]: schema, **schema.get("$defs", {})}
        return [
            _section(name, nodes.paragraph(text=part.get("description", "")), _table(part))
            for name, part in parts.items()
            if part.get("properties")
        ]


def _table(part: dict[str, Any]) -> nodes.table:
    group = nodes.tgroup("", *(nodes.colspec(colwidth=w) for w in (20, 20, 15, 45)), cols=4)
    group += nodes.thead("", _row("field", "values", "default", "meaning"))
    body = nodes.tbody()
    for name, field in part["properties"].items():
        default = repr(field["default"]) if "default" in field else "needed"
        default = default.replace("None", "null").replace("True", "true").replace("False", "false")
        body += _row(name, values_of(field), default, field.get("description", ""))
    group += body
    return nodes.table("", group)


def values_of(field: dict[str, Any]) -> str:
    """What a field can be, in few words."""
    if "$ref" in field:
        return field["$ref"].rpartition("/")[2]
    if "enum" in field or "const" in field:
        return " | ".join(map(str, field.get("enum") or [field["const"]]))
    several = field.get("anyOf") or field.get("oneOf")
    if several:
        return " or ".join(dict.fromkeys(map(values_of, several)))
    if field.get("type") == "array":
        return f"list of {values_of(field['items'])}" if "items" in field else "list"
    return str(field.get("type", "any"))


def _row(*cells: str) -> nodes.row:
    entries = [nodes.entry("", nodes.paragraph(text=" ".join(cell.split()))) for cell in cells]
    return nodes.row("", *entries)


def _literal(text: str) -> nodes.literal_block:
    return nodes.literal_block(text, text, language="text")


def _section(title: str, *content: nodes.Node) -> nodes.section:
    name = nodes.make_id(title)
    return nodes.section("", nodes.title(text=title), *content, ids=[name], names=[name])


def setup(app: Sphinx) -> None:
    """Make the directives known."""
    app.add_directive("commands", Commands)
    app.add_directive("fields", Fields)
