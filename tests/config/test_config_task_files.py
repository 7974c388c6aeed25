"""Task files: read, resolved into an experiment, and named with file and line when wrong."""

from pathlib import Path

import pytest

from emergectl.config.experiment import dump_experiment, load_experiment
from emergectl.config.schema import TaskAsked, TaskSource
from emergectl.config.shipped import shipped_tasks
from emergectl.config.task_files import is_harness_file, split_reference, written_task
from emergectl.errors import RequestError

MINE = "# Mine.\ntask: classification\npath: rows.jsonl\ncolumns: {text: sentence}\n"
HARNESS = "task: mine\ndataset_path: json\ndoc_to_text: !function utils.text\noutput_type: x\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a task file and its rows; elsewhere is the current one."""
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "mine.yaml").write_text(MINE)
    (tmp_path / "tasks" / "rows.jsonl").write_text("{}\n")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def test_paths_in_a_task_file_start_at_its_own_folder(folder) -> None:
    written = written_task("../tasks/mine.yaml")
    rows = str(folder / "tasks" / "rows.jsonl")
    assert written.task == "classification"
    assert written.params == {"called": "mine", "path": rows, "columns": {"text": "sentence"}}


def test_parameters_after_a_reference_win_and_their_paths_start_here(folder) -> None:
    (folder / "here" / "test.jsonl").write_text("{}\n")
    reference = "../tasks/mine.yaml:test_path=test.jsonl:columns.label=gold:held_out=0.5"
    params = written_task(reference).params
    assert params["test_path"] == str(folder / "here" / "test.jsonl")
    assert params["columns"] == {"text": "sentence", "label": "gold"}
    assert params["held_out"] == 0.5


def test_only_a_key_and_equals_sign_begin_a_parameter() -> None:
    assert split_reference("a:b=1:c.d=x:y") == ("a", ["b=1", "c.d=x:y"])
    assert split_reference("C:/tasks/a.yaml") == ("C:/tasks/a.yaml", [])


def test_an_experiment_keeps_the_task_and_not_the_file(folder) -> None:
    text = (
        "data:\n  train: {task: tasks/mine.yaml, held_out: 0.5, weight: 2.0}\n"
        "evaluation:\n  tasks: [copying, addition:digits=4, tasks/mine.yaml]\n"
    )
    (folder / "run.yaml").write_text(text)
    experiment = load_experiment(folder / "run.yaml").experiment
    (source,) = experiment.data.train
    assert isinstance(source, TaskSource)
    rows = str(folder / "tasks" / "rows.jsonl")
    assert (source.task, source.weight) == ("classification", 2.0)
    assert source.params == {
        "called": "mine", "path": rows, "columns": {"text": "sentence"}, "held_out": 0.5,
    }  # fmt: skip
    plain, addition, mine = experiment.evaluation.tasks
    assert plain == "copying"
    assert isinstance(addition, TaskAsked)
    assert (addition.task, addition.params) == ("addition", {"digits": 4})
    assert isinstance(mine, TaskAsked)
    assert mine.params["called"] == "mine"
    (folder / "tasks" / "mine.yaml").unlink()
    (folder / "again.yaml").write_text(dump_experiment(experiment))
    assert load_experiment(folder / "again.yaml").experiment == experiment


def test_a_json_file_is_a_task_of_big_bench(folder) -> None:
    (folder / "here" / "sort.json").write_text("{}")
    written = written_task("sort.json:ask_for=choice")
    path = str(folder / "here" / "sort.json")
    assert (written.task, written.params) == ("bigbench", {"path": path, "ask_for": "choice"})


def test_a_task_of_the_harness_is_recognised_and_not_read(folder) -> None:
    path = folder / "here" / "harness.yaml"
    path.write_text(HARNESS)
    assert is_harness_file(path)
    path.write_text("include: other.yaml\ntask: some\nprocess_results: !function own.right\n")
    assert is_harness_file(path)
    path.write_text("task: some\nprompt: 'how: !function x'\n# doc_to_text: !function x\n")
    assert not is_harness_file(path)
    path.write_text("task: some\noutput_type: generate_until\ninclude: other.yaml\n")
    assert is_harness_file(path)
    assert not is_harness_file(folder / "tasks" / "mine.yaml")
    assert written_task("harness.yaml").task == str(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("path: x\n", r"bad\.yaml:1: not a task file: it says `task:`"),
        ("[1]\n", r"bad\.yaml:1: not a task file"),
        ("task: classification\n\npath: gone.jsonl\n", r"bad\.yaml:3: path: no such file"),
        ("task: a\ntask: b\n", r"bad\.yaml:2: the key `task` stands already"),
        ("task: !!python/object:os.system x\n", r"bad\.yaml:1: tags are not read"),
    ],
)
def test_a_malformed_task_file_is_named_with_its_line(folder, content, reason: str) -> None:
    (folder / "here" / "bad.yaml").write_text(content)
    with pytest.raises(RequestError, match=reason):
        written_task("bad.yaml")
    (folder / "here" / "run.yaml").write_text("data: {train: {task: bad.yaml}}\n")
    with pytest.raises(RequestError, match=reason):
        load_experiment("run.yaml")


def test_a_task_file_that_is_not_there_is_named_where_it_was_asked_for(folder) -> None:
    with pytest.raises(RequestError, match=r"no such task file: .*gone\.yaml"):
        written_task("gone.yaml")
    (folder / "here" / "run.yaml").write_text("data:\n  train:\n    task: gone.yaml\n")
    with pytest.raises(RequestError, match=r"run\.yaml:3: data\.train\.task: no such task file"):
        load_experiment("run.yaml")


def test_an_old_run_can_be_looked_at_when_its_task_file_has_gone(folder) -> None:
    (folder / "here" / "run.yaml").write_text("data: {train: {task: gone.yaml}}\n")
    (source,) = load_experiment("run.yaml", check_paths=False).experiment.data.train
    assert isinstance(source, TaskSource)


def test_every_shipped_task_says_what_it_is() -> None:
    assert {"clue/afqmc", "gsm8k"} <= set(shipped_tasks())
    for name, path in shipped_tasks().items():
        assert path.read_text(encoding="utf-8").startswith("# "), name
        assert written_task(name).params["called"] in (path.stem, None)
