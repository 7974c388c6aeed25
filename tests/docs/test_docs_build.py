"""The site: built without a warning, whole, and without a word from the network."""

import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest
from documents import DOCS

from emergectl.cli.main import COMMANDS


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet"]
    done = subprocess.run([*build, str(DOCS), str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_built_and_can_be_reached(site: Path) -> None:
    for page in DOCS.glob("*.md"):
        text = (site / f"{page.stem}.html").read_text("utf-8")
        assert "<h1>" in text
        if page.stem != "index":
            assert f'href="{page.stem}.html"' in (site / "index.html").read_text("utf-8")


def test_every_command_and_every_field_is_listed(site: Path) -> None:
    listed = unescape((site / "commands.html").read_text("utf-8"))
    for name in COMMANDS:
        assert f"Usage: emergectl {name}" in listed
    for command in ("runs list", "sweep status", "analyze calibrate", "tasks sample"):
        assert f"Usage: emergectl {command}" in listed
    fields = (site / "experiment.html").read_text("utf-8")
    for name in ("early_stopping", "weight_decay", "tokens_per_parameter"):
        assert f"<p>{name}</p>" in fields


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    loaded = re.compile(r"<(?:script|img|iframe|link)\b[^>]*?(?:src|href)=\"([^\"]*)\"")
    for page in site.glob("*.html"):
        for address in loaded.findall(page.read_text("utf-8")):
            assert not address.startswith(("http", "//")), f"{page.name}: {address}"
    for style in site.rglob("*.css"):
        assert "@import url(http" not in style.read_text("utf-8")
