"""Files that are whole or not there: temporary name, flush, fsync, rename, fsync of the folder.

A reader never sees half of anything written here, and after a power cut finds the old content or
the new. The price is two fsyncs (about 1 ms on an SSD); `durable=False` leaves them out for what
may be lost with the machine, such as a heartbeat, and a reader still never sees half.

A full disk is told as one sentence that names the path and the bytes wanted (`disk_full_named`),
and leaves no temporary file behind.
"""

from __future__ import annotations

import errno
import json
import math
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from emergectl.errors import EmergectlError

TEMPORARY_SUFFIX = ".tmp"
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class DiskFullError(EmergectlError):
    """There was no room for a file; what stood there before is untouched."""


def write_bytes(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Replace `path` by `content`, as a whole.

    Raises DiskFullError naming the path and the bytes wanted where there is no room.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}{TEMPORARY_SUFFIX}")
    try:
        with disk_full_named(path, len(content)):
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            try:
                write_all(descriptor, content)
                if durable:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
            temporary.replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise
    if durable:
        fsync_folder(path.parent)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Replace `path` by `text` in UTF-8, as a whole."""
    write_bytes(path, text.encode(), durable=durable)


def write_json(path: Path, value: Any, *, durable: bool = True) -> None:
    """Replace `path` by `value` as indented JSON, NaN and infinities written as strings."""
    text = json.dumps(json_safe(value), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n", durable=durable)


def write_all(descriptor: int, content: bytes) -> None:
    """Write every byte: a signal or a nearly full disk may cut a single write short."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def json_safe(value: Any) -> Any:
    """The value with NaN, inf and -inf as the strings "nan", "inf", "-inf" (JSON has no such).

    Tuples become lists, keys strings, and numpy scalars plain numbers.
    """
    if isinstance(value, dict):
        return {str(key): json_safe(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_safe(item) for item in value]
    if hasattr(value, "item") and not isinstance(value, (str, bytes)):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Path):
        return str(value)
    return value


def json_floats(value: Any) -> Any:
    """The inverse of `json_safe` for numbers: "nan", "inf", "-inf" become floats again."""
    if isinstance(value, dict):
        return {key: json_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [json_floats(item) for item in value]
    return float(value) if value in ("nan", "inf", "-inf") else value


@contextmanager
def disk_full_named(path: Path, bytes_wanted: int | None, *, advice: str = "") -> Iterator[None]:
    """Turn the many faces of "no room" into one DiskFullError about `path`."""
    try:
        yield
    except Exception as error:
        if isinstance(error, DiskFullError) or not is_disk_full(error):
            raise
        wanted = "more room" if bytes_wanted is None else f"{bytes_wanted:,} bytes"
        sentence = f"{path}: the disk is full ({wanted} wanted, {_bytes_free(path):,} free)"
        raise DiskFullError(sentence + (f"; {advice}" if advice else "")) from error


def is_disk_full(error: BaseException) -> bool:
    """Whether an error says that there is no room: disk, quota or file size limit.

    safetensors (Rust) says so only in the text of its error, torch's zip writer likewise.
    """
    if isinstance(error, OSError):
        return error.errno in _NO_ROOM
    text = str(error)
    return "No space left on device" in text or any(f"(os error {n})" in text for n in _NO_ROOM)


def _bytes_free(path: Path) -> int:
    existing = next(folder for folder in path.absolute().parents if folder.is_dir())
    return shutil.disk_usage(existing).free
