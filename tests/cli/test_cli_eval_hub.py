"""Revisions of a model on the hub as steps and seeds: the hub's own answers stood in for, and its
local cache as it lies on disk. Nothing here asks the network."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import GitRefInfo, GitRefs

from emergectl.cli.main import main
from emergectl.cli.tables import TableSource, read_source

EXPERIMENT = """
name: sums
model: {family: gpt2, size: 10k}
data: {train: {task: addition, digits: 2, examples: 500}}
train: {steps: 4, batch_size: 32, threads: 1, compile: false, precision: fp32}
evaluation: {every: 4}
snapshots: {every: [2, 4]}
"""
NAME = "org/tiny-10m"
ASK = ["--tasks", "addition:digits=2:test_items=20", "--json"]


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A model after 2 and 4 steps, as somebody else's directories."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "e.yaml").write_text(EXPERIMENT)
    run = folder / "runs" / "sums"
    assert main(["train", str(folder / "e.yaml"), "--json", "--run-dir", str(run)]) == 0
    paths = sorted((run / "snapshots").iterdir())
    for path in paths:
        (path / "manifest.json").unlink()
    return paths


@pytest.fixture
def hub(
    states: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., list[str]]:
    """Makes the hub have a model of such branches and tags; returns what was fetched of it."""
    monkeypatch.setenv("EMERGECTL_RUNS", str(tmp_path / "runs"))

    def have(*branches: str, tags: tuple[str, ...] = ()) -> list[str]:
        fetched: list[str] = []

        def refs(_: object, name: str) -> GitRefs:
            assert name == NAME
            kinds = {"heads": branches, "tags": tags}
            heads, marked = (
                [GitRefInfo(one, f"refs/{kind}/{one}", "0" * 40) for one in ones]
                for kind, ones in kinds.items()
            )
            return GitRefs(branches=heads, converts=[], tags=marked)

        def download(name: str, *, revision: str, allow_patterns: list[str]) -> str:
            assert (name, "*.bin" in allow_patterns) == (NAME, False)
            fetched.append(revision)
            return str(states[len(fetched) % 2])

        monkeypatch.setattr("huggingface_hub.HfApi.list_repo_refs", refs)
        monkeypatch.setattr("huggingface_hub.snapshot_download", download)
        return fetched

    return have


def rows_of(run: Path) -> list[tuple[object, ...]]:
    rows = read_source(TableSource([str(run)])).rows
    return [(r.step, r.tokens, r.seed, r.model, r.params) for r in rows if r.metric == "logprob"]


def runs_in(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "runs").glob("2*"))


def test_branches_and_tags_that_fit_are_the_steps_of_one_run(
    hub: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetched = hub("main", "step1000-tokens4B", "step20", tags=("step3", "v1"))
    assert main(["eval", f"hub:{NAME}@step*", *ASK]) == 0
    out = capsys.readouterr()
    assert fetched == ["step3", "step20", "step1000-tokens4B"]  # by step, each once
    assert "step3, step20, step1000-tokens4B (3 in all)" in out.err
    assert json.loads(out.out)[0]["model"] == f"{NAME}@step3"
    (run,) = runs_in(tmp_path)
    assert rows_of(run) == [
        (3, None, "0", NAME, 1e7),
        (20, None, "0", NAME, 1e7),
        (1000, 4e9, "0", NAME, 1e7),
    ]
    assert main(["eval", f"hub:{NAME}@step*", *ASK]) == 0
    assert len(fetched) == 3  # what is there is not asked again
    assert main(["analyze", "emergence", str(run), "--x", "step", "--json"]) == 0


def test_seeds_in_revisions_are_seeds_of_the_rows(
    hub: Callable[..., list[str]], tmp_path: Path
) -> None:
    hub("step5-seed-default", "step5-seed-small-aux-2", "step9-seed-default", "other")
    assert main(["eval", f"hub:{NAME}@step5-*", *ASK]) == 0
    (run,) = runs_in(tmp_path)
    assert [row[:3] for row in rows_of(run)] == [
        (5, None, "default"),
        (5, None, "small-aux-2"),
    ]


def test_an_experiment_names_revisions_too(hub: Callable[..., list[str]], tmp_path: Path) -> None:
    hub("seed1", "seed2", "main")
    file = tmp_path / "e.yaml"
    file.write_text(
        f"name: asked\nstage: evaluate\nmodel: {{from: 'hub:{NAME}@seed*'}}\n"
        "evaluation: {tasks: [{task: addition, digits: 2, test_items: 20}]}\n"
    )
    assert main(["train", str(file), "--json"]) == 0
    (run,) = runs_in(tmp_path)
    assert [row[2] for row in rows_of(run)] == ["1", "2"]


def test_what_does_not_fit_and_what_cannot_be_asked_is_one_line(
    hub: Callable[..., list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hub("main", "v1")
    assert main(["eval", f"hub:{NAME}@step*", *ASK]) == 2
    assert "there are main, v1" in capsys.readouterr().err

    def unreachable(*_: object) -> None:
        raise RuntimeError("[Errno -2] Name or service not known")

    monkeypatch.setattr("huggingface_hub.HfApi.list_repo_refs", unreachable)
    assert main(["eval", f"hub:{NAME}@step*", *ASK]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "Name or service not known" in line
    assert "HF_HUB_OFFLINE" in line
    assert main(["eval", f"hub:{NAME}@step*", *ASK, "--checkpoint", "all"]) == 2


def test_offline_the_local_cache_tells_its_revisions(
    states: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    repo = cache / f"models--{NAME.replace('/', '--')}"
    (repo / "refs").mkdir(parents=True)
    for number, state in enumerate(states):
        commit = str(number) * 40
        shutil.copytree(state, repo / "snapshots" / commit)
        (repo / "refs" / f"step{10 ** (number + 1)}").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setenv("EMERGECTL_RUNS", str(tmp_path / "runs"))
    assert main(["eval", f"hub:{NAME}@step*", *ASK]) == 0
    (run,) = runs_in(tmp_path)
    assert [row[0] for row in rows_of(run)] == [10, 100]
