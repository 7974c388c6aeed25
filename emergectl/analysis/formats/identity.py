"""What of a results file is identity, and what is mere setting.

Identity: the model (its name without step, tokens and seed; an adapter on it), its revision, the
step or tokens that name, revision or folder tell, the seed; and how it was asked: filter, shots,
version of the task, prompt. Everything else (type of the model, dtype, device, batch, limit, when
and where) is setting: it stands in the record, so that `--where` reaches it and two values of one
identity can be told by it, and it never makes two models of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from emergectl.store.model_names import read_name, revision_of

ASKED = ("filter", "shots", "version", "prompt")
NAME_FIELDS = ("pretrained", "model", "model_name", "model_path", "path", "engine", "name")
ADAPTERS = ("peft", "adapter", "delta", "lora")
FINAL = ("", "main", "master", "none", "None")
DISAGREE = 1.3
"""ratio of two counts of parameters from which on they are not the same model's"""


@dataclass(frozen=True)
class Identity:
    """Which model, at which time in its training. `count`: which count `params` is."""

    model: str
    params: float | None
    count: str
    step: float | None
    tokens: float | None
    seed: str
    revision: str
    notes: tuple[str, ...] = ()

    def fields(self) -> dict[str, Any]:
        """The columns of a record that say this."""
        return {
            "model": self.model,
            "params": self.params,
            "count": self.count,
            "step": self.step,
            "tokens": self.tokens,
            "seed": self.seed,
            "revision": self.revision or None,
        }


@dataclass(frozen=True)
class ModelArgs:
    """`pretrained=…,revision=…,dtype=…`: the name, what belongs to identity, and the settings."""

    name: str = ""
    revision: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)


def read_model_args(given: Any) -> ModelArgs:
    """The arguments of a model, as text or as an object."""
    if isinstance(given, Mapping):
        found = {str(key): value for key, value in given.items()}
    else:
        found = {}
        key = ""
        for part in str(given or "").split(","):
            before, equals, value = part.partition("=")
            if equals:
                key = before.strip()
                found[key] = value.strip()
            elif key:  # A comma within a value.
                found[key] += f",{part}"
            elif part.strip():  # A bare name, as `gpt2`.
                key = "pretrained"
                found[key] = part.strip()
    name = next((str(found.pop(word)) for word in NAME_FIELDS if found.get(word)), "")
    adapter = next((str(found.pop(word)) for word in ADAPTERS if found.get(word)), "")
    folder = str(found.pop("subfolder", None) or "")
    revision = str(found.pop("revision", None) or "")
    revision = "/".join(part for part in (revision, folder) if part not in FINAL)
    return ModelArgs(f"{name}+{adapter}" if adapter else name, revision, found)


def identify(
    name: str, revision: str = "", *, count: float | None = None, counted: str = "total"
) -> Identity:
    """Which model a name and a revision mean. count: its parameters, where the file tells them."""
    told = read_name(name)
    step, tokens = revision_of(revision) if revision not in FINAL else (None, None)
    notes = []
    params = count if count else told.params
    if count and told.params and not 1 / DISAGREE < count / told.params < DISAGREE:
        notes.append(
            f"params of {told.model}: {count:.4g} in the file, {told.params:.4g} by its name; "
            "the file's are taken"
        )
    elif not count and told.guessed:
        notes.append(f"params of {told.model}: {params:.4g} ({told.guessed})")
    by_name = (told.step, told.tokens)
    if step is not None and told.step is not None and step != told.step:
        notes.append(
            f"step of {told.model}: {step:g} by its revision, {told.step:g} by its name; "
            "the revision's is taken"
        )
    return Identity(
        model=told.model,
        params=params,
        count=counted if count else "named" if params else "",
        step=step if step is not None else by_name[0],
        tokens=tokens if tokens is not None else by_name[1],
        seed=told.seed,
        revision="" if revision in FINAL else revision,
        notes=tuple(notes),
    )
