"""Trials of one kind are trained as one, and are none the worse for it."""

from __future__ import annotations

import random
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from nursery import Nursery, kill
from safetensors.torch import load_file
from sweep_study import Study

from emergectl.config.schema import Experiment
from emergectl.config.sweep import load_sweep
from emergectl.store import checkpoints
from emergectl.store.locate import list_runs
from emergectl.store.run import read_facts
from emergectl.store.status import read_status
from emergectl.sweeps import estimate as estimates
from emergectl.sweeps.ensembles import best_size, candidates, in_words, kind_of
from emergectl.sweeps.estimate import estimate
from emergectl.sweeps.folder import SweepFolder
from emergectl.sweeps.plan import plan_sweep
from emergectl.sweeps.table import sweep_table

PLAIN: dict[str, Any] = {
    "model": {"family": "gpt2", "size": "10k"},
    "data": {"train": {"task": "addition", "digits": 2}},
    "train": {"steps": 10},
}


def kind(**parts: dict[str, Any]) -> str | None:
    plain = {name: {**PLAIN.get(name, {}), **value} for name, value in parts.items()}
    return kind_of(Experiment.model_validate({**PLAIN, **plain}))


@pytest.mark.parametrize(
    "part",
    [
        {"optimizer": {"lr": 0.1, "weight_decay": 0.5, "betas": [0.5, 0.6]}},
        {"data": {"train": {"task": "addition", "digits": 2, "examples": 50}}},
    ],
)
def test_trials_go_together_that_differ_in_rates_or_data(part: dict[str, Any]) -> None:
    assert kind(**part) == kind() is not None


@pytest.mark.parametrize(
    "part",
    [
        {"model": {"size": "30k"}},
        {"train": {"steps": 11}},
        {"data": {"seq_len": 99}},
        {"optimizer": {"eps": 1e-6}},
        {"schedule": {"warmup_steps": 3}},
    ],
)
def test_other_trials_do_not(part: dict[str, Any]) -> None:
    assert kind(**part) not in (kind(), None)


@pytest.mark.parametrize(
    "part",
    [
        {"model": {"dropout": 0.1}},
        {"optimizer": {"name": "muon"}},
        {"train": {"steps": 10, "compile": True}},
        {"train": {"steps": None, "minutes": 1}},
        {"train": {"steps": 10, "micro_batch_size": 4}},
    ],
)
def test_some_go_with_none(part: dict[str, Any]) -> None:
    assert kind(**part) is None


def test_the_size_with_the_most_tokens_is_taken_if_it_gains_enough() -> None:
    assert candidates(20) == [8, 20]
    assert candidates(500) == [8, 32, 128]
    assert best_size({1: 100.0, 8: 400.0, 32: 390.0}) == 8
    assert best_size({1: 100.0, 8: 104.0}) == 1
    assert in_words({8: 400.0, 1: 100.0}).startswith("ensembles of 8 (")
    assert in_words({8: 101.0, 1: 100.0}).startswith("one trial at a time (")


