"""lm-evaluation-harness's task files, read as data: a YAML mapping and what it includes.

Such a file may name Python functions beside it (`!function`), refused here unless the person allows
its code, and metrics that would be fetched from a hub as code, refused always; templates run in
Jinja's sandbox in any case. Relative `data_files` are looked for beside the file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from emergectl.errors import RequestError

ALLOW = "allow it with --allow-code (evaluation.allow_code=true)"
FETCHED = "would be fetched as code from a hub: use one that ships with lm-eval"


def read_task_file(path: Path, *, allow_code: bool = False) -> dict[str, Any]:
    """The task's settings, those of included files under its own.

    Raises RequestError (`file:line: reason`) for what is no YAML mapping of one task, or would
    run code that `allow_code` does not allow.
    """
    settings = _read(path.expanduser().absolute(), allow_code, ())
    if "task" not in settings or not isinstance(settings["task"], str):
        raise RequestError(f"{path}: no single task of lm-eval: it has no `task: NAME`")
    if settings.get("unsafe_code") and not allow_code:
        raise RequestError(
            f"{path}: the task runs what the model writes as code: refused; where that may be, "
            f"{ALLOW}"
        )
    _check_metrics(path, settings)
    return _beside(settings, path.expanduser().absolute().parent)


def _read(path: Path, allow_code: bool, including: tuple[Path, ...]) -> dict[str, Any]:
    if path in including:
        raise RequestError(f"{path}: includes itself")
    try:
        with path.open(encoding="utf-8") as file:
            content = yaml.load(file, Loader=_loader(path, allow_code))
    except OSError as error:
        raise RequestError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise RequestError(f"{path}: is not UTF-8") from None
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "cannot be parsed"
        raise RequestError(f"{path}{where}: not YAML: {problem}") from None
    if not isinstance(content, dict):
        raise RequestError(f"{path}: expected a mapping, got {type(content).__name__}")
    includes = content.pop("include", [])
    merged: dict[str, Any] = {}
    for name in includes if isinstance(includes, list) else [includes]:
        included = _read(path.parent / str(name), allow_code, (*including, path))
        merged |= {key: value for key, value in included.items() if key != "task_list"}
    return merged | content


def _loader(path: Path, allow_code: bool) -> type[yaml.SafeLoader]:
    class Loader(yaml.SafeLoader):
        """Plain YAML and lm-eval's one tag."""

    def function(_: yaml.SafeLoader, node: yaml.Node) -> Any:
        name = str(node.value)
        if not allow_code:
            raise RequestError(
                f"{path}:{node.start_mark.line + 1}: `!function {name}` would run Python code "
                f"that came with the file: refused; read that code, then {ALLOW}"
            )
        from lm_eval.tasks._yaml_loader import _import_func_in_yml

        try:
            return _import_func_in_yml(name, path.parent)
        except (ImportError, AttributeError, ValueError) as error:
            raise RequestError(f"{path}:{node.start_mark.line + 1}: {error}") from error

    Loader.add_constructor("!function", function)
    return Loader


def _check_metrics(path: Path, settings: dict[str, Any]) -> None:
    """lm-eval asks a hub for metrics that it does not know, and runs what comes."""
    import lm_eval.api.metrics  # noqa: F401 — registers those that ship with it
    from lm_eval.api.registry import metric_registry

    listed = settings.get("metric_list") or []
    for entry in listed if isinstance(listed, list) else [listed]:
        name = entry.get("metric") if isinstance(entry, dict) else entry
        if callable(name):
            continue  # a `!function` that was allowed
        if not isinstance(name, str) or name not in metric_registry:
            raise RequestError(f"{path}: lm-eval has no metric {name!r}, it {FETCHED}")
        if isinstance(entry, dict) and entry.get("hf_evaluate"):
            raise RequestError(f"{path}: `hf_evaluate` of metric {name!r} {FETCHED}")


def _beside(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """With relative data files as paths from the task file's folder."""

    def found(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: found(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [found(inner) for inner in value]
        is_path = isinstance(value, str) and "://" not in value
        return str(folder / value) if is_path else value

    options = dict(settings.get("dataset_kwargs") or {})
    for key in ("data_files", "data_dir"):
        if key in options:
            options[key] = found(options[key])
    return settings | ({"dataset_kwargs": options} if options else {})


@contextlib.contextmanager
def sandboxed_templates() -> Iterator[None]:
    """Inside, lm-eval's templates reach nothing but the document that they are filled from."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from lm_eval import utils

    before = utils.env
    sandbox = ImmutableSandboxedEnvironment(
        loader=before.loader, undefined=before.undefined, keep_trailing_newline=True
    )
    sandbox.filters |= before.filters
    utils.env = sandbox
    try:
        yield
    finally:
        utils.env = before
