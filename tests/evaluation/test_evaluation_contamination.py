"""Test items found in training text, and not found where they are not."""

from pathlib import Path

import pytest

from emergectl.config.experiment import dump_experiment
from emergectl.config.schema import Experiment
from emergectl.evaluation.contamination import (
    STRETCH,
    find_contaminated,
    find_in_texts,
    tokens_of,
)
from emergectl.evaluation.task_items import Asking, PreparedTask, prepare_task
from emergectl.tasks.references import load_task
from emergectl.tasks.task import TextTask

WORDS = [f"w{chr(97 + i)}" for i in range(26)]


def found(text: str, *training: str) -> bool:
    return find_in_texts({"t": {"i": [text]}}, training)["t"] == {"i"}


def test_thirteen_words_in_a_row_are_enough_and_twelve_are_not() -> None:
    item = " ".join(WORDS[:20])
    assert STRETCH == 13
    assert found(item, "before. " + " ".join(WORDS[4:17]) + " after")
    assert not found(item, " ".join(WORDS[4:16]) + " other " + " ".join(WORDS[16:]))


def test_a_short_item_is_found_whole_or_not_at_all() -> None:
    assert found("12+34=46", "of course 12 + 34 = 46, he said")
    assert not found("12+34=46", "12+34=47 and 46")
    assert not found("!?", "!? !?")


def test_case_and_marks_do_not_hide_an_item() -> None:
    assert found("The cat, sat.", "THE CAT SAT")
    assert found("今天天气很好", "她说：今天天气，很好。")
    assert tokens_of("Ab1２, 猫!") == ["ab", "1", "２", "猫"]


def test_of_several_right_answers_each_is_looked_for() -> None:
    asked = {"t": {"i": ["who? me", "who? you"], "j": ["where? here"]}}
    assert find_in_texts(asked, ["who? you"]) == {"t": {"i"}}


def arithmetic() -> PreparedTask:
    task = load_task("addition:digits=2")
    assert isinstance(task, TextTask)
    return prepare_task(task, "addition", Asking(limit=20))


def run_of(tmp_path: Path, **fields: object) -> Path:
    experiment = Experiment.model_validate(fields)
    (tmp_path / "experiment.yaml").write_text(dump_experiment(experiment))
    return tmp_path


def test_items_planted_in_the_text_of_a_run_are_found_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMERGECTL_CACHE", str(tmp_path / "cache"))
    asked = arithmetic()
    planted = asked.items[3]
    text = tmp_path / "text.txt"
    filler = "nothing to be seen here " * 20_000  # more than one piece of a document
    text.write_text(f"{filler}\n{planted.prompt}{planted.target}\n{filler}")
    run = run_of(tmp_path, data={"train": {"path": str(text)}})
    assert find_contaminated(run, [asked]) == {"addition": {planted.id}}


def test_a_task_that_holds_its_items_out_is_clean(tmp_path: Path) -> None:
    source = {"task": "addition", "digits": 2, "examples": 500}
    run = run_of(tmp_path, data={"train": source})
    assert find_contaminated(run, [arithmetic()]) == {"addition": set()}


def test_rows_of_a_file_are_searched_answer_and_all(tmp_path: Path) -> None:
    asked = arithmetic()
    planted = asked.items[5]
    rows = tmp_path / "rows.tsv"
    rows.write_text(f"q\ta\n1+1=\t2\n{planted.prompt}\t{planted.target}\n")
    run = run_of(
        tmp_path,
        stage="finetune",
        data={"train": {"path": str(rows)}},
        objective={"name": "answer", "prompt": "{q}", "answer": "{a}"},
    )
    assert find_contaminated(run, [asked]) == {"addition": {planted.id}}
