"""Templates of prompts and answers: text with {column} where a row's field goes.

Only plain names are fields; there is no way from a template to anything but the row. A brace that
is meant as text is doubled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from emergectl.errors import ExperimentError

_PART = re.compile(r"\{\{|\}\}|\{(\w+)\}|[{}]")


def template_fields(template: str, *, key: str) -> list[str]:
    """The fields a template names; ExperimentError under `key` for a stray brace."""
    fields = []
    for match in _PART.finditer(template):
        if match[1]:
            fields.append(match[1])
        elif match[0] in "{}":
            raise ExperimentError(
                key, f"a stray {match[0]} at character {match.start() + 1}: write {match[0] * 2}"
            )
    return fields


def render(template: str, values: Mapping[str, str]) -> str:
    """The template with its fields filled in."""
    return _PART.sub(lambda match: values[match[1]] if match[1] else match[0][0], template)
