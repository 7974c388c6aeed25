"""Where runs are, and which run a person means.

A run is named by its id, any unique prefix of it or its end `name-xxxx`, its experiment's name,
`latest`, or a path. What could lead elsewhere by accident or by malice (links, control bytes,
look-alike letters, a leading dash) is refused, and what is ambiguous lists its candidates.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from emergectl.errors import RequestError

_ID = re.compile(r"(?P<time>\d{8}-\d{6})-(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)-[0-9a-f]{4}")
_SHOWN = 10


def runs_root(explicit: Path | None = None) -> Path:
    """The runs directory: as given, else $EMERGECTL_RUNS, else ./runs. It need not exist yet."""
    return (explicit or Path(os.environ.get("EMERGECTL_RUNS") or "runs")).absolute()


def list_runs(root: Path, *, half_made: bool = False) -> list[Path]:
    """The run directories of `root`, newest id first; links and other folders are left out.

    With `half_made`, also what a start left that was killed before its run.json was written.
    """
    try:
        with os.scandir(root) as entries:
            names = [e.name for e in entries if e.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RequestError(f"{root}: cannot be listed ({error.strerror})") from None
    runs = [
        name
        for name in names
        if os.path.exists(f"{root}/{name}/run.json")  # noqa: PTH110 - a thousand times
        or (half_made and _ID.fullmatch(name))
    ]
    return [root / name for name in sorted(runs, reverse=True) if not name.startswith(".")]


def name_in_id(run_id: str) -> str:
    """The experiment's name in a run id; the whole text where it is not one."""
    match = _ID.fullmatch(run_id)
    return match["name"] if match else run_id


def short_id(run_id: str) -> str:
    """A run id without its time, `name-xxxx`: short enough for a column, and nearly unique."""
    return run_id[16:] if _ID.fullmatch(run_id) else run_id


def find_run(ref: str, root: Path) -> Path:
    """The directory of the one run that `ref` means.

    Raises RequestError saying why none does; where several do, with the candidates.
    """
    _check_characters(ref)
    if "/" in ref or ref in (".", ".."):
        return _run_at(Path(ref))
    if (root / ref).is_symlink():
        raise RequestError(f"{root / ref}: is a link, not a run; name the run it points to")
    runs = list_runs(root)
    if not runs:
        raise RequestError(f"no run {ref!r}: there are no runs in {root}")
    if ref == "latest":
        return max(runs, key=_time_made)
    exact = [path for path in runs if path.name == ref]
    matching = exact or [
        path
        for path in runs
        if path.name.startswith(ref) or ref in (name_in_id(path.name), short_id(path.name))
    ]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise RequestError(_listing(f"{len(matching)} runs match {ref!r}; name one:", matching))
    if Path(ref, "run.json").exists():
        return _run_at(Path(ref))
    names = {name for path in runs for name in (path.name, name_in_id(path.name))}
    near = difflib.get_close_matches(ref, names, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise RequestError(f"no run {ref!r} in {root}{hint}")


def find_run_by_full_id(ref: str, root: Path) -> Path:
    """The run directory in `root` of exactly this id (or its path), for what cannot be undone.

    Raises RequestError for prefixes, names, `latest`, and for paths and links that lead elsewhere.
    """
    _check_characters(ref)
    path = Path(ref).absolute() if "/" in ref or ref in (".", "..") else root / ref
    if ".." in path.parts or path.parent.resolve() != root.resolve():
        raise RequestError(f"{ref}: not in the runs directory {root}")
    if path.is_symlink():
        raise RequestError(f"{path}: is a link, not a run")
    runs = list_runs(root, half_made=True)
    if path.name in {run.name for run in runs}:
        return root / path.name
    candidates = [run for run in runs if run.name.startswith(ref) or name_in_id(run.name) == ref]
    if candidates:
        raise RequestError(_listing(f"{ref!r} is not a full id; did you mean:", candidates))
    raise RequestError(f"no run {ref!r} in {root}")


def _check_characters(ref: str) -> None:
    if not ref:
        raise RequestError("an empty text names no run")
    if not ref.isprintable():
        raise RequestError(f"{ref!r}: control characters name no run")
    if ref.startswith("-"):
        raise RequestError(f"{ref!r}: a run's name does not begin with a dash")
    if not ref.isascii() and "/" not in ref and not Path(ref, "run.json").exists():
        odd = next(char for char in ref if not char.isascii())
        raise RequestError(f"{ref!r}: run ids are ASCII, and {odd!r} (U+{ord(odd):04X}) is not")


def _run_at(path: Path) -> Path:
    path = path.absolute()
    if not path.is_dir():
        raise RequestError(f"{path}: no such run directory")
    if not (path / "run.json").is_file():
        raise RequestError(f"{path}: not a run (it has no run.json)")
    return path.resolve()


def _time_made(path: Path) -> tuple[str, str]:
    """By the second in the id; within one, and for folders named by hand, by run.json."""
    from emergectl.store.run import read_facts

    try:
        created = str(read_facts(path).get("created", ""))
    except RequestError:
        created = ""
    match = _ID.fullmatch(path.name)
    return (
        match["time"] if match else re.sub(r"[-:]", "", created).replace("T", "-")[:15],
        created,
    )


def _listing(first: str, paths: Iterable[Path]) -> str:
    paths = list(paths)
    lines = [first, *(f"  {path.name}" for path in paths[:_SHOWN])]
    if len(paths) > _SHOWN:
        lines.append(f"  … and {len(paths) - _SHOWN} more")
    return "\n".join(lines)
