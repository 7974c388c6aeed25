"""Python in the documents runs as it stands: the notebook's cells, and the page on the API."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from documents import DOCS, blocks

NOTEBOOK = DOCS / "notebooks" / "first_verdict.ipynb"


def run(code: list[str], folder: Path) -> str:
    """What pieces of code print, run one after the other in one process in `folder`."""
    script = folder / "cells.py"
    script.write_text("\n\n".join(code), encoding="utf-8")
    environment = {**os.environ, "EMERGECTL_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    environment.pop("EMERGECTL_RUNS", None)
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, cwd=folder, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Where the notebook ran, and what its cells print."""
    folder = tmp_path_factory.mktemp("notebook")
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    return folder, run(["".join(c["source"]) for c in cells if c["cell_type"] == "code"], folder)


def test_the_notebook_trains_asks_and_judges(printed: tuple[Path, str]) -> None:
    text = printed[1]
    assert "done at step 60" in text
    assert "exact_match: " in text
    assert "rising: gradual" in text
    assert "there: emergent" in text


def test_what_it_shows_is_what_it_prints(printed: tuple[Path, str]) -> None:
    def words(text: str) -> list[str]:  # numbers may differ in their last digits elsewhere
        return [word for word in text.split() if not any(sign.isdigit() for sign in word)]

    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    shown = "".join("".join(out["text"]) for c in cells for out in c.get("outputs", ()))
    assert words(shown) == words(printed[1])


def test_the_page_on_the_api_runs_beside_a_run(printed: tuple[Path, str]) -> None:
    code = [block.text for block in blocks("python", DOCS / "python-api.md")]
    text = run(code, printed[0])
    assert "done" in text
    assert "emergent" in text
