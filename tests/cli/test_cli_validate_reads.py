"""`validate` reads the first rows of an experiment's files and weighs its memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from emergectl.cli.main import main
from emergectl.data import first_rows
from emergectl.models import footprint

ROWS = "text,label\nhello,a\nworld,b\nagain,{label}\n"
RUN = """\
stage: finetune
model: {family: bert, size: 10k}
data: {train: {path: rows.csv}}
objective: {name: multiclass}
"""


@pytest.fixture
def said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """What `validate` answers of a file: its code, and stdout and stderr as one text."""

    def told(text: str, rows: str = ROWS.format(label="a")) -> tuple[int, str]:
        (tmp_path / "rows.csv").write_text(rows)
        (tmp_path / "run.yaml").write_text(text)
        code = main(["validate", str(tmp_path / "run.yaml")])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return told


REFUSED = {
    "a third class of two": (
        RUN.replace("multiclass", "binary"),
        ROWS.format(label="c"),
        "run.yaml:4: objective.labels: expected exactly two classes, got 3: a, b, c",
    ),
    "a label that is no class": (
        RUN.replace("multiclass}", "multiclass, labels: [a, b]}"),
        ROWS.format(label="z"),
        "rows.csv:4: the label 'z' is not among the classes a, b",
    ),
    "a label that is no class of held-out rows": (
        RUN.replace("rows.csv}}", "rows.csv}, test: {path: rows.csv, columns: {label: text}}}"),
        ROWS.format(label="a"),
        "rows.csv:2: the label 'hello' is not among the classes a, b",
    ),
    "an empty text": (RUN, ROWS.format(label="a") + '"",a\n', "rows.csv:5: text: is empty"),
    "one class alone": (RUN, "text,label\nx,a\n", "expected at least two classes, got 1: a"),
    "a column that is not there": (
        RUN.replace("rows.csv}}", "rows.csv, columns: {label: klass}}}"),
        ROWS.format(label="a"),
        "klass",
    ),
    "no rows": (RUN, "text,label\n", "the file holds no rows"),
    "text that is none": (
        "data: {train: {path: rows.csv, format: text}}\n",
        "a\0b",
        "rows.csv:1: holds a NUL byte",
    ),
    "a field of a template": (
        RUN.replace("multiclass}", "answer, prompt: '{question}', answer: '{label}'}").replace(
            "bert", "gpt2"
        ),
        ROWS.format(label="a"),
        "question",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_training_would_refuse_of_the_first_rows_is_refused(said, what: str) -> None:
    text, rows, message = REFUSED[what]
    code, told = said(text, rows)
    assert code == 2
    assert message in told
    assert "Traceback" not in told


def test_bad_rows_that_are_to_be_skipped_pass(said) -> None:
    skipping = RUN.replace("rows.csv}}", "rows.csv, bad_rows: skip}}")
    code, told = said(skipping, ROWS.format(label="a") + '"",a\n')
    assert code == 0, told


def test_a_model_larger_than_the_machine_is_refused_and_a_tight_one_warned_of(
    said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(footprint, "machine_bytes", lambda: 24 * 10**9)
    monkeypatch.setattr(footprint, "_gpu_bytes", lambda: None)
    seven = "model: {family: llama, size: 7b}\ndata: {train: {task: copying}}\n"
    code, told = said(seven)
    assert code == 2
    # 6.5 billion parameters, 16 bytes each.
    assert "run.yaml:1: model.size: 6.44 billion parameters" in told
    assert "take 103 GB; this machine has 24 GB" in told
    monkeypatch.setattr(footprint, "_gpu_bytes", lambda: 141 * 10**9)
    code, told = said(seven)
    assert code == 0
    assert "warning" not in told
    monkeypatch.setattr(footprint, "_gpu_bytes", lambda: 110 * 10**9)
    code, told = said(seven)
    assert code == 0
    assert "warning: " in told
    assert "may not suffice" in told


def test_a_sweep_is_weighed_trial_by_trial(said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "machine_bytes", lambda: 24 * 10**9)
    monkeypatch.setattr(footprint, "_gpu_bytes", lambda: None)
    code, told = said(
        "experiment: {model: {family: llama}, data: {train: {task: copying}}}\n"
        "grid: {model.size: [10k, 7b]}\nseeds: 3\n"
    )
    assert code == 2
    assert told.count("model.size: 6.44 billion parameters") == 1


def test_rows_are_read_without_torch(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(ROWS.format(label="a"))
    (tmp_path / "run.yaml").write_text(RUN)
    code = (
        "import sys; from emergectl.cli.main import main; code = main(['validate', sys.argv[1]]);"
        "print(code, [m for m in ('torch', 'transformers', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "run.yaml")], capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "0 []"


ASKED = """\
stage: evaluate
model: {from: somewhere/else}
evaluation:
  tasks:
    - {task: classification, called: greetings, path: rows.csv, test_path: rows.csv,
       prompt: "{text}", bad_rows: skip, published_items: 5}
"""


def test_what_reading_a_tasks_files_came_upon_is_noted(said) -> None:
    code, told = said(ASKED, 'text,label\nhello,a\nhello,a\nworld,b\n"",a\n')
    assert code == 0, told
    assert "note: greetings: 2 test items, where 5 are published" in told
    assert "note: greetings: 2 of 8 rows skipped; the first: " in told
    assert "note: greetings: 1 test rows ask a question again: merged into one item" in told


def test_a_tasks_files_that_are_large_or_elsewhere_are_not_read(
    said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_rows, "WHOLE_BYTES", 10)
    code, told = said(ASKED)
    assert (code, "note: greetings: its data is not read here: 0.0 MB" in told) == (0, True)
    hub = ASKED.replace("path: rows.csv, test_path: rows.csv", "hub: a/b, test_split: test")
    code, told = said(hub)
    assert (code, "not read here: not on this machine" in told) == (0, True)


def test_a_bad_row_of_a_tasks_file_is_refused(said) -> None:
    code, told = said(ASKED.replace("bad_rows: skip, ", ""), ROWS.format(label="a") + '"",a\n')
    assert code == 2
    assert "rows.csv:5: text: is empty" in told
