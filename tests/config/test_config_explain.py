"""Errors of an experiment: file, line, key, what was expected, what was found."""

from pathlib import Path

import pytest

from emergectl.config.experiment import load_experiment
from emergectl.errors import ExperimentError, RequestError

BASE = "data: {train: {task: copying}}\n"


@pytest.fixture
def errors_of(tmp_path: Path):
    """The error lines of an experiment's text, without the folder."""

    def errors(text: str, *overrides: str) -> list[str]:
        file = tmp_path / "e.yaml"
        file.write_text(text, encoding="utf-8")
        with pytest.raises(RequestError) as refused:
            load_experiment(file, overrides)
        return str(refused.value).replace(f"{tmp_path}/", "").splitlines()

    return errors


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("optimizer: {lr: fast}", "e.yaml:2: optimizer.lr: expected a number, got text `fast`"),
        ("optimizer: {lr: -1}", "e.yaml:2: optimizer.lr: expected more than 0, got -1"),
        ("seed: true", "e.yaml:2: seed: expected a whole number, got true"),
        (
            "train: {steps: 1e4}",
            "e.yaml:2: train.steps: expected a whole number, got 10000.0; write 10000",
        ),
        (
            "train: {deterministic: no}",
            "e.yaml:2: train.deterministic: expected true or false, got text `no`; write false",
        ),
        (
            "optimizer: {name: adam}",
            "e.yaml:2: optimizer.name: expected `adamw`, `muon` or `sgd`, got text `adam`; "
            "did you mean `adamw`?",
        ),
        (
            "evaluation: {every: often}",
            "e.yaml:2: evaluation.every: expected a whole number, `log` or `epoch` or a list, "
            "got text `often`",
        ),
        (
            "evaluation:\n  every:\n  - 1\n  - -3",
            "e.yaml:5: evaluation.every.1: expected at least 0, got -3",
        ),
        (
            "optimizer: {betas: [0.9]}",
            "e.yaml:2: optimizer.betas.1: expected one more item, got a list of 1",
        ),
        ("model: [1]", "e.yaml:2: model: expected keys with values, got a list of 1"),
        ("train: {steps: 1, tokens: 2}", "e.yaml:2: train: one budget, not steps and tokens"),
        (
            "optimizer:\n  lr: 1\n  nmae: sgd",
            "e.yaml:4: optimizer.nmae: unknown key; did you mean `name`?",
        ),
        ("lr: 1", "e.yaml:2: lr: unknown key; did you mean `optimizer.lr`?"),
        (
            "snapshots: {zzz: 1}",
            "e.yaml:2: snapshots.zzz: unknown key; known here: every",
        ),
        (
            "tracking: [wandb, {name: tensorbord}]",
            "e.yaml:2: tracking.1.name: expected `tensorboard`, `wandb`, `mlflow` or `trackio`, "
            "got text `tensorbord`; did you mean `tensorboard`?",
        ),
    ],
)
def test_an_error_is_one_line_with_line_key_and_what_was_expected(
    errors_of, text: str, line: str
) -> None:
    assert errors_of(f"{BASE}{text}\n") == [line]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("data:\n  train: {path: x, hub: y}\n", "e.yaml:2: data.train: a source is exactly one of"),
        ("data:\n  train:\n    path: 3\n", "e.yaml:3: data.train.path: expected text, got 3"),
        (
            "data:\n  train:\n  - {task: a}\n  - task: b\n    weight: 0\n",
            "e.yaml:5: data.train.1.weight: expected more than 0, got 0",
        ),
        (
            "data:\n  train:\n  - path: x\n    columns: {text: 1}\n",
            "e.yaml:4: data.train.0.columns.text: expected text, got 1",
        ),
        (
            "data:\n  train:\n  - path: x\n    wieght: 1\n",
            "e.yaml:4: data.train.0.wieght: unknown key; did you mean `weight`?",
        ),
        ("data: {train: 3}\n", "e.yaml:1: data.train: expected a list, got 3"),
        ("data: {train: []}\n", "e.yaml:1: data.train: expected a list of 1 or more, got an empty"),
        ("seed: 1\n", "e.yaml:1: data: missing; give it, with its keys train, validation,"),
        ("[1]\n", "e.yaml:1: expected keys with values, got a list of 1"),
    ],
)
def test_an_error_in_a_source_names_the_source_as_it_is_written(
    errors_of, text: str, line: str
) -> None:
    (found,) = errors_of(text)
    assert found.startswith(line)


def test_all_errors_are_told_at_once_in_the_order_of_the_file(errors_of) -> None:
    found = errors_of("zzz: 1\nseed: x\ntrain:\n  steps: y\ndata: {train: {task: t}}\nyyy: 2\n")
    assert [line.split(":")[1] for line in found] == ["1", "2", "4", "6"]


def test_a_flood_of_errors_is_cut_short(errors_of) -> None:
    found = errors_of(BASE + "".join(f"k{i}: 1\n" for i in range(1000)))
    assert len(found) == 21
    assert found[-1] == "and 980 more errors"


def test_an_error_in_an_override_names_the_override(errors_of) -> None:
    assert errors_of(BASE, "optimizer.lr=fast") == [
        "override `optimizer.lr=fast`: optimizer.lr: expected a number, got text `fast`"
    ]


def test_values_and_keys_are_shown_without_what_a_terminal_would_obey(errors_of) -> None:
    (found,) = errors_of(BASE + '"\\e[31m\\n": 1\n')
    assert "\\x1b[31m\\n: unknown key" in found
    (found,) = errors_of(BASE + 'name: "\\e]0;owned\\a"\n')
    assert found.isprintable()


def test_long_values_are_cut(errors_of) -> None:
    (found,) = errors_of(f"{BASE}stage: {'x' * 500_000}\n")
    assert len(found) < 200


def test_an_error_found_later_is_located_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "e.yaml"
    file.write_text(f"{BASE}model:\n  family: gtp2\n")
    loaded = load_experiment(file, ["model.size=2m"])
    error = loaded.locate(ExperimentError("model.family", "no such family"))
    assert str(error) == f"{file}:3: model.family: no such family"
    error = loaded.locate(ExperimentError("model.size", "no such rung"))
    assert str(error) == "override `model.size=2m`: model.size: no such rung"
    error = loaded.locate(ExperimentError("data.train.0.digits", "missing"))
    assert str(error) == f"{file}:1: data.train.digits: missing"
