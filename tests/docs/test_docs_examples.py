"""What the documents show is there: commands with their options, experiments that are valid."""

import ast
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from documents import PAGES, Block, blocks, commands

from emergectl.cli.main import COMMANDS, load_command, main
from emergectl.config.shipped import shipped_configs

SHOWN = [
    (line, f"{block.page.name}:{at}") for block in blocks("sh") for line, at in commands(block)
]


@pytest.mark.parametrize(("line", "at"), SHOWN, ids=[f"{at}-{line[:40]}" for line, at in SHOWN])
def test_a_command_that_is_shown_can_be_typed(line: str, at: str) -> None:
    words = shlex.split(line)[1:]
    if words[0].startswith("--"):
        assert words[0] in ("--help", "--version", "--install-completion", "--show-completion"), at
        return
    assert words[0] in COMMANDS, at
    command: Any = load_command(words[0])
    name, words = words[0], words[1:]
    while words and words[0] in getattr(command, "commands", {}):
        command, name, words = command.commands[words[0]], f"{name} {words[0]}", words[1:]
    command.make_context(f"emergectl {name}", words)  # a usage error fails the test


def test_every_command_is_shown_somewhere_outside_the_list_of_commands() -> None:
    shown = {line.split()[1] for line, _ in SHOWN}
    assert set(COMMANDS) <= shown | {"pretrain"}


EXPERIMENTS = [block for block in blocks("yaml") if block.page.name != "CONTRIBUTING.md"]


@pytest.mark.parametrize("block", EXPERIMENTS, ids=str)
def test_an_experiment_that_is_shown_is_valid(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if block.file and block.file.startswith("configs/"):
        assert shipped_configs()[block.file.removeprefix("configs/").removesuffix(".yaml")]
    for other in blocks("yaml", block.page):
        if other.file:
            _write(tmp_path / other.file, other.text)
    file = tmp_path / (block.file or "shown.yaml")
    _write(file, block.text)
    for name in ("input.txt", "mine.jsonl"):
        Path(name).write_text('{"text": "a", "label": "b"}\n')
    if {"train", "data", "experiment", "stage"} & set(yaml.safe_load(block.text)):
        assert main(["validate", str(file)]) == 0


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_that_is_shown_is_python(block: Block) -> None:
    ast.parse(block.text)


def test_no_page_names_a_file_of_the_repository_that_is_not_there() -> None:
    root = PAGES[0].parent
    named = re.compile(r"`((?:emergectl|tests|configs|docs)/[\w./-]+)`")
    for page in PAGES:
        for path in named.findall(page.read_text("utf-8")):
            assert (root / path).exists(), f"{page.name}: {path}"
