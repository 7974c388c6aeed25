"""A sweep file, loaded and checked: what varies, and the experiment at any point of it.

A swept value is put into the experiment's own document, as an override is, but it remembers the
line of the sweep file that it came from. So every trial goes through the reader's and the schema's
checks, and what is wrong with one is told as `sweep.yaml:12: optimizer.lr: …`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from emergectl.config.experiment import LoadedExperiment, read_document, refuse_code_allowed_in
from emergectl.config.explain import explain, known_keys, message_at
from emergectl.config.overrides import (
    apply_overrides,
    node_of,
    read_value,
    set_value,
    split_override,
)
from emergectl.config.reader import Document, Node, looks_like_sweep, read_yaml
from emergectl.config.sweep_paths import ABSENT, contains, outermost_first, set_at
from emergectl.config.sweep_schema import SweepSpec
from emergectl.config.training_schema import BUDGETS
from emergectl.errors import RequestError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}")
_AXES = ("grid.", "search.space.")
BUDGET_PATHS = tuple(f"train.{budget}" for budget in BUDGETS)


@dataclass(frozen=True)
class Setting:
    """A value of a swept key, and where the sweep file says so."""

    value: Any
    place: str


@dataclass(frozen=True)
class LoadedSweep:
    """A sweep file that is right as far as it can be told without its trials."""

    spec: SweepSpec
    name: str
    document: Document
    path: Path
    base: Document
    """the experiment that everything is set in"""
    base_path: Path

    def setting(self, value: Any, *keys: str | int) -> Setting:
        """A value with the place of a key path of the sweep file."""
        return Setting(value, self.document.where(keys))

    def asking(self, *, check_paths: bool = True) -> LoadedExperiment | None:
        """The experiment of stage `evaluate` that each trial is asked, its model and perhaps its
        tasks to be filled in; None where nothing is. Raises RequestError."""
        spec = self.spec.evaluate
        if spec is None:
            return None
        root = self.document.root.value
        assert isinstance(root, dict)
        entries = root["evaluate"][1].value
        assert isinstance(entries, dict)
        kept = {key: entries[key] for key in entries if key not in ("checkpoint", "seed", "bf16")}
        if not spec.tasks:
            kept["tasks"] = (0, node_of(["addition"]))  # A trial's own come in its place.
        stage = {
            "name": "asked",
            "stage": "evaluate",
            "seed": spec.seed,
            "model": {"from": "trial"},
            "train": {"precision": "bf16" if spec.bf16 else "fp32"},
        }
        document = Document(self.document.name, node_of(stage))
        assert isinstance(document.root.value, dict)
        document.root.value["evaluation"] = (root["evaluate"][0], Node(kept))
        return read_document(document, self.path, check_paths=check_paths)

    def experiment_at(
        self, point: Mapping[str, Setting], *, check_paths: bool = True
    ) -> LoadedExperiment:
        """The experiment with these values set. Raises RequestError as `load_experiment` does."""
        document = self.base
        swept = [path for path in BUDGET_PATHS if path in point]
        if swept:  # It takes the place of the experiment's own.
            for path in set(BUDGET_PATHS) - set(swept):
                place = point[swept[0]].place
                document = set_value(document, path.split("."), node_of(None), place)
        for key in outermost_first(point):
            value, place = node_of(point[key].value), point[key].place
            document = set_value(document, key.split("."), value, place)
        folder = self.path.parent.absolute()
        return read_document(document, self.base_path, set_from=folder, check_paths=check_paths)


def load_sweep(path: Path | str, overrides: Sequence[str] = ()) -> LoadedSweep:
    """Read, override and check a sweep file.

    An override whose first key is one of the sweep's own (`seeds=2`, `grid.optimizer.lr=[1e-3]`)
    changes the sweep, any other (`train.steps=100`) the experiment in it. Raises RequestError with
    one line `FILE:LINE: key.path: reason` for each thing that is wrong.
    """
    path = Path(path)
    document, inner = _overridden(read_yaml(path), overrides)
    try:
        spec = SweepSpec.model_validate(document.data)
    except ValidationError as error:
        raise explain(error, document, SweepSpec) from None
    if spec.evaluate is not None and spec.evaluate.allow_code:
        refuse_code_allowed_in(document, ("evaluate", "allow_code"))
    base, base_path = _base(spec, document, path, inner)
    _refuse_swept(spec, inner)
    return LoadedSweep(spec, _name(spec, path), document, path, base, base_path)


def sweep_name(ref: str) -> str:
    """The name of the sweep that a file describes, or that is called so itself.

    Only the name is read: the sweep's experiment may have moved since. Raises RequestError.
    """
    path = Path(ref)
    if not path.is_file():
        if _NAME.fullmatch(ref) and path.suffix not in (".yaml", ".yml"):
            return ref
        raise RequestError(f"{ref}: no such file, and no name of a sweep")
    data = read_yaml(path).data
    given = data.get("name") if isinstance(data, dict) else None
    name = path.stem if given is None else given
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise RequestError(f"{path}: its `name` is not one of a sweep")
    return name


def _overridden(document: Document, overrides: Sequence[str]) -> tuple[Document, list[str]]:
    """The sweep's document with its own overrides, and the overrides of its experiment."""
    inner = []
    for text in overrides:
        key_path, _, place = split_override(text)
        first = key_path.split(".")[0]
        if first == "experiment" and "." in key_path:
            inner.append(text.removeprefix("experiment."))
        elif first not in known_keys(SweepSpec):
            inner.append(text)
        elif axis := next((axis for axis in _AXES if key_path.startswith(axis)), None):
            # What stands below is one key, dots and all.
            holder = apply_overrides(Document("", Node({})), [f"value={text.partition('=')[2]}"])
            keys = [*axis.rstrip(".").split("."), key_path.removeprefix(axis)]
            document = set_value(document, keys, node_of(holder.data["value"]), place)
        else:
            document = apply_overrides(document, [text])
    return document, inner


