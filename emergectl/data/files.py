"""Which files a source names, in which format, and what their content is called.

A path may be a file, a folder (searched to the bottom, hidden files left out), a glob, or an https
URL, which is fetched once into the cache. Files are always taken in sorted order, so that the same
folder is the same data everywhere.
"""

from __future__ import annotations

import glob
import gzip
import hashlib
import os
import shutil
import tempfile
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, cast

from emergectl.config.schema import FileSource
from emergectl.errors import EmergectlError, ExperimentError, RequestError

FORMATS = {
    ".txt": "text",
    ".text": "text",
    ".md": "text",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
LINES_AS_ROWS = "each line as a row of one column: `format: tsv` with `header: [text]`"
"""the way to read line-aligned text where rows are needed"""
_URL_TIMEOUT_SECONDS = 30
_PEEKED_BYTES = 4096


def cache_root() -> Path:
    """Where prepared data is kept between runs: $EMERGECTL_CACHE or ~/.cache/emergectl."""
    configured = os.environ.get("EMERGECTL_CACHE")
    if configured:
        return Path(configured).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache").absolute() / "emergectl"


def source_files(source: FileSource, *, key: str, cache: Path) -> list[tuple[Path, str]]:
    """The files of a source with the format of each, sorted by path.

    `key` is the source's key in the experiment (`data.train.0`). Raises ExperimentError where
    nothing is there, or where an ending does not tell the format.
    """
    assert source.path is not None
    if source.path.startswith(("https://", "http://")):
        paths = [_download(source.path, key=key, cache=cache)]
    else:
        paths = _local_files(source, key=key)
    return [(path, _format_of(path, source.format, key=key)) for path in paths]


def open_binary(path: Path) -> BinaryIO:
    """Open a file for reading bytes, through gzip where its name ends in .gz."""
    if path.suffix == ".gz":
        return cast(BinaryIO, gzip.open(path, "rb"))
    return path.open("rb", buffering=1 << 20)


def content_hash(paths: Sequence[Path]) -> str:
    """sha256 over the bytes of files in order; their names do not count."""
    total = hashlib.sha256()
    for path in paths:
        facts = path.stat()
        total.update(_file_hash(path, facts.st_ino, facts.st_size, facts.st_mtime_ns))
    return total.hexdigest()


@lru_cache(maxsize=4096)
def _file_hash(path: Path, inode: int, size: int, changed: int) -> bytes:  # noqa: ARG001
    """sha256 of a file, taken once in a process: several entries of the cache are named by it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _local_files(source: FileSource, *, key: str) -> list[Path]:
    assert source.path is not None
    path = Path(source.path).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        found = [p for p in sorted(path.rglob("*")) if p.is_file() and not _hidden(p, path)]
        if source.format == "auto":
            found = [p for p in found if _ending(p) in FORMATS]
        else:
            fitting = [p for p in found if FORMATS.get(_ending(p)) == source.format]
            found = fitting or found
        if not found:
            endings = " ".join(sorted(FORMATS))
            raise ExperimentError(f"{key}.path", f"no data files in {path} ({endings})")
        kinds = {_ending(p): p for p in found}
        if source.format == "auto" and len({FORMATS[ending] for ending in kinds}) > 1:
            examples = ", ".join(str(p.relative_to(path)) for p in kinds.values())
            raise ExperimentError(
                f"{key}.path",
                f"{path} holds files of several formats ({examples}): give `format`, or a glob",
            )
        return found
    matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 — may be absolute
    found = [Path(match) for match in matches if Path(match).is_file()]
    if not found:
        what = "no such file or folder"
        if path.is_symlink() and not path.exists():
            what = f"a link to {path.readlink()}, which is not there"
        elif path.exists() or matches:
            what = "no ordinary file"
        raise ExperimentError(f"{key}.path", f"{what}: {source.path}")
    return found


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _ending(path: Path) -> str:
    name = path.with_suffix("") if path.suffix == ".gz" else path
    return name.suffix.lower()


def _format_of(path: Path, given: str, *, key: str) -> str:
    if given != "auto":
        return given
    known = FORMATS.get(_ending(path))
    if known is None:
        raise ExperimentError(
            f"{key}.path",
            f"the ending of {path} does not tell its format: give `format`: jsonl, json, csv, tsv "
            f"or parquet for rows ({LINES_AS_ROWS}), text where running text is learnt",
        )
    return "json" if _ending(path) == ".json" and _begins_with_a_list(path) else known


def _begins_with_a_list(path: Path) -> bool:
    """Whether a JSON file is one list, so that its lines cannot be rows."""
    try:
        with open_binary(path) as file:
            head = file.read(_PEEKED_BYTES)
    except (OSError, EOFError, zlib.error):
        return False  # whoever reads it says what is wrong
    return head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")


def _download(url: str, *, key: str, cache: Path) -> Path:
    """The file behind an https URL, fetched once and then taken from the cache."""
    import urllib.error
    import urllib.request

    if not url.startswith("https://"):
        raise ExperimentError(f"{key}.path", f"only https is fetched, not {url}")
    name = Path(url.split("?")[0].split("#")[0]).name or "file"
    target = cache / "downloads" / hashlib.sha256(url.encode()).hexdigest()[:16] / name
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent)
    try:
        with (
            os.fdopen(handle, "wb") as out,
            urllib.request.urlopen(url, timeout=_URL_TIMEOUT_SECONDS) as response,
        ):
            expected = response.headers.get("Content-Length")
            shutil.copyfileobj(response, out)
            if expected is not None and out.tell() != int(expected):
                raise RequestError(f"{url}: {out.tell()} bytes came of {expected}: try again")
        Path(temporary).rename(target)
    except (OSError, urllib.error.URLError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise ExperimentError(
            f"{key}.path", f"{url} cannot be fetched: {reason}; give the path of a copy"
        ) from error
    finally:
        Path(temporary).unlink(missing_ok=True)
    return target


def writable_cache(root: Path) -> Path:
    """The cache folder, made where it is missing; EmergectlError where it cannot be written."""
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EmergectlError(
            f"the cache {root} cannot be written ({error.strerror}): set EMERGECTL_CACHE to a "
            "folder that can"
        ) from error
    return root
