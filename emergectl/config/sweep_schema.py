"""The sweep file, typed: an experiment, and what varies in it.

Either a grid in the wide sense (`grid`, `zip`, `ladder`, `isoflop`, which multiply, then `include`
and `exclude`, all of it `seeds` times), or a `search`. What the values are set in is an
experiment's document, so every key here is a key path of an experiment.
"""
# ruff: noqa: RUF012 - pydantic copies a default that can change.

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from emergectl.config.schema import AskingSpec, Part, PositiveFloat, PositiveInt, TaskAsked
from emergectl.config.sweep_paths import clashes
from emergectl.config.values import check_space, expand_values

_INTERVAL: dict[str, Any] = {
    "type": "object",
    "properties": {
        "log": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
        "linear": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
        "whole": {"type": "boolean"},
        "points": {"type": "integer", "minimum": 1},
    },
    "additionalProperties": False,
}
_RANGE = {"type": "string", "pattern": r"^-?[0-9]+\.\.-?[0-9]+$"}
_VALUES_SCHEMA = {"anyOf": [{"type": "array", "minItems": 1}, _RANGE, _INTERVAL]}

Values = Annotated[list[Any], BeforeValidator(expand_values), WithJsonSchema(_VALUES_SCHEMA)]
Space = Annotated[Any, AfterValidator(check_space), WithJsonSchema(_VALUES_SCHEMA)]
Sizes = Annotated[list[str], Field(min_length=1)]
PlainPoint = dict[str, Any]

Axes = dict[str, Values]


class LadderRate(Part):
    """The learning rate of a rung: lr · (width / width of `at`)^power."""

    at: str
    """the rung whose learning rate is known"""
    lr: PositiveFloat
    """its learning rate"""
    power: Annotated[float, Field(ge=-4, le=4)] = -1.0
    """power of the width ratio; -1 keeps Adam's updates of hidden matrices alike"""


class LadderSpec(Part):
    """Model sizes, with data and learning rate scaled along."""

    sizes: Sizes
    """model sizes: 10k, 42m, 1.5b …"""
    tokens_per_parameter: PositiveFloat | None = None
    """train.tokens of a rung, for each of the rung's (non-embedding) parameters; 20 is Chinchilla's
    rule; it takes the place of the experiment's own budget, which stays where this is null"""
    lr: LadderRate | None = None
    """the learning rate by width; null: the experiment's own"""


class IsoflopSpec(Part):
    """Each size at each compute budget; tokens follow from the two."""

    budgets: Values
    """training FLOPs of a trial (train.flops), a list or a range"""
    sizes: Sizes
    """model sizes: 10k, 42m, 1.5b …"""


class SearchSpec(Part):
    """A search for the values with the best metric."""

    space: Annotated[dict[str, Space], Field(min_length=1)]
    """key path → choices [a, b], whole numbers `8..64`, or {log|linear: [LOW, HIGH]}"""
    metric: str
    """the metric whose last value in a trial is judged: validation/loss, addition/accuracy …"""
    direction: Literal["minimize", "maximize"] | None = None
    """whether less is better, or more; null: as the metric is known to be"""
    trials: PositiveInt
    """how many trials"""
    sampler: Literal["tpe", "random", "cmaes"] = "tpe"
    """how the next values are drawn"""
    pruner: Literal["hyperband"] | None = None
    """hyperband stops trials that are behind at an evaluation; null: every trial runs to its end"""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """of the sampler"""

    @field_validator("metric")
    @classmethod
    def _test_data_choose_nothing(cls, value: str) -> str:
        if value.startswith("test/"):
            raise ValueError(
                "the test data is asked once, when a trial is over, and chooses nothing; search by "
                f"a metric of `validation/…`, such as validation/{value.removeprefix('test/')}"
            )
        return value