def _base(
    spec: SweepSpec, document: Document, path: Path, inner: Sequence[str]
) -> tuple[Document, Path]:
    """The document of the experiment in a sweep, and the file that it stands in."""
    if isinstance(spec.experiment, dict):
        assert isinstance(document.root.value, dict)
        node = document.root.value["experiment"][1]
        return apply_overrides(Document(document.name, node), inner), path
    where = document.where(["experiment"])
    set_here = document.line_of(["experiment"]) is not None
    file = (path.parent if set_here else Path()) / Path(spec.experiment).expanduser()
    if not file.is_file():
        raise RequestError(f"{where}: experiment: no such file: {file}")
    base = read_yaml(file)
    if looks_like_sweep(base):
        raise RequestError(f"{where}: experiment: {file} is a sweep itself")
    return apply_overrides(base, inner), file


def _refuse_swept(spec: SweepSpec, inner: Sequence[str]) -> None:
    """An override of what the sweep sets anew in every trial would be lost without a word."""
    axes = [axis for axis in spec.axes() if axis[0] != "seeds"]
    for text in inner:
        key_path, _, place = split_override(text)
        value = Document("", read_value(text.partition("=")[2], place)).data
        for part, key, _ in axes:
            named = part in ("grid", "search.space")
            advice = f"; set {part}.{key}=…" if named else ""
            if contains(key, key_path):
                what = "it" if key == key_path else f"all of `{key}`"
                raise RequestError(f"{place}: the sweep sets {what}, in `{part}`{advice}")
            if contains(key_path, key) and set_at({key_path: value}, key) is not ABSENT:
                raise RequestError(f"{place}: the sweep sets `{key}`, in `{part}`{advice}")
        budget = next((part for part, key, _ in axes if key in BUDGET_PATHS), None)
        given = [path for path in BUDGET_PATHS if set_at({key_path: value}, path) is not ABSENT]
        if budget is not None and given:
            raise RequestError(f"{place}: the sweep sets another budget, in `{budget}`")


def _name(spec: SweepSpec, path: Path) -> str:
    if spec.name is not None:
        return spec.name
    if not _NAME.fullmatch(path.stem):
        raise RequestError(f"{path}: the file's name cannot be the sweep's: give it a `name`")
    return path.stem


def error_at(sweep: LoadedSweep, keys: Sequence[str | int], message: str) -> RequestError:
    """An error of the sweep file itself, with its file, line and key."""
    return RequestError(message_at(sweep.document, keys, message))
