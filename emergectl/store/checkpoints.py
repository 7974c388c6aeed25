"""Committing a directory (checkpoint or snapshot) so that it is whole or not there, and proving it.

The protocol: write everything into a temporary directory beside the target; sum and fsync each
file; write manifest.json last, with sha256 and size of each file, the step and the caller's facts,
and its own sum; fsync; rename; fsync the parent. Nothing is overwritten in place, and which one is
newest is read from manifests that verify, never from times or links: a single flipped bit loads
silently from safetensors. What does not verify is named and left for people to look at.

All of it assumes the run's lock: one process writes here at a time.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Container
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from emergectl.errors import EmergectlError
from emergectl.store.atomic import disk_full_named, fsync_folder, json_safe, write_bytes
from emergectl.store.owner import boot_id, process_start
from emergectl.store.status import timestamp, utc_now

MANIFEST = "manifest.json"
_SUPERSEDED = ".superseded-"
_STEP = re.compile(r"step-(\d{8,})")
_TEMPORARY = re.compile(r"\.partial-([0-9a-f]*)-(\d+)-(\w*)-[0-9a-f]+")


class CheckpointError(EmergectlError):
    """A checkpoint does not verify; the message names the file and the reason."""


@dataclass(frozen=True)
class FileSum:
    """Size and sum of one file."""

    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a committed directory says of itself, proved against its files."""

    path: Path
    """the committed directory"""
    step: int
    created: str
    """UTC, ISO 8601"""
    facts: dict[str, Any]
    """what the caller gave to `commit`: data fingerprint, metrics offset …"""
    files: dict[str, FileSum]
    """relative POSIX path → size and sum, manifest.json itself left out"""

    @property
    def total_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.bytes for file in self.files.values())


def step_name(step: int) -> str:
    """The directory name of a step: step-00001000."""
    return f"step-{step:08d}"


def commit(
    directory: Path,
    step: int,
    write: Callable[[Path], None],
    *,
    facts: dict[str, Any],
    expected_bytes: int | None = None,
) -> Path:
    """Let `write` fill a fresh directory, and make it `directory/step-NNNNNNNN` as a whole.

    A step that stands already, verifies and has the same facts is kept and nothing is written.
    One with other facts gives way when the new one is ready; one that does not verify is moved
    aside (`aside-…`), never deleted. Raises DiskFullError naming the path and the bytes wanted
    where there is no room (what the latest one takes, else `expected_bytes`); whatever fails, the
    temporary directory is removed and everything committed before is untouched.
    """
    target = directory / step_name(step)
    facts = json_safe(facts)
    standing = _verified_or_none(target)
    if standing is not None and standing.facts == facts:
        return target
    directory.mkdir(parents=True, exist_ok=True)
    wanted = _bytes_of_latest(directory) or expected_bytes
    advice = "what was committed before is intact; make room and start again"
    temporary = _temporary(directory)
    try:
        with disk_full_named(target, wanted, advice=advice):
            temporary.mkdir()
            write(temporary)
            _seal(temporary, step, facts)
            superseded = None
            if standing is not None:
                superseded = target.rename(target.with_name(_SUPERSEDED + target.name))
            elif target.exists():
                _move_aside(target)
            temporary.rename(target)
            fsync_folder(directory)
            if superseded is not None:
                shutil.rmtree(superseded)
    except BaseException:
        if temporary.exists():
            shutil.rmtree(temporary)
        raise
    return target