class AfterTrainingSpec(AskingSpec):
    """What the models of each trial are asked once it is trained."""

    tasks: list[str | TaskAsked] = []
    """tasks: names, files, or mappings with parameters; empty: `evaluation.tasks` of the trial"""
    checkpoint: Literal["last", "best", "all"] = "all"
    """which models of a trial: the last, the best, or every one that is kept (snapshots too)"""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """of items, shots and sampling; the same for all trials, so that all are asked the same"""
    bf16: bool = False
    """compute in bfloat16: fast, rough"""


class SweepSpec(Part):
    """A set of experiments."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,47}$")] | None = None
    """letters, digits, dot, dash and underscore; null: the file's own name"""
    notes: str = ""
    """for people"""
    experiment: str | dict[str, Any]
    """a file (relative paths start at the sweep's own folder), or the experiment itself"""
    grid: Axes = {}
    """key path → values: every combination"""
    zip: list[Axes] = []
    """mappings of key path → values that go together, first with first, second with second"""
    ladder: LadderSpec | None = None
    """model sizes, with data and learning rate scaled along"""
    isoflop: IsoflopSpec | None = None
    """each size at each compute budget"""
    include: list[PlainPoint] = []
    """further trials: key path → value each"""
    exclude: list[PlainPoint] = []
    """leave out the trials that have all of these values"""
    seeds: Annotated[int, Field(gt=0, le=100_000)] | None = None
    """each trial with so many seeds, counted from the experiment's own"""
    search: SearchSpec | None = None
    """instead of a grid: search"""
    evaluate: AfterTrainingSpec | None = None
    """ask the models of each trial once it is trained, in the worker; null: nothing is asked"""
    ensemble: Literal["auto", "off"] | PositiveInt = "auto"
    """how many trials of one shape (they differ in seed, learning rate, decay, betas or data) are
    trained as one in a process; auto: what is measured to be fastest"""

    @model_validator(mode="before")
    @classmethod
    def _one_zip_is_a_list(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("zip"), dict):
            return data | {"zip": [data["zip"]]}
        return data

    @model_validator(mode="after")
    def _parts_go_together(self) -> Self:
        varied = [k for k in VARYING if getattr(self, k)]
        if self.search is not None and varied:
            raise ValueError(f"`search` and `{varied[0]}` exclude each other")
        if self.search is None and not varied:
            raise ValueError(f"nothing varies: give one of {', '.join(VARYING)} or search")
        if self.ladder is not None and self.isoflop is not None:
            raise ValueError("`ladder` and `isoflop` both set model.size: give one")
        for number, together in enumerate(self.zip):
            lengths = {key: len(values) for key, values in together.items()}
            if len(set(lengths.values())) > 1:
                told = ", ".join(f"{key} has {count}" for key, count in lengths.items())
                raise ValueError(f"`zip` {number} pairs lists of different lengths: {told}")
        for clash in clashes(self.axes()):
            raise ValueError(clash)
        for number, point in enumerate(self.include):
            part = f"include.{number}"
            for clash in clashes([(part, key, [value]) for key, value in point.items()]):
                raise ValueError(clash)
        return self

    def axes(self) -> list[tuple[str, str, list[Any]]]:
        """What trials differ in: the part of the file, the key path and its values (none: the
        part itself reckons them)."""
        axes = [("grid", key, values) for key, values in self.grid.items()]
        axes += [("zip", key, values) for one in self.zip for key, values in one.items()]
        if self.ladder is not None:
            axes.append(("ladder", "model.size", []))
            axes += [("ladder", "train.tokens", [])] if self.ladder.tokens_per_parameter else []
            axes += [("ladder", "optimizer.lr", [])] if self.ladder.lr else []
        if self.isoflop is not None:
            axes += [("isoflop", "model.size", []), ("isoflop", "train.flops", [])]
        if self.search is not None:
            space = self.search.space.items()
            axes += [("search.space", key, v if isinstance(v, list) else []) for key, v in space]
        if self.seeds is not None:
            axes.append(("seeds", "seed", []))
        return axes


VARYING = ("grid", "zip", "ladder", "isoflop", "include", "seeds")
