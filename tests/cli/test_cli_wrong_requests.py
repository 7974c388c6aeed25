"""Mistakes that only the data or the weights bring to light: one line, exit 2, and no run left."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from emergectl.cli.main import main

EXPERIMENT = """\
name: mistaken
stage: finetune
model: {family: bert, size: 10k}
tokenizer: {kind: byte}
objective: {name: binary}
data:
  train: {path: rows.csv}
  validation: {path: more.csv}
  seq_len: 16
train: {steps: 2, batch_size: 4}
"""
ROWS = "text,label\nfine,good\nfoul,bad\nnice,good\n"

MISTAKES = {
    "a column": (["data.train.columns.label=lable"], "no column 'lable'; there are: text, label"),
    "a label not learnt": (["data.validation.path=other.csv"], "the label 'ugly' is not among"),
    "no held-out rows": (["data.validation.path=none.csv"], "none.csv:1: the file holds no rows"),
    "a table of tabs": (["data.train.path=tabs.csv"], "is this `format: tsv`?"),
    "three classes for two": (["data.train.path=other.csv"], "exactly two classes, got 3"),
    "weights for other classes": (["objective.class_weights=[1.0]"], "1 weights for 2 classes"),
    "plain text for rows": (["data.train.path=plain.txt"], "is plain text; here rows are needed"),
    "a URL out of reach": (["data.train.path=https://localhost:1/a.csv"], "cannot be fetched"),
    "a field of another family": (["model.config.n_embd=8"], "no field of bert's config"),
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    files = {
        "e.yaml": EXPERIMENT,
        "rows.csv": ROWS,
        "more.csv": ROWS,
        "other.csv": ROWS + "odd,ugly\n",
        "none.csv": "text,label\n",
        "tabs.csv": "text\tlabel\nfine\tgood\n",
        "plain.txt": "fine\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    yield tmp_path
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_that_names_its_place_and_leaves_no_run(
    mistake: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides, message = MISTAKES[mistake]
    assert main(["train", "e.yaml", *overrides, "--json"]) == 2
    captured = capsys.readouterr()
    (line,) = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert message in line
    assert captured.out == ""
    assert not list((home / "runs").glob("*"))


def test_eval_needs_nothing_of_the_run_that_the_weights_once_came_from(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "e.yaml", "--json", "--run-dir", "origin"]) == 0
    further = EXPERIMENT.replace("{family: bert, size: 10k}", "{from: origin}")
    (home / "further.yaml").write_text(further.replace("tokenizer: {kind: byte}\n", ""))
    assert main(["finetune", "further.yaml", "--json", "--run-dir", "further"]) == 0
    capsys.readouterr()
    (home / "origin").rename(home / "gone")
    assert main(["eval", str(home / "further"), "--json"]) == 0
    (measured,) = json.loads(capsys.readouterr().out)
    lines = (home / "further" / "metrics.jsonl").read_text().splitlines()
    last = [json.loads(line) for line in lines if "validation/loss" in line][-1]
    (loss,) = (one["value"] for one in measured["metrics"] if one["metric"] == "loss")
    assert loss == pytest.approx(last["validation/loss"], rel=1e-6)
    assert (measured["step"], measured["items"]) == (2, 3)


def test_weights_that_end_before_the_sequences_do_are_named_with_file_and_line(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "e.yaml", "--json", "--run-dir", "first"]) == 0
    capsys.readouterr()
    further = EXPERIMENT.replace("{family: bert, size: 10k}", "{from: first}")
    further = further.replace("tokenizer: {kind: byte}\n", "").replace("seq_len: 16", "seq_len: 32")
    (home / "further.yaml").write_text(further)
    assert main(["finetune", "further.yaml"]) == 2
    error = capsys.readouterr().err
    assert "further.yaml:8: data.seq_len: the weights have 16 positions, got 32" in error
    kept = json.loads((home / "first" / "run.json").read_text())
    assert kept["name"] == "mistaken"
    assert not list((home / "runs").glob("*"))