def weights_of(root: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Trial → its last weights."""
    found = {}
    for run in list_runs(root, half_made=True):
        assert read_status(run).state == "done"
        manifest, _ = checkpoints.newest(run / "checkpoints")
        assert manifest is not None
        found[read_facts(run)["trial"]] = load_file(manifest.path / "model.safetensors")
    assert len(found) == len(list_runs(root))
    return found


def assert_same_study(root: Path, expected: Path) -> None:
    ours, theirs = weights_of(root), weights_of(expected)
    assert ours.keys() == theirs.keys()
    for trial, weights in theirs.items():
        for name, weight in weights.items():
            torch.testing.assert_close(ours[trial][name], weight, rtol=1e-4, atol=1e-5)
    tables = []
    for place in (root, expected):
        folder = SweepFolder(place, "tiny")
        tables.append(sweep_table(folder, folder.read_plan()))
    (header, rows), (other_header, other_rows) = tables
    assert header == other_header
    assert len(rows) == len(other_rows) > 0
    for row, other in zip(rows, other_rows, strict=True):
        for own, value in zip(row, other, strict=True):
            assert own == (pytest.approx(value, rel=1e-4) if isinstance(value, float) else value)


VARIES = "seeds: 6\ngrid: {optimizer.lr: [1e-3, 2e-3]}"


@pytest.mark.parametrize("ensemble", ["auto", pytest.param(5, marks=pytest.mark.long)])
def test_a_study_in_ensembles_is_the_study_one_by_one(
    ensemble: object, nursery: Nursery, study: Study, tmp_path: Path
) -> None:
    alone, together = study(VARIES, name="a.yaml"), study(VARIES, name="b.yaml", ensemble=ensemble)
    roots = tmp_path / "alone", tmp_path / "together"
    for sweep, root in zip((alone, together), roots, strict=True):
        ended = nursery.run("sweep", sweep, "--workers", 2, "--runs-dir", root)
        assert ended.code == 0, ended.said
    assert ("tokens/s of a worker by members" in ended.stderr) == (ensemble == "auto")
    assert_same_study(roots[1], roots[0])


@pytest.mark.long
def test_a_killed_study_of_ensembles_goes_on_with_every_member(
    nursery: Nursery, study: Study, tmp_path: Path
) -> None:
    steps = 40
    plain, packed = (
        study(VARIES, name=f"{name}.yaml", ensemble=ensemble, steps=steps)
        for name, ensemble in (("a", "'off'"), ("b", 6))
    )
    assert nursery.run("sweep", plain, "--runs-dir", tmp_path / "plain").code == 0
    root, source = tmp_path / "killed", random.Random(1)
    for _ in range(3):
        started = nursery.start("sweep", packed, "--workers", 2, "--runs-dir", root)
        while not any(root.glob("*/checkpoints/step-*")) and not started.has_ended():
            time.sleep(0.01)
        time.sleep(source.uniform(0.0, 0.3))
        for pid in started.workers()[:1]:
            kill(pid)
        time.sleep(0.1)
        started.kill_all()
        started.wait()
    ended = nursery.run("sweep", packed, "--workers", 2, "--runs-dir", root)
    assert ended.code == 0, ended.said
    assert_same_study(root, tmp_path / "plain")


def test_a_trial_that_breaks_leaves_its_pack(
    nursery: Nursery, study: Study, tmp_path: Path
) -> None:
    sweep = study("grid: {optimizer.lr: [1e-3, 1e30, 2e-3]}", ensemble=3)
    ended = nursery.run("sweep", sweep, "--workers", 1, "--runs-dir", tmp_path / "runs")
    assert ended.code == 3, ended.said
    states = sorted(read_status(run).state for run in list_runs(tmp_path / "runs"))
    assert states == ["done", "done", "failed"]


def test_a_dry_run_counts_on_what_ensembles_gain(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = {
        **{"parameters": 10, "non_embedding_parameters": 5, "rows_per_epoch": 4},
        **{"tokens_per_step": 32, "flops_per_step": 64.0, "step_seconds": 2.0},
        **{"evaluation_seconds": 0.0, "prepare_seconds": 0.0, "device": "cpu"},
    }
    weighed: list[list[int]] = []

    class ToldCrew:
        """A crew whose one worker has measured: eight as one make four times the tokens."""

        def __init__(self, *_: object) -> None:
            self.said: list[dict[str, Any]] = [{"ready": True}]

        def start(self, _: object) -> Any:
            def weigh(_: object, sizes: list[int]) -> None:
                weighed.append(sizes)
                self.said.append({"weighed": [[1, 100.0], [8, 400.0]]})

            return SimpleNamespace(weigh=weigh, log=None)

        def listen(self, _: float) -> list[tuple[None, dict[str, Any]]]:
            return [(None, self.said.pop(0))]

        def end(self) -> None:
            """Nobody is there."""

    monkeypatch.setattr(estimates, "Crew", ToldCrew)
    monkeypatch.setattr(estimates, "_measure", lambda shapes, *_: [(0, measured) for _ in shapes])
    trials = plan_sweep(load_sweep(study("seeds: 16", steps=10))).trials
    seconds = {
        wish: estimate(trials, workers=2, logs=tmp_path, ensemble=wish).seconds  # type: ignore[arg-type]
        for wish in ("off", "auto", 8)
    }
    assert seconds == {"off": 16 * 20 / 2, "auto": 16 * 20 / 2 / 4, 8: 16 * 20 / 2 / 4}
    assert weighed == [[8], [8]]
