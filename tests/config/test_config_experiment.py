"""Experiments loaded, anchored, written and hashed."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from emergectl.config.experiment import dump_experiment, experiment_hash, load_experiment
from emergectl.config.reader import parse_yaml
from emergectl.config.schema import Experiment, TaskAsked
from emergectl.errors import RequestError


def write(folder: Path, text: str) -> Path:
    file = folder / "e.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def experiment(**fields: Any) -> Experiment:
    return Experiment.model_validate({"data": {"train": {"task": "copying"}}, **fields})


def test_a_relative_path_starts_at_the_folder_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "文本.txt").write_text("x")
    file = write(tmp_path / "configs", "data: {train: {path: ../文本.txt}}")
    monkeypatch.chdir("/")
    loaded = load_experiment(file).experiment
    assert loaded.data.train[0].path == str(tmp_path / "文本.txt")


def test_a_relative_path_of_an_override_starts_at_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "mine.txt").write_text("x")
    file = write(tmp_path / "configs", "data: {train: {path: theirs.txt}}")
    monkeypatch.chdir(tmp_path)
    loaded = load_experiment(file, ["data.train.path=mine.txt"]).experiment
    assert loaded.data.train[0].path == str(tmp_path / "mine.txt")


def test_globs_folders_and_urls_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("x")
    url = "https://example.org/a.txt"
    file = write(
        tmp_path, f"data: {{train: [{{path: texts}}, {{path: 'texts/*.txt'}}, {{path: '{url}'}}]}}"
    )
    paths = [source.path for source in load_experiment(file).experiment.data.train]
    assert paths == [str(tmp_path / "texts"), str(tmp_path / "texts/*.txt"), url]


@pytest.mark.parametrize("path", ["none.txt", "texts/*.txt", "/no/such", "~/no/such/file/here"])
def test_a_source_that_is_not_there_is_an_error_with_its_line(tmp_path: Path, path: str) -> None:
    file = write(
        tmp_path, f"seed: 1\ndata:\n  validation:\n  - path: {path}\n  train: {{hub: x}}\n"
    )
    with pytest.raises(RequestError, match="no such file or folder") as refused:
        load_experiment(file)
    assert str(refused.value).startswith(f"{file}:4: data.validation.0.path: ")


def test_missing_files_can_be_left_unchecked(tmp_path: Path) -> None:
    file = write(tmp_path, "data: {train: {path: gone.txt}}\nmodel: {from: ./gone}\n")
    loaded = load_experiment(file, check_paths=False).experiment
    assert loaded.data.train[0].path == str(tmp_path / "gone.txt")
    assert loaded.model.from_ == str(tmp_path / "gone")


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("gpt2", "gpt2"),
        ("latest", "latest"),
        ("EleutherAI/pythia-14m", "EleutherAI/pythia-14m"),
        ("weights", "{folder}/weights"),
        ("./weights", "{folder}/weights"),
    ],
)
def test_from_is_made_absolute_only_where_it_is_a_path(
    tmp_path: Path, origin: str, expected: str
) -> None:
    (tmp_path / "weights").mkdir()
    text = f"data: {{train: {{task: t}}}}\nmodel: {{from: {origin}}}\ntokenizer: {{from: {origin}}}"
    loaded = load_experiment(write(tmp_path, text)).experiment
    assert loaded.model.from_ == expected.format(folder=tmp_path)
    assert loaded.tokenizer.from_ == expected.format(folder=tmp_path)


@pytest.mark.parametrize("origin", ["./none", "../none", "/no/such", "''"])
def test_a_path_to_start_from_that_is_not_there_is_an_error(tmp_path: Path, origin: str) -> None:
    file = write(tmp_path, f"data: {{train: {{task: t}}}}\nmodel:\n  from: {origin}\n")
    with pytest.raises(RequestError, match=r"e\.yaml:3: model\.from: "):
        load_experiment(file)


@pytest.mark.parametrize("path", ["a\\0b", "\\0"])
def test_nul_in_a_path_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(RequestError, match=r"data\.train\.path: a path cannot hold NUL"):
        load_experiment(write(tmp_path, f'data: {{train: {{path: "{path}"}}}}'))


def test_what_is_loaded_runs_again_as_it_stands_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text.txt").write_text("x")
    first = load_experiment(
        write(tmp_path, "data: {train: {path: text.txt}}"), ["optimizer.lr=1e-4", "name=again"]
    ).experiment
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    file = write(elsewhere, dump_experiment(first))
    monkeypatch.chdir("/")
    assert load_experiment(file).experiment == first


AWKWARD = ["no", "1e-4", "010", "~", "", "null", "0x1F", "1_0", "=", "<<", ".nan", "- a", "a: b"]
AWKWARD += ["#", "'", '"', "春眠不覺曉", "a\nb\n", " a ", "\t", "\x1b[31m", "\x85", "\u2028", "\0"]
AWKWARD += [
    "*a",
    "&a",
    "!x",
    "%",
    "@",
    "`",
    "{",
    "[",
    "]",
    ",",
    "?",
    "-",
    "---",
    "...",
    "😀",
    "1e999",
]
texts = st.sampled_from(AWKWARD) | st.text(st.characters(exclude_categories=["Cs"]))
keys = texts.filter(bool)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(
    notes=texts,
    labels=st.lists(st.integers() | texts, max_size=4),
    config=st.dictionaries(keys, values, max_size=4),
    columns=st.dictionaries(keys, texts, max_size=3),
    lr=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
)
def test_any_experiment_that_is_written_loads_back_equal(
    notes: str, labels: list, config: dict, columns: dict, lr: float
) -> None:
    written = experiment(
        notes=notes,
        objective={"name": "multiclass", "labels": labels},
        model={"config": config},
        data={"train": [{"hub": "x", "columns": columns}]},
        optimizer={"lr": lr},
    )
    read = parse_yaml(dump_experiment(written), name="f").data
    assert Experiment.model_validate(read) == written


def test_what_is_written_means_the_same_to_other_yaml_readers() -> None:
    written = experiment(notes="no", optimizer={"lr": 1e-5, "betas": [0.9, 0.999]})
    read = yaml.safe_load(dump_experiment(written))
    assert Experiment.model_validate(read) == written


def test_the_hash_does_not_depend_on_name_notes_or_spelling() -> None:
    plain = experiment()
    assert experiment_hash(experiment(name="other", notes="for people")) == experiment_hash(plain)
    assert experiment_hash(experiment(seed=0, optimizer={"lr": 0.001})) == experiment_hash(plain)


def test_the_hash_changes_with_every_field_that_decides_the_outcome() -> None:
    hashes = {
        experiment_hash(e)
        for e in [
            experiment(),
            experiment(seed=1),
            experiment(optimizer={"lr": 1e-4}),
            experiment(model={"config": {"n_layer": 1}}),
            experiment(data={"train": {"task": "copying", "length": 3}}),
        ]
    }
    assert len(hashes) == 5
    assert all(len(h) == 64 for h in hashes)


def test_evaluating_needs_no_data_and_is_written_down_runnable(tmp_path: Path) -> None:
    text = "stage: evaluate\nmodel: {from: my-run@all}\n"
    tasks = "evaluation: {tasks: [copying, {task: addition, digits: 4}], shots: 2, by: [digits]}"
    experiment = load_experiment(write(tmp_path, text + tasks)).experiment
    asked = experiment.evaluation.tasks
    assert asked[0] == "copying"
    assert isinstance(asked[1], TaskAsked)
    assert (asked[1].task, asked[1].params) == ("addition", {"digits": 4})
    again = tmp_path / "again.yaml"
    again.write_text(dump_experiment(experiment))
    assert load_experiment(again).experiment == experiment


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("evaluation: {tasks: a}", "`stage: evaluate` needs `model.from`"),
        ("model: {from: x}", "`stage: evaluate` needs `evaluation.tasks`"),
        ("model: {from: x}\nevaluation: {tasks: a}\ndata: {train: {task: a}}", "nothing is learnt"),
    ],
)
def test_evaluating_says_what_it_lacks(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(RequestError, match=reason):
        load_experiment(write(tmp_path, "stage: evaluate\n" + text))


def test_what_only_an_evaluation_asks_is_refused_of_training(tmp_path: Path) -> None:
    text = "data: {train: {task: t}}\nevaluation: {tasks: t, shots: 1}"
    with pytest.raises(RequestError, match=r"`evaluation.shots` belongs to `stage: evaluate`"):
        load_experiment(write(tmp_path, text))


def test_a_file_cannot_allow_code_and_whoever_runs_it_can(tmp_path: Path) -> None:
    plain = "stage: evaluate\nmodel: {from: some/model}\nevaluation: {tasks: [addition]"
    file = write(tmp_path, plain + ", allow_code: true}")
    with pytest.raises(RequestError, match=r"e\.yaml:3: evaluation\.allow_code: a file cannot"):
        load_experiment(file)
    file = write(tmp_path, plain + "}")
    loaded = load_experiment(file, ["evaluation.allow_code=true"])
    assert loaded.experiment.evaluation.allow_code
    # What was allowed once can still be looked at.
    kept = write(tmp_path, dump_experiment(loaded.experiment))
    assert load_experiment(kept, check_paths=False).experiment.evaluation.allow_code
