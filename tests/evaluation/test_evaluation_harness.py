"""Task files of lm-evaluation-harness where lm-eval is absent, or where it has the say."""

import importlib.util
from pathlib import Path

import pytest

from emergectl.cli.main import main
from emergectl.errors import RequestError
from emergectl.evaluation.run_tasks import prepare_tasks
from emergectl.evaluation.task_items import Asking

FILE = "task: rows\ndataset_path: json\noutput_type: multiple_choice\ndoc_to_text: q\n"


def test_without_lm_eval_its_files_are_refused_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rows.yaml").write_text(FILE)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(RequestError, match=r"rows\.yaml .*pip install 'emergectl\[lm-eval\]'"):
        prepare_tasks([str(tmp_path / "rows.yaml")], Asking())


def test_how_texts_are_written_is_the_files_to_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rows.yaml").write_text(FILE)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: object())
    with pytest.raises(RequestError, match="is the file's to say"):
        prepare_tasks([str(tmp_path / "rows.yaml")], Asking(samples=4))


def test_validate_takes_a_file_in_stage_evaluate_and_refuses_parameters_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.yaml").write_text(FILE)
    ask = tmp_path / "ask.yaml"
    ask.write_text("stage: evaluate\nmodel: {from: gpt2}\nevaluation: {tasks: [rows.yaml]}\n")
    assert main(["validate", str(ask)]) == 0
    ask.write_text(
        "stage: evaluate\nmodel: {from: gpt2}\n"
        "evaluation: {tasks: [{task: rows.yaml, digits: 3}]}\n"
    )
    assert main(["validate", str(ask)]) == 2
    assert "ask.yaml:3: evaluation.tasks.0.digits" in capsys.readouterr().err
    ask.write_text("stage: evaluate\nmodel: {from: gpt2}\nevaluation: {tasks: [none.yaml]}\n")
    assert main(["validate", str(ask)]) == 2
    assert "no such task file" in capsys.readouterr().err
