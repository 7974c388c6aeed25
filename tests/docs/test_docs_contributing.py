"""CONTRIBUTING.md's package, whole: installed as it stands, and used by the commands it shows."""

import json
import shlex
import tomllib
from math import exp
from pathlib import Path

import pytest
from documents import REPOSITORY, blocks, commands
from other_packages import emergectl, install

PAGE = REPOSITORY / "CONTRIBUTING.md"


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(where packages are, where the commands ran): all commands of the page, in their order."""
    folder = tmp_path_factory.mktemp("contributing")
    files = {block.file: block.text for block in blocks("python", PAGE) if block.file}
    (project,) = (b.text for b in blocks("toml", PAGE) if b.file == "pyproject.toml")
    (experiment,) = (block for block in blocks("yaml", PAGE) if block.file)
    described = tomllib.loads(project)["project"]
    packages = folder / "site"
    install(
        packages,
        described["name"],
        files={"rhymes/__init__.py": "", **files},
        entry_points=described["entry-points"],
    )
    (folder / str(experiment.file)).write_text(experiment.text)
    for block in blocks("sh", PAGE):
        for line, _ in commands(block):
            words = shlex.split(line)[1:]
            emergectl(*words, packages=packages, folder=folder)
    return packages, folder


def test_each_module_of_the_page_is_added_by_one_entry_point() -> None:
    files = [block.file for block in blocks("python", PAGE)]
    (project,) = (b.text for b in blocks("toml", PAGE) if b.file == "pyproject.toml")
    groups = tomllib.loads(project)["project"]["entry-points"]
    targets = [target for points in groups.values() for target in points.values()]
    assert sorted(files) == sorted(
        f"{target.partition(':')[0].replace('.', '/')}.py" for target in targets
    )


def test_the_task_is_learnt_by_the_objective_with_the_family_and_asked_for_the_metric(
    used: tuple[Path, Path],
) -> None:
    _, folder = used
    (run,) = (path for path in (folder / "runs").iterdir() if path.name.count("-counting-"))
    facts = json.loads((run / "run.json").read_text())
    # Two embedding tables aside, a rung of 10k: the family has sizes.
    assert facts["non_embedding_parameters"] == pytest.approx(10_000, rel=0.25)
    config = json.loads(next(run.glob("checkpoints/*/config.json")).read_text())
    assert config["model_type"] == "gpt_neox"
    log = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    first = next(line["loss"] for line in log if "loss" in line)
    held_out = next(line["counting/loss"] for line in log if "counting/loss" in line)
    # Focal loss is cross-entropy times (1 − p)²; an untrained model has p of about one in twenty.
    assert 0.8 * held_out < first < held_out
    items = next((run / "evals").rglob("items.jsonl")).read_text().splitlines()
    assert len(items) == 20
    asked = [json.loads(line) for line in items]
    assert {str(len(one["item"])) for one in asked} == {one["target"] for one in asked}
    results = json.loads(next((run / "evals").rglob("results.json")).read_text())
    metric = next(m for m in results["metrics"] if m["metric"] == "answer_probability")
    likely = [exp(one["target_score"]["logprob"]) for one in asked]
    assert metric["value"] == pytest.approx(sum(likely) / len(likely))
    assert metric["low"] < metric["value"] < metric["high"]


def test_asking_it_needs_the_package(used: tuple[Path, Path], tmp_path: Path) -> None:
    _, folder = used
    said = emergectl("validate", "counting.yaml", packages=tmp_path, folder=folder, code=2).stderr
    assert "counting.yaml:" in said
    assert "`counting`" in said or "`focal`" in said
