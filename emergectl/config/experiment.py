"""An experiment file, loaded, checked and written again.

Three promises: what is loaded is valid, or the error names file, line and key; what is loaded can
be written down and run from any folder on this machine, since relative paths are made absolute
here; and what is written loads back equal. The hash is what makes two trials the same trial.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from emergectl.config.explain import explain, message_at
from emergectl.config.overrides import apply_overrides
from emergectl.config.paths import absolute_origin, absolute_source
from emergectl.config.reader import Document, Key, read_yaml, resolve_plain
from emergectl.config.schema import (
    DataSource,
    DataSpec,
    Experiment,
    FileSource,
    TaskAsked,
    TaskSource,
)
from emergectl.config.task_files import resolved
from emergectl.errors import ExperimentError, RequestError

_LINE_BREAKS = re.compile("[\x85\u2028\u2029]")  # breaks to YAML 1.1 only: written as escapes


@dataclass(frozen=True)
class LoadedExperiment:
    """A valid experiment, and where each of its fields was written."""

    experiment: Experiment
    document: Document
    path: Path

    def locate(self, error: ExperimentError) -> RequestError:
        """The error of a field with the file and line (or override) that set it."""
        return _located(error, self.document)


def load_experiment(
    path: Path | str, overrides: Sequence[str] = (), *, check_paths: bool = True
) -> LoadedExperiment:
    """Read, override, check and anchor an experiment.

    Relative paths in the file start at the file's own folder, those in an override at the current
    one, as the shell completes them. With `check_paths=False` files may be missing: for looking at
    an old run whose data have moved.

    Raises RequestError with one line `FILE:LINE: key.path: reason` for each thing that is wrong.
    """
    path = Path(path)
    document = apply_overrides(read_yaml(path), overrides)
    return read_document(document, path, check_paths=check_paths)


def read_document(
    document: Document,
    path: Path,
    *,
    set_from: Path | None = None,
    check_paths: bool = True,
) -> LoadedExperiment:
    """Check and anchor an experiment that has been read from the file `path`.

    Relative paths that were set since start at the folder `set_from` (default: the current one).
    Raises as `load_experiment` does.
    """
    try:
        experiment = Experiment.model_validate(document.data)
    except ValidationError as error:
        raise explain(error, document) from None
    folders = (path.parent.absolute(), set_from or Path.cwd())
    if check_paths and experiment.evaluation.allow_code:
        refuse_code_allowed_in(document, ("evaluation", "allow_code"))
    try:
        experiment = _anchored(experiment, document, folders, check_paths)
    except ExperimentError as error:
        raise _located(error, document) from None
    return LoadedExperiment(experiment, document, path)


def refuse_code_allowed_in(document: Document, keys: tuple[Key, ...]) -> None:
    """Raise RequestError where the file itself says that code may run: a person has to."""
    if document.line_of(keys) is not None:
        added = ".".join(map(str, keys))
        told = f"a file cannot allow code, only who runs it: leave it out and add {added}=true"
        raise RequestError(message_at(document, keys, told))


def dump_experiment(experiment: Experiment) -> str:
    """The whole experiment, defaults included, as YAML that loads back equal."""
    plain = experiment.model_dump(mode="json", by_alias=True)
    return yaml.dump(plain, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=100)


def experiment_hash(experiment: Experiment) -> str:
    """sha256 (hex) of everything that decides the outcome: all fields but `name` and `notes`."""
    plain = experiment.model_dump(mode="json", by_alias=True, exclude={"name", "notes"})
    canonical = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def _located(error: ExperimentError, document: Document) -> RequestError:
    keys = error.key.split(".") if error.key else []
    return RequestError(message_at(document, keys, error.message))


def _anchored(
    experiment: Experiment, document: Document, folders: tuple[Path, Path], check: bool
) -> Experiment:
    """The experiment with every path absolute, and task files replaced by what they say.

    Paths start at the first of the folders where the file has them, else at the second.
    """

    def anchor(keys: tuple[Key, ...]) -> Path:
        return folders[0] if document.line_of(keys) is not None else folders[1]

    def sources(name: str, of: Sequence[DataSource]) -> list[DataSource]:
        anchored: list[DataSource] = []
        for number, source in enumerate(of):
            if isinstance(source, FileSource) and source.path is not None:
                keys = ("data", name, number, "path")
                place = absolute_source(source.path, keys, anchor(keys), check)
                source = source.model_copy(update={"path": place})
            elif isinstance(source, TaskSource):
                here = ("data", name, number)
                task, params = resolved(source.task, source.params, here, anchor, check=check)
                source = TaskSource(task=task, weight=source.weight, **params)
            anchored.append(source)
        return anchored

    def asked(number: int, of: str | TaskAsked) -> str | TaskAsked:
        whole = TaskAsked(task=of) if isinstance(of, str) else of
        keys = ("evaluation", "tasks", number)
        task, params = resolved(whole.task, whole.params, keys, anchor, check=check)
        return TaskAsked(task=task, **params) if params else task

    changes: dict[str, Any] = {}
    for section in ("model", "tokenizer"):
        spec = getattr(experiment, section)
        if spec.from_ is not None:
            keys = (section, "from")
            origin = absolute_origin(spec.from_, keys, anchor(keys), check)
            changes[section] = spec.model_copy(update={"from_": origin})
    data: DataSpec = experiment.data
    changes["data"] = data.model_copy(
        update={
            "train": sources("train", data.train),
            "validation": sources("validation", data.validation),
            "test": sources("test", data.test),
        }
    )
    tasks = [asked(number, of) for number, of in enumerate(experiment.evaluation.tasks)]
    changes["evaluation"] = experiment.evaluation.model_copy(update={"tasks": tasks})
    return experiment.model_copy(update=changes)


class _Dumper(yaml.SafeDumper):
    """PyYAML's dumper, without anchors, and quoting what our reader would not read as text."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    try:
        quoted = not isinstance(resolve_plain(text), str)
    except ValueError:  # looks like a number that is not finite
        quoted = True
    style = '"' if _LINE_BREAKS.search(text) else "'" if quoted else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)