def read_manifest(path: Path) -> Manifest:
    """The manifest of a committed directory, proved against its own sum and the directory's name.

    The files are not looked at (`verify` does). Raises CheckpointError.
    """
    where = path / MANIFEST
    try:
        content = json.loads(where.read_bytes())
        claimed = content.pop("sha256")
        if claimed != _sum_of_manifest(content):
            raise CheckpointError(f"{where}: changed since it was written (its sum does not fit)")
        manifest = Manifest(
            path=path,
            step=content["step"],
            created=content["created"],
            facts=content["facts"],
            files={name: FileSum(**file) for name, file in content["files"].items()},
        )
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(f"{where}: missing") from None
    except OSError as error:
        raise CheckpointError(f"{where}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError(f"{where}: not a manifest (truncated or overwritten)") from None
    if _STEP.fullmatch(path.name) and path.name != step_name(manifest.step):
        raise CheckpointError(f"{where}: belongs to {step_name(manifest.step)}, not {path.name}")
    return manifest


def verify(path: Path) -> Manifest:
    """Prove every file of a committed directory against its manifest.

    Raises CheckpointError naming the first file that is wrong, and how.
    """
    manifest = read_manifest(path)
    for name, expected in manifest.files.items():
        _check_size(path / name, expected)
    for name, found in _sums(path, list(manifest.files)).items():
        if found != manifest.files[name]:
            raise CheckpointError(f"{path / name}: changed since it was written (sha256 differs)")
    return manifest


def is_committed(directory: Path) -> bool:
    """Whether a directory was written by `commit`, sound or not.

    It has our manifest, or what is left of one: only a JSON object with none of our keys is a file
    of the same name from somewhere else.
    """
    try:
        content = json.loads((directory / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):
        return True
    known = {"format", "step", "created", "facts", "files", "sha256"}
    return isinstance(content, dict) and len(known & set(content)) > 1


def newest(directory: Path) -> tuple[Manifest | None, list[str]]:
    """The verified manifest of the highest step, and why each higher one was passed over."""
    rejected: list[str] = []
    for step in reversed(list_steps(directory)):
        try:
            return verify(directory / step_name(step)), rejected
        except CheckpointError as error:
            rejected.append(str(error))
    return None, rejected


def set_aside(directory: Path, *, later_than: int) -> list[Path]:
    """Move the steps after `later_than` aside (`aside-…`), where nothing prunes them; their paths.

    For what `newest` passed over, before new steps are committed below it.
    """
    later = [step for step in list_steps(directory) if step > later_than]
    return [_move_aside(directory / step_name(step)) for step in later]


def list_steps(directory: Path) -> list[int]:
    """The steps that stand in a directory, ascending, verified or not."""
    if not directory.is_dir():
        return []
    matches = (_STEP.fullmatch(entry.name) for entry in directory.iterdir())
    return sorted(int(match[1]) for match in matches if match)


def prune(directory: Path, keep: Container[int]) -> list[int]:
    """Remove the steps that are not in `keep`; returns them. Call it after the new one stands.

    Each is renamed first, so that a kill half-way leaves rubbish and not half a checkpoint.
    """
    removed = [step for step in list_steps(directory) if step not in keep]
    for step in removed:
        rubbish = _temporary(directory)
        (directory / step_name(step)).rename(rubbish)
        shutil.rmtree(rubbish)
    return removed


def sweep_temporary(directory: Path) -> list[Path]:
    """Remove what killed processes left half-written or half-removed; returns it.

    A checkpoint that was about to be superseded when its process was killed stands again.
    """
    if not directory.is_dir():
        return []
    abandoned = [entry for entry in directory.iterdir() if _is_abandoned(entry.name)]
    for superseded in directory.glob(f"{_SUPERSEDED}*"):
        target = superseded.with_name(superseded.name.removeprefix(_SUPERSEDED))
        if target.exists():
            abandoned.append(superseded)
        else:
            superseded.rename(target)
    for path in abandoned:
        shutil.rmtree(path)
    return abandoned


def _temporary(directory: Path) -> Path:
    """A fresh name that says which process it belongs to."""
    boot, pid = boot_id().replace("-", "")[:12], os.getpid()
    start = process_start(pid) or ""
    return directory / f".partial-{boot}-{pid}-{start}-{secrets.token_hex(4)}"


def _is_abandoned(name: str) -> bool:
    match = _TEMPORARY.fullmatch(name)
    if match is None:
        return False
    boot, pid, start = match.groups()
    return boot != boot_id().replace("-", "")[:12] or process_start(int(pid)) != start


def _verified_or_none(target: Path) -> Manifest | None:
    try:
        return verify(target) if target.exists() else None
    except CheckpointError:
        return None


def _bytes_of_latest(directory: Path) -> int | None:
    """What the latest readable manifest sums to: the best guess of what the next one wants."""
    for step in reversed(list_steps(directory)):
        try:
            return read_manifest(directory / step_name(step)).total_bytes
        except CheckpointError:
            continue
    return None


def _seal(directory: Path, step: int, facts: dict[str, Any]) -> None:
    """Sum and fsync every file, then the manifest, then the folders."""
    names, folders = [], [directory]
    for path in sorted(directory.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise CheckpointError(f"{path}: neither a file nor a folder; it cannot be committed")
        if path.is_dir():
            folders.append(path)
        else:
            names.append(path.relative_to(directory).as_posix())
    sums = _sums(directory, names, fsync=True)
    content = {
        "format": 1,
        "step": step,
        "created": timestamp(utc_now()),
        "facts": facts,
        "files": {name: asdict(file) for name, file in sums.items()},
    }
    content["sha256"] = _sum_of_manifest(content)
    for folder in reversed(folders):
        fsync_folder(folder)
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(directory / MANIFEST, text.encode() + b"\n")


def _sums(directory: Path, names: list[str], *, fsync: bool = False) -> dict[str, FileSum]:
    """Size and sum of each file; several at once: hashing and fsync both let go of the GIL."""

    def sum_of(name: str) -> FileSum:
        with (directory / name).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if fsync:
                os.fsync(file.fileno())
            return FileSum(bytes=os.fstat(file.fileno()).st_size, sha256=digest)

    try:
        with ThreadPoolExecutor(max_workers=4) as pool:
            return dict(zip(names, pool.map(sum_of, names), strict=True))
    except RuntimeError:  # Memory is so short that no thread can start: then one after the other.
        return {name: sum_of(name) for name in names}


def _sum_of_manifest(content: dict[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _check_size(path: Path, expected: FileSum) -> None:
    if path.is_symlink() or not path.is_file():
        raise CheckpointError(f"{path}: {'not a file' if path.exists() else 'missing'}")
    size = path.stat().st_size
    if size != expected.bytes:
        raise CheckpointError(f"{path}: has {size:,} bytes, not {expected.bytes:,}")


def _move_aside(target: Path) -> Path:
    """Make room for a good one without deleting the bad one; where that is now."""
    numbered = (target.with_name(f"aside-{target.name}-{n}") for n in itertools.count(1))
    return target.rename(next(path for path in numbered if not path.exists()))
