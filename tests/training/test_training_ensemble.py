"""Runs trained as one ensemble are the runs that they would have been alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from emergectl.config.schema import Experiment
from emergectl.errors import PreemptedError, TrainingError
from emergectl.runtime.listeners import ListenerGroup
from emergectl.runtime.ranks import join_ranks
from emergectl.runtime.stop import StopRequest
from emergectl.store import checkpoints
from emergectl.store.measurements import Measurement, read_measurements
from emergectl.store.run import Run, create_run, open_run
from emergectl.store.status import read_status
from emergectl.training import ensemble
from emergectl.training.session import Session, run_session, run_together

SHAPES: dict[str, dict[str, Any]] = {
    "gpt2": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
    "llama": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
    },
    "attention_only": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
}


def experiment(family: str = "gpt2", *, steps: int = 30, **fields: Any) -> Experiment:
    """Additions of two digits, whose examples differ in length and are learnt by the answer."""
    plain: dict[str, Any] = {
        "model": {"family": family, "config": SHAPES[family]},
        "data": {"train": {"task": "addition", "digits": 2}, "seq_len": 24},
        "train": {
            "steps": steps,
            "batch_size": 8,
            "device": "cpu",
            "precision": "fp32",
            "compile": False,
            "log_every": 5,
            "threads": 1,
        },
        "optimizer": {"lr": 1e-3, "weight_decay": 0.1},
        "schedule": {"name": "cosine", "warmup_steps": 5},
        "evaluation": {"every": 20, "batches": 1},
        "snapshots": {"every": 20},
        "checkpoints": {"every": 10, "minutes": None},
    }
    for path, value in fields.items():
        part = plain
        *parents, last = path.split("__")
        for parent in parents:
            part = part.setdefault(parent, {})
        part[last] = value
    return Experiment.model_validate(plain)


def session_of(run: Run, stop: StopRequest | None = None) -> Session:
    return Session(
        run,
        join_ranks(
            Experiment.model_validate(
                {"model": {"family": "gpt2", "size": "10k"}, "data": {"train": {"path": "x"}}}
            ).train
        ),
        ListenerGroup([]),
        stop or StopRequest(),
    )


def alone(experiment: Experiment, path: Path) -> Run:
    run = create_run(path.parent, experiment, argv=[], run_dir=path)
    with run:
        run_session(experiment, session_of(run))
    return run


def together(
    experiments: Sequence[Experiment], folder: Path, *, stops: Sequence[StopRequest] | None = None
) -> tuple[list[Path], list[Exception | None]]:
    """The run directories of experiments trained together, made or gone on with; their errors."""
    folder.mkdir(exist_ok=True)
    paths = [folder / str(number) for number in range(len(experiments))]
    runs = [
        open_run(path) if path.exists() else create_run(folder, each, argv=[], run_dir=path)
        for path, each in zip(paths, experiments, strict=True)
    ]
    errors: list[Exception | None] = [None] * len(runs)
    order: list[int] = []

    def ended(number: int, error: Exception | None) -> None:
        errors[number] = error
        order.append(number)

    stops = stops or [StopRequest() for _ in runs]
    requests = [
        (each, session_of(run, stop))
        for each, run, stop in zip(experiments, runs, stops, strict=True)
    ]
    run_together(requests, ended=ended)
    assert sorted(order) == list(range(len(runs)))
    for run in runs:
        run.close()
    return paths, errors


@pytest.fixture
def stacked_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many members each step had that was taken by a stack."""
    seen: list[int] = []
    take = ensemble.take_steps

    def watched(stack: Any, jobs: Any) -> Any:
        seen.append(len(jobs))
        return take(stack, jobs)

    monkeypatch.setattr(ensemble, "take_steps", watched)
    return seen


def last_weights(run: Path) -> dict[str, torch.Tensor]:
    manifest, _ = checkpoints.newest(run / "checkpoints")
    assert manifest is not None
    return load_file(manifest.path / "model.safetensors")


