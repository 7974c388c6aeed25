"""What every section of an experiment shares: strictness, the kinds of numbers, and that each field
says what it means in a docstring below it.

These docstrings are read from the text of the classes where they are shown. pydantic would read
them whenever a class is made, which is a third of the time that importing all tasks takes.
"""

from __future__ import annotations

import inspect
from functools import cache
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class Part(BaseModel):
    """Base of every section: strict types, no unknown keys, no NaN."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        populate_by_name=True,
        defer_build=True,
    )


@cache
def field_meanings(section: type) -> dict[str, str]:
    """Field → what it means, of a section or a task and of all that it inherits from."""
    import ast
    import itertools
    import textwrap

    meanings: dict[str, str] = {}
    for base in reversed(section.__mro__):
        if not issubclass(base, BaseModel) or base is BaseModel:
            continue
        (made,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(made, ast.ClassDef)
        for field, below in itertools.pairwise(made.body):
            match field, below:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    meanings[name] = inspect.cleandoc(text)
    return meanings
