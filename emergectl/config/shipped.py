"""The experiments that come with emergectl: `configs/` of a checkout, `_configs` in a wheel."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from emergectl.errors import RequestError

_PACKAGE = Path(__file__).resolve().parent.parent


def shipped_folder() -> Path:
    """Where the shipped experiments are. Raises RequestError if this installation has none."""
    for folder in (_PACKAGE / "_configs", _PACKAGE.parent / "configs"):
        if folder.is_dir():
            return folder
    raise RequestError(f"this installation of emergectl has no configs beside {_PACKAGE}")


def shipped_configs() -> dict[str, Path]:
    """Name → file, sorted; the name is the path inside the folder without its ending."""
    folder = shipped_folder()
    files = sorted(folder.rglob("*.yaml"))
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in files}


def find_shipped(name: str) -> Path:
    """The file of a shipped experiment. Raises RequestError naming the nearest, or all."""
    configs = shipped_configs()
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
