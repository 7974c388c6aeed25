"""Prepared data on disk: made once, named by what it was made from, shared between processes.

An entry is a folder of arrays and a meta.json with their sizes and sums, itself summed in its last
line. It is made under a temporary name behind a file lock and renamed, so that two processes that
want the same thing make it once, and nobody sees half of it. An entry whose files do not match its
sums is made again. The sum of a file is taken over up to 64 evenly spaced blocks of a megabyte: all
of any file below 64 MB, and a quick look at larger ones.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from emergectl.data.files import writable_cache
from emergectl.errors import EmergectlError

_BLOCK_BYTES = 1 << 20
_BLOCKS = 64


def entry_key(*parts: object) -> str:
    """The name of an entry: a hash over everything that decides its content."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def cached(
    cache: Path, key: str, make: Callable[[Path], dict[str, Any]]
) -> tuple[Path, dict[str, Any]]:
    """The folder of an entry and its facts, made by `make(folder) -> facts` if need be.

    Other processes that ask for the same entry wait until it stands. Raises EmergectlError naming
    the folder where it cannot be written.
    """
    root = writable_cache(cache / "packed")
    folder = root / key
    facts = _verified(folder)
    if facts is not None:
        return folder, facts
    with (root / f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        facts = _verified(folder)  # another process may have made it meanwhile
        if facts is None:
            facts = _make(root, folder, make)
    return folder, facts


def _make(root: Path, folder: Path, make: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    for abandoned in root.glob(f"{folder.name}.making-*"):  # its maker died: the lock is ours
        shutil.rmtree(abandoned, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix=f"{folder.name}.making-", dir=root))
    try:
        facts = make(temporary)
        sums = {path.name: _sum_of(path) for path in sorted(temporary.iterdir())}
        meta = json.dumps({"facts": facts, "files": sums}, ensure_ascii=False)
        stamped = f"{meta}\n{zlib.crc32(meta.encode())}\n"
        (temporary / "meta.json").write_text(stamped, encoding="utf-8")
        temporary.rename(folder)
    except OSError as error:
        raise EmergectlError(
            f"the prepared data cannot be written to {root}: {error.strerror or error}; make room "
            "or set EMERGECTL_CACHE to another folder"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return facts


def _verified(folder: Path) -> dict[str, Any] | None:
    """The facts of an entry whose files are what its sums say; None where it has to be made."""
    try:
        text, crc = (folder / "meta.json").read_text(encoding="utf-8").splitlines()
        meta = json.loads(text)
        if zlib.crc32(text.encode()) == int(crc) and all(
            _sum_of(folder / name) == known for name, known in meta["files"].items()
        ):
            return dict(meta["facts"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # missing or damaged: either way it is made anew
    return None


def _sum_of(path: Path) -> list[int]:
    """Size and crc32 of (blocks of) a file."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        stride = max(_BLOCK_BYTES, size // _BLOCKS)
        crc = 0
        for start in range(0, size, stride):
            file.seek(start)
            crc = zlib.crc32(file.read(_BLOCK_BYTES), crc)
    return [size, crc]
