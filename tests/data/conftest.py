"""What tests of the data share: small files, a cache of their own, a way to build data."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emergectl.config.schema import Experiment, FileSource
from emergectl.data.build import build_data
from emergectl.data.job import ExperimentData
from emergectl.data.readers import Tally
from emergectl.data.sources import Converter, SourceRow, as_label, as_text, iter_rows

Build = Callable[..., ExperimentData]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def build(cache: Path) -> Build:
    """Build the data of an experiment given as its sections."""

    def build(*, tokenizer_object: Any = None, **sections: Any) -> ExperimentData:
        experiment = Experiment.model_validate(sections)
        return build_data(experiment, cache=cache, tokenizer=tokenizer_object)

    return build


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, bytes | str | list[dict[str, Any]]], Path]:
    """Write a file of bytes, text, or JSON lines, and return its path."""

    def write(name: str, content: bytes | str | list[dict[str, Any]]) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, list):
            content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def read(cache: Path) -> Callable[..., tuple[list[SourceRow], Tally]]:
    """Read a source's text and label columns, or `roles`; returns its rows and the tally."""

    def read(
        path: Path, *, roles: dict[str, Converter] | None = None, **options: Any
    ) -> tuple[list[SourceRow], Tally]:
        source = FileSource(path=str(path), **options)
        tally = Tally()
        roles = roles or {"text": as_text, "label": as_label}
        rows = iter_rows(source, roles=roles, key="data.train.0", cache=cache, tally=tally)
        return list(rows), tally

    return read


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets, where there is one."""
    beside = Path(__file__).parents[2] / ".." / "shared" / "data"
    folder = Path(os.environ.get("EMERGECTL_DATA", beside)).resolve()
    if not folder.is_dir():
        pytest.skip("no real data: set EMERGECTL_DATA to its folder")
    return folder