def lines(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def facts_of(one: Measurement) -> tuple[object, ...]:
    return one.step, one.task, one.metric, one.what, one.source, one.n, one.chance, one.items


def assert_same_weights(found: Path, expected: Path) -> None:
    ours, theirs = last_weights(found), last_weights(expected)
    assert ours.keys() == theirs.keys()
    for name in theirs:
        own, other = (_that_matter(weights[name], name) for weights in (ours, theirs))
        assert (own - other).norm() <= 1e-4 * other.norm(), name


def _that_matter(weight: torch.Tensor, name: str) -> torch.Tensor:
    """A bias of the keys adds the same to all scores of a softmax: its gradient is rounding."""
    if name.endswith(("c_attn.bias", "qkv.bias")):
        query, _, value = weight.chunk(3)
        return torch.cat([query, value])
    return weight


MEMBERS: list[dict[str, Any]] = [
    {"seed": 0},
    {"seed": 1, "optimizer__lr": 5e-4},
    {"seed": 2, "optimizer__weight_decay": 0.0, "optimizer__betas": (0.8, 0.9)},
    {"seed": 0, "data__train": {"task": "addition", "digits": 2, "examples": 100}},
]


@pytest.mark.parametrize(
    "family",
    [each if each == "llama" else pytest.param(each, marks=pytest.mark.long) for each in SHAPES],
)
def test_after_200_steps_each_member_has_the_weights_of_its_solo_run(
    family: str, tmp_path: Path, stacked_steps: list[int]
) -> None:
    experiments = [experiment(family, steps=200, **member) for member in MEMBERS]
    paths, errors = together(experiments, tmp_path / "together")
    assert errors == [None] * 4
    assert stacked_steps == [4] * 200
    for number, each in enumerate(experiments):
        solo = alone(each, tmp_path / f"alone-{number}").path
        assert_same_weights(paths[number], solo)
        ours, theirs = lines(paths[number]), lines(solo)
        assert [line.keys() for line in ours] == [line.keys() for line in theirs]
        for own, other in zip(ours, theirs, strict=True):
            for name in own.keys() - {"seconds", "tokens_per_second"}:
                # Of two tokens that are likely alike the last bit decides: one item of eight.
                close = 1 / 8 if name.endswith(("token_accuracy", "exact_match")) else 1e-5
                assert own[name] == pytest.approx(other[name], rel=2e-3, abs=close), name
        ours, theirs = (read_measurements(path) for path in (paths[number], solo))
        assert [facts_of(one) for one in ours] == [facts_of(one) for one in theirs]
        assert {one.step for one in ours} == {0, *range(20, 201, 20)}
        for kind in ("checkpoints", "snapshots"):
            held = [checkpoints.list_steps(path / kind) for path in (paths[number], solo)]
            assert held[0] == held[1] != []


def test_a_member_goes_on_alone_and_alone_ones_go_on_together(
    tmp_path: Path, stacked_steps: list[int]
) -> None:
    class StopAt(StopRequest):
        """Asks to stop at its so many-th look."""

        left = 17

        @property
        def signum(self) -> int | None:
            self.left -= 1
            return 15 if self.left < 0 else None

        @signum.setter
        def signum(self, value: int | None) -> None:
            """There is nothing else to hear."""

    experiments = [experiment(seed=seed, steps=30) for seed in (0, 1)]
    solos = [alone(each, tmp_path / f"alone-{number}") for number, each in enumerate(experiments)]
    stops = [StopAt(), StopAt()]
    paths, errors = together(experiments, tmp_path / "together", stops=stops)
    assert all(isinstance(error, PreemptedError) for error in errors)
    assert {read_status(path).state for path in paths} == {"preempted"}
    steps = {read_status(path).step for path in paths}
    assert len(steps) == 1
    assert 0 < min(steps) < 30
    with open_run(paths[0]) as run:
        run_session(experiments[0], session_of(run))
    assert_same_weights(paths[0], solos[0].path)
    # The other one goes on with a run that starts from nothing, and with one of its own step.
    del stacked_steps[:]
    late, errors = together([*experiments, experiment(seed=2)], tmp_path / "together")
    assert errors == [None] * 3
    assert_same_weights(late[1], solos[1].path)
    assert stacked_steps == []


def test_a_member_that_is_not_finite_is_frozen_and_the_others_go_on(
    tmp_path: Path, stacked_steps: list[int]
) -> None:
    experiments = [
        experiment(seed=0),
        experiment(seed=1, optimizer__lr=1e30),
        experiment(seed=2, optimizer__lr=1e30, train__nan="skip 5"),
        experiment(seed=3),
    ]
    paths, errors = together(experiments, tmp_path / "together")
    assert [type(error) for error in errors] == [type(None), *[TrainingError] * 2, type(None)]
    assert [read_status(path).state for path in paths] == ["done", "failed", "failed", "done"]
    assert (read_status(paths[1]).step or 0) < (read_status(paths[2]).step or 0) < 30
    assert sorted(set(stacked_steps), reverse=True) == [4, 3, 2]
    assert_same_weights(paths[3], alone(experiments[3], tmp_path / "alone").path)


def test_what_cannot_go_together_is_trained_alone(tmp_path: Path, stacked_steps: list[int]) -> None:
    experiments = [
        experiment(seed=0, model__dropout=0.1),
        experiment(seed=1, model__dropout=0.1),
        experiment(seed=2, optimizer__name="sgd"),
        experiment(seed=3, train__batch_size=4),
    ]
    paths, errors = together(experiments, tmp_path / "together")
    assert errors == [None] * 4
    assert stacked_steps == []
    assert_same_weights(paths[1], alone(experiments[1], tmp_path / "alone").path)


def test_without_the_memory_for_an_ensemble_members_go_on_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []

    def full(*_: Any) -> Any:
        taken.append(1)
        if len(taken) == 10:
            raise torch.OutOfMemoryError("no more")
        return take(*_)

    take = ensemble.take_steps
    monkeypatch.setattr(ensemble, "take_steps", full)
    experiments = [experiment(seed=0), experiment(seed=1)]
    paths, errors = together(experiments, tmp_path / "together")
    assert errors == [None, None]
    assert "going on alone" in (paths[1] / "log.txt").read_text()
    assert_same_weights(paths[1], alone(experiments[1], tmp_path / "alone").path)


def test_early_stopping_ends_one_member_alone(tmp_path: Path) -> None:
    experiments = [
        experiment(seed=0, steps=60, evaluation__every=5),
        experiment(
            seed=1,
            steps=60,
            evaluation__every=5,
            optimizer__lr=1e-9,
            train__early_stopping={"patience": 2, "min_delta": 0.5},
        ),
    ]
    paths, errors = together(experiments, tmp_path / "together")
    assert errors == [None, None]
    assert [read_status(path).step for path in paths] == [60, 10]
