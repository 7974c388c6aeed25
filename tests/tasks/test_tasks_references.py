"""A reference made into a task, or refused with what is wrong and where."""

from pathlib import Path

import pytest
from file_rows import items, write_rows

from emergectl.config.experiment import load_experiment
from emergectl.errors import RequestError
from emergectl.tasks.catalog import task_classes
from emergectl.tasks.references import harness_file, load_task
from emergectl.tasks.resolve import resolve
from emergectl.tasks.task import TextTask


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "rows.jsonl", [{"sentence": str(n), "label": "x"} for n in range(20)])
    mine = "task: classification\npath: rows.jsonl\ncolumns: {text: sentence}\nheld_out: 1.0\n"
    (tmp_path / "mine.yaml").write_text(mine)
    return tmp_path


def test_a_task_of_the_catalog_takes_parameters_behind_its_name() -> None:
    assert load_task("modular:modulus=7").modulus == 7  # type: ignore[union-attr]


def test_a_task_file_is_asked_under_its_own_name() -> None:
    task = load_task("mine.yaml")
    assert isinstance(task, TextTask)
    assert task.title == "mine"
    assert len(items(task)) == 20
    named = load_task("mine.yaml:called=theirs")
    assert isinstance(named, TextTask)
    assert named.title == "theirs"


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("adition", "^no task `adition`; did you mean `addition`?"),
        ("gsm8", "^no task `gsm8`; did you mean `gsm8k`?"),
        ("mine.yaml:held=1", r"override `held=1`: held: .*no such parameter; did you mean"),
        ("modular:modulus=x", r"modular: modulus: Input should be a valid integer"),
        ("gone.json", r"no such task file: .*gone\.json"),
        ("mine.yaml:path=gone.jsonl", r"override `path=gone\.jsonl`: path: no such file"),
    ],
)
def test_what_cannot_be_loaded_is_named_with_its_place(reference: str, reason: str) -> None:
    with pytest.raises(RequestError, match=reason):
        load_task(reference)


def test_a_wrong_parameter_in_a_file_is_named_by_its_line(folder) -> None:
    (folder / "bad.yaml").write_text("task: classification\npath: rows.jsonl\nheld_out: many\n")
    with pytest.raises(RequestError, match=r"bad\.yaml:3: held_out: "):
        load_task("bad.yaml")
    (folder / "odd.yaml").write_text("# Odd.\ntask: clasification\n")
    with pytest.raises(RequestError, match=r"odd\.yaml:2: task: no task `clasification`; did you"):
        load_task("odd.yaml")


def test_a_task_of_the_harness_is_handed_on(folder) -> None:
    (folder / "harness.yaml").write_text("task: a\ndataset_path: json\ndoc_to_text: '{{x}}'\n")
    assert harness_file("harness.yaml") == folder / "harness.yaml"
    assert harness_file("mine.yaml") is None
    assert harness_file("addition") is None
    with pytest.raises(RequestError, match=r"harness\.yaml is a task of lm-evaluation-harness"):
        load_task("harness.yaml")


def test_no_shipped_task_bears_the_name_of_a_task_of_the_catalog() -> None:
    from emergectl.config.shipped import shipped_tasks

    assert not set(shipped_tasks()) & set(task_classes())


def test_a_run_measures_a_task_file_under_its_own_name_and_gets_parameters_beside_it(
    folder,
) -> None:
    (folder / "run.yaml").write_text(
        "stage: finetune\nmodel: {family: llama, size: 10k}\n"
        "data: {train: {task: mine.yaml, held_out: 0.5}}\n"
        "evaluation: {tasks: [{task: mine.yaml, called: theirs}, modular:modulus=7]}\n"
    )
    experiment = load_experiment(folder / "run.yaml").experiment
    asked = resolve(experiment)
    assert list(asked.evaluated) == ["mine", "theirs", "modular:modulus=7"]
    assert asked.learnt[0][0].held_out == 0.5  # type: ignore[union-attr]
