"""The page on the run directory names every file and every field that a run leaves."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from documents import DOCS

from emergectl.cli.main import main
from emergectl.evaluation.records import ItemRecord
from emergectl.store.measurements import Measurement, MetricFacts

PAGE = (DOCS / "run-directory.md").read_text("utf-8")
# Whose keys are names of somebody's own: packages, variables, tasks, metrics, facts, files.
FREE = {
    "versions",
    "environment",
    "chance",
    "bounds",
    "held_out",
    "facts",
    "params",
    "skipped",
    "files",
    "group",
}


CLASSES = """
stage: finetune
model: {family: bert, size: 10k}
tokenizer: {kind: byte}
objective: {name: multiclass}
data: {train: {path: rows.csv}, validation: {path: rows.csv}, test: {path: rows.csv}, seq_len: 16}
train: {epochs: 1, batch_size: 4, compile: false, precision: fp32, threads: 1}
evaluation: {every: epoch}
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two tiny runs: one that was asked a task, and a classifier with test data."""
    folder = tmp_path_factory.mktemp("directory")
    (folder / "tiny.yaml").write_text(
        "name: tiny\nmodel: {family: llama, size: 10k}\n"
        "data: {train: {task: addition, digits: 1}}\n"
        "train: {steps: 2, batch_size: 4, threads: 1, compile: false, precision: fp32}\n"
    )
    run = folder / "run"
    assert main(["train", str(folder / "tiny.yaml"), "--json", "--run-dir", str(run)]) == 0
    asked = ["--tasks", "addition:digits=1", "--by", "carries", "--limit", "4", "--json"]
    assert main(["eval", str(run), *asked, "--runs-dir", str(folder)]) == 0
    (folder / "rows.csv").write_text("text,label\n" + "a,x\nbb,y\n" * 4)
    (folder / "classes.yaml").write_text(CLASSES)
    classes = ["train", str(folder / "classes.yaml"), "--run-dir", str(folder / "classes")]
    assert main([*classes, "--json"]) == 0
    return folder


def keys(value: Any) -> set[str]:
    """Every key in a JSON value, but for those under FREE ones."""
    if isinstance(value, list):
        return set().union(*map(keys, value))
    if not isinstance(value, dict):
        return set()
    below = [keys(one) for key, one in value.items() if key not in FREE]
    return set(value).union(*below)


def files_of(runs: Path) -> list[Path]:
    """Every file of both runs."""
    return [
        path for run in ("run", "classes") for path in (runs / run).rglob("*") if path.is_file()
    ]


def test_every_file_is_named(runs: Path) -> None:
    for path in files_of(runs):
        assert path.name in PAGE or path.parent.name == "report", path


def test_every_field_of_every_file_is_named(runs: Path) -> None:
    seen = 0
    for path in files_of(runs):
        if path.suffix not in (".json", ".jsonl"):
            continue
        if path.name in ("config.json", "generation_config.json") or "tokenizer" in path.name:
            continue  # transformers' own
        text = path.read_text("utf-8")
        values = (
            [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else None
        )
        for key in keys(values if values is not None else json.loads(text)):
            if "/" not in key and not key.endswith((".json", ".safetensors")):
                assert f"`{key}`" in PAGE, f"{path.name}: {key}"
                seen += 1
    assert seen > 60


@pytest.mark.parametrize("kind", [Measurement, MetricFacts, ItemRecord])
def test_every_field_that_there_can_be_is_named(kind: type) -> None:
    for field in fields(kind):
        assert field.name == "what" or f"`{field.name}`" in PAGE, field.name
