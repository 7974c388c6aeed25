"""The experiments and tasks that come with emergectl: `configs/`, in a wheel `_configs`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from emergectl.errors import RequestError

_PACKAGE = Path(__file__).resolve().parent.parent
_TASKS = "tasks"
_NO_EXPERIMENTS = (_TASKS, "tables")
"""folders of files of other kinds: tasks, and the columns of published tables"""


def shipped_folder() -> Path:
    """Where the shipped experiments are. Raises RequestError if this installation has none."""
    for folder in (_PACKAGE / "_configs", _PACKAGE.parent / "configs"):
        if folder.is_dir():
            return folder
    raise RequestError(f"this installation of emergectl has no configs beside {_PACKAGE}")


def shipped_configs() -> dict[str, Path]:
    """Name → experiment, sorted; the name is the path inside the folder without its ending."""
    return _named(shipped_folder(), besides=_NO_EXPERIMENTS)


@cache
def shipped_tasks() -> dict[str, Path]:
    """Name → task file, sorted; the name is the path inside `tasks/` without its ending."""
    return _named(shipped_folder() / _TASKS)


def _named(folder: Path, *, besides: Sequence[str] = ()) -> dict[str, Path]:
    found = {f.relative_to(folder).with_suffix(""): f for f in sorted(folder.rglob("*.yaml"))}
    return {name.as_posix(): file for name, file in found.items() if name.parts[0] not in besides}


def find_shipped(name: str) -> Path:
    """The file of a shipped experiment, or of a task (`tasks/…`).

    Raises RequestError naming the nearest, or all.
    """
    configs = shipped_configs() | {f"{_TASKS}/{n}": file for n, file in shipped_tasks().items()}
    wanted = name.removesuffix(".yaml")
    if wanted in configs:
        return configs[wanted]
    near = difflib.get_close_matches(wanted, configs, n=1)
    advice = f"did you mean `{near[0]}`?" if near else f"there are: {', '.join(configs) or 'none'}"
    raise RequestError(f"no shipped config `{name}`; {advice}")


def text_to_copy(path: Path) -> str:
    """A shipped experiment as it reads elsewhere: its relative data paths made absolute."""
    text = path.read_text(encoding="utf-8")
    data = shipped_folder() / "data"
    return re.sub(r"(?<=path: )(\.\./)+data(?=/)", lambda _: data.as_posix(), text)


def first_comment(path: Path) -> str:
    """The comment that opens a config: its description in one line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return lines[0].removeprefix("#").strip() if lines and lines[0].startswith("#") else ""
