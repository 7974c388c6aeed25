"""The JSON Schemas of an experiment and a sweep, for editors: completion, red lines while typing.

pydantic writes it from the typed schema; what validators there accept beyond the types (one source
without a list, a tracker by its name alone) is added here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from emergectl.config.parts import Part, field_meanings
from emergectl.config.schema import Experiment
from emergectl.config.sweep_schema import SweepSpec


def experiment_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of an experiment file, with every field's description."""
    schema = _described(Experiment)
    for name in ("train", "validation", "test"):
        _also(schema["$defs"]["DataSpec"]["properties"][name], as_one=True)
    for name in ("tasks", "by", "metrics"):
        _also(schema["$defs"]["EvaluationSpec"]["properties"][name], as_one=True)
    _also(schema["properties"]["tracking"], as_one=False)
    _need_data_to_learn(schema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "emergectl experiment",
    }


def sweep_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a sweep file."""
    schema = _described(SweepSpec)
    together = schema["properties"]["zip"]
    together["anyOf"] = [together["items"], {"type": "array", "items": together.pop("items")}]
    del together["type"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "emergectl sweep",
    }


def _described(root: type[Part]) -> dict[str, Any]:
    """The schema of a section, with the meanings of its fields and of those of all within it."""
    schema = root.model_json_schema(by_alias=True)
    sections = {section.__name__: section for section in _subclasses(Part)}
    for title, part in {root.__name__: schema, **schema["$defs"]}.items():
        section = sections[title]
        meanings = field_meanings(section)
        for name, field in section.model_fields.items():
            described = part["properties"][field.alias or name]
            if name in meanings:
                described.setdefault("description", meanings[name])
    return schema


def _subclasses(section: type[Part]) -> Iterator[type[Part]]:
    for one in section.__subclasses__():
        yield one
        yield from _subclasses(one)


def _also(field: dict[str, Any], *, as_one: bool) -> None:
    """Let a list field also be one item, or its items also be a name alone."""
    items = field["items"]
    if as_one:
        limits = {key: field.pop(key) for key in ("minItems",) if key in field}
        field["anyOf"] = [items, {"type": "array", "items": items, **limits}]
        del field["items"], field["type"]
    else:
        names = {"enum": ["tensorboard", "wandb", "mlflow", "trackio"]}
        field["items"] = {"anyOf": [items, names]}


def _need_data_to_learn(schema: dict[str, Any]) -> None:
    """`data` may be missing where the stage is `evaluate`, and there alone."""
    schema["required"].remove("data")
    evaluates = {"properties": {"stage": {"const": "evaluate"}}, "required": ["stage"]}
    schema |= {"if": evaluates, "else": {"required": ["data"]}}
