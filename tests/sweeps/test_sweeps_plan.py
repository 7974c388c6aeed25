"""The plan: which trials there are, what identifies them, how a ladder scales."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emergectl.config.experiment import experiment_hash
from emergectl.config.schema import ModelSpec
from emergectl.config.sweep import load_sweep
from emergectl.config.sweep_schema import LadderSpec
from emergectl.config.training_schema import BUDGETS
from emergectl.errors import RequestError
from emergectl.models.families import FAMILIES
from emergectl.models.family_config import family_config
from emergectl.models.ladder import shape_of_size
from emergectl.sweeps.plan import Plan, ladder_rate, plan_sweep

BASE = """\
name: study
experiment:
  seed: 5
  model: {family: llama, size: 10k}
  data: {train: {task: copying, vocab_size: 16, segment: 4, repeats: 2, length: 9}, seq_len: 8}
"""

Planned = Callable[..., Plan]


@pytest.fixture
def plan(tmp_path: Path) -> Planned:
    def planned(text: str, *overrides: str) -> Plan:
        path = tmp_path / "study.yaml"
        path.write_text(BASE + text)
        return plan_sweep(load_sweep(path, overrides))

    return planned


def values(plan: Plan, *keys: str) -> list[tuple[Any, ...]]:
    return [tuple(trial.values[key] for key in keys) for trial in plan.trials]


def test_a_grid_is_every_combination_and_seeds_vary_slowest(plan: Planned) -> None:
    found = plan("grid: {optimizer.lr: [1e-3, 1e-2], train.steps: 1..2}\nseeds: 2")
    assert values(found, "seed", "optimizer.lr", "train.steps") == [
        (seed, lr, steps) for seed in (5, 6) for lr in (1e-3, 1e-2) for steps in (1, 2)
    ]


def test_what_is_zipped_goes_together(plan: Planned) -> None:
    found = plan("zip: {train.steps: [1, 2, 3], optimizer.lr: [0.1, 0.2, 0.3]}")
    assert values(found, "train.steps", "optimizer.lr") == [(1, 0.1), (2, 0.2), (3, 0.3)]


def test_include_adds_and_exclude_leaves_out(plan: Planned) -> None:
    grid = "grid: {train.steps: [1, 2], optimizer.lr: [0.1, 0.2]}\n"
    found = plan(
        grid
        + "include: [{train.steps: 9}]\nexclude: [{train.steps: 1}, {optimizer.lr: 0.1}]\nseeds: 1"
    )
    assert [(t.values["train.steps"], t.values.get("optimizer.lr")) for t in found.trials] == [
        (2, 0.2),
        (9, None),
    ]


def test_an_exclude_that_fits_nothing_is_a_slip(plan: Planned) -> None:
    with pytest.raises(RequestError, match=r"study.yaml:7: exclude.0: fits no trial"):
        plan("grid: {train.steps: [1]}\nexclude: [{train.steps: 2}]")


def test_a_trial_is_known_by_its_experiment_whatever_its_place_or_the_sweeps_name(
    plan: Planned,
) -> None:
    one = plan("grid: {train.steps: [1, 2], optimizer.lr: [0.1]}")
    two = plan("grid: {optimizer.lr: [0.1], train.steps: [3, 2]}", "name=other")
    assert len({t.id for t in one.trials} & {t.id for t in two.trials}) == 1
    assert all(trial.id == experiment_hash(trial.experiment) for trial in one.trials)


def test_the_same_experiment_twice_is_one_trial(plan: Planned) -> None:
    found = plan("grid: {optimizer.lr: [0.001, 1e-3]}")
    assert (found.size, found.doubled) == (1, 1)


def test_a_ladder_scales_data_by_parameters_and_learning_rate_by_width(plan: Planned) -> None:
    found = plan(
        "ladder: {sizes: [10k, 100k, 1m], tokens_per_parameter: 20, lr: {at: 100k, lr: 4e-3}}"
    )
    assert values(found, "model.size", "train.tokens") == [
        ("10k", 2e5),
        ("100k", 2e6),
        ("1m", 2e7),
    ]
    for trial in found.trials:
        width = shape_of_size(trial.values["model.size"]).width
        expected = 4e-3 * shape_of_size("100k").width / width
        assert trial.experiment.optimizer.lr == pytest.approx(expected, rel=1e-5)
    assert found.trials[1].experiment.optimizer.lr == 4e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_a_ladders_learning_rates_follow_the_widths_that_the_models_have(family: str) -> None:
    ladder = LadderSpec.model_validate({"sizes": ["30k"], "lr": {"at": "300k", "lr": 4e-3}})

    def width(size: str) -> int:
        spec = ModelSpec(family=family, size=size)
        config = family_config(spec, vocab_size=300, seq_len=16, pad_token_id=0)
        return int(config.hidden_size)

    for size in ("30k", "300k", "10m", "42m"):
        expected = 4e-3 * width("300k") / width(size)
        assert ladder_rate(ladder, size, family) == pytest.approx(expected, rel=1e-5)


def test_an_isoflop_grid_is_every_size_at_every_budget(plan: Planned) -> None:
    found = plan("isoflop: {budgets: {log: [1e12, 1e14], points: 3}, sizes: [10k, 30k]}")
    assert values(found, "model.size", "train.flops") == [
        (size, flops) for size in ("10k", "30k") for flops in (1e12, 1e13, 1e14)
    ]


@pytest.mark.parametrize(
    ("swept", "key"),
    [
        ("ladder: {sizes: [10k, 30k], tokens_per_parameter: 20}", "tokens"),
        ("isoflop: {budgets: [1e12], sizes: [10k]}", "flops"),
        ("grid: {train.epochs: [1, 2]}", "epochs"),
    ],
)
def test_a_swept_budget_takes_the_place_of_the_experiments_own(
    tmp_path: Path, swept: str, key: str
) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(BASE.replace("  seed: 5", "  seed: 5\n  train: {steps: 7}") + swept)
    for trial in plan_sweep(load_sweep(path)).trials:
        assert [b for b in BUDGETS if getattr(trial.experiment.train, b) is not None] == [key]


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("train.steps=3", "`train.steps=3`: the sweep sets another budget, in `ladder`"),
        ("train.tokens=3", "`train.tokens=3`: the sweep sets it, in `ladder`"),
        ("model.size=10k", "`model.size=10k`: the sweep sets it, in `ladder`"),
    ],
)
def test_an_override_that_the_sweep_would_undo_is_refused(
    plan: Planned, override: str, told: str
) -> None:
    with pytest.raises(RequestError, match=f"^.*{told}$"):
        plan("ladder: {sizes: [10k, 30k], tokens_per_parameter: 20}", override)


def test_an_error_of_many_trials_is_told_once(plan: Planned) -> None:
    with pytest.raises(RequestError) as told:
        plan("grid: {optimizer.lrr: [1, 2], model.size: [10k, 20k]}\nseeds: 50")
    lines = str(told.value).splitlines()
    assert len(lines) == 1
    assert "study.yaml:6: optimizer.lrr: unknown key; did you mean `lr`?" in lines[0]
    with pytest.raises(RequestError, match=r"study.yaml:6: model.size: expected a number of"):
        plan("grid: {model.size: [10k, 20q]}")


def test_a_sweep_of_evaluations_is_refused(plan: Planned) -> None:
    evaluate = ["experiment={stage: evaluate, model: {from: x}, evaluation: {tasks: [copying]}}"]
    with pytest.raises(RequestError, match="stage: a sweep trains"):
        plan("seeds: 2", *evaluate)


def test_a_sweep_without_end_is_refused_at_once(plan: Planned) -> None:
    with pytest.raises(RequestError, match="at most 100,000"):
        plan("grid: {seed: 0..9999, train.steps: 1..9999}")


def test_the_space_of_a_search_is_checked_at_its_ends(plan: Planned) -> None:
    search = "search: {metric: validation/loss, trials: 3, space: {optimizer.lr: %s}}"
    assert plan(search % "{log: [1e-4, 1e-1]}").size == 3
    with pytest.raises(RequestError, match=r"optimizer\.lr: expected more than 0"):
        plan(search % "{linear: [-1, 1]}")


def ran(plan: Plan) -> list[tuple[float, float]]:
    """(lr, weight decay) of the experiments that would run."""
    specs = [trial.experiment.optimizer for trial in plan.trials]
    return sorted((spec.lr, spec.weight_decay) for spec in specs)


SECTION = "optimizer: [{lr: 0.001}, {lr: 0.003}]"
LEAF = "optimizer.weight_decay: [0.0, 0.1]"


@pytest.mark.parametrize(
    "text",
    [
        f"grid: {{{SECTION}, {LEAF}}}",
        f"grid: {{{LEAF}, {SECTION}}}",
        f"grid: {{{LEAF}}}\nzip: [{{{SECTION}}}]",
        f"grid: {{{SECTION}}}\nzip: [{{{LEAF}}}]",
    ],
)
def test_a_section_and_what_lies_in_it_multiply_whichever_stands_first(
    text: str, plan: Planned
) -> None:
    found = plan(text)
    assert ran(found) == [(0.001, 0.0), (0.001, 0.1), (0.003, 0.0), (0.003, 0.1)]
    for trial in found.trials:
        spec = trial.experiment.optimizer
        assert trial.values["optimizer.lr"] == spec.lr
        assert trial.values["optimizer.weight_decay"] == spec.weight_decay
        assert set(trial.values) == {"optimizer.lr", "optimizer.weight_decay"}


def test_a_ladder_scales_inside_a_section_that_says_nothing_of_it(plan: Planned) -> None:
    found = plan(
        "grid: {model: [{family: llama}, {family: gpt2}], optimizer: [{weight_decay: 0.5}]}\n"
        "ladder: {sizes: [10k, 100k], lr: {at: 100k, lr: 4e-3}}"
    )
    specs = [(t.experiment.model, t.experiment.optimizer) for t in found.trials]
    assert {(model.family, model.size) for model, _ in specs} == {
        (family, size) for family in ("llama", "gpt2") for size in ("10k", "100k")
    }
    assert {optimizer.weight_decay for _, optimizer in specs} == {0.5}
    assert [o.lr for m, o in specs if m.size == "100k"] == [4e-3, 4e-3]


def test_an_included_section_is_scaled_but_for_what_it_sets_itself(plan: Planned) -> None:
    ladder = "ladder: {sizes: [10k], tokens_per_parameter: 20, lr: {at: 10k, lr: 4e-3}}\n"
    found = plan(
        ladder
        + "include: [{model: {family: llama, size: 30k}}, {model.size: 30k, optimizer: {lr: 0.5}}]"
    )
    rung_30k, own_rate = found.trials[1].experiment, found.trials[2].experiment
    width = {size: shape_of_size(size).width for size in ("10k", "30k")}
    assert rung_30k.train.tokens == own_rate.train.tokens == 600_000
    assert rung_30k.optimizer.lr == pytest.approx(4e-3 * width["10k"] / width["30k"], rel=1e-5)
    assert own_rate.optimizer.lr == 0.5


def test_a_source_of_its_own_joins_a_parameter_of_it(plan: Planned) -> None:
    task = "{task: copying, vocab_size: 16, segment: 4, repeats: 2}"
    found = plan(f"grid: {{data.train.0.length: [9, 12], data.train: [{task}]}}")
    assert [trial.experiment.data.train[0].model_extra["length"] for trial in found.trials] == [  # type: ignore[index]
        9,
        12,
    ]


def test_an_exclude_fits_what_stands_in_a_section(plan: Planned) -> None:
    found = plan(f"grid: {{{SECTION}, {LEAF}}}\nexclude: [{{optimizer.lr: 0.001}}]")
    assert ran(found) == [(0.003, 0.0), (0.003, 0.1)]


@pytest.mark.parametrize(
    ("text", "overrides"),
    [
        ("grid: {optimizer: [{lr: 1, weight_decay: 0}], optimizer.weight_decay: [0]}", []),
        ("grid: {train.early_stopping: [null], train.early_stopping.patience: [1]}", []),
        ("grid: {data.train: [{task: copying}], data.train.0.task: [copying]}", []),
        ("zip: [{optimizer: [{lr: 1}]}, {optimizer.lr: [2]}]", []),
        ("include: [{optimizer: {lr: 1}, optimizer.lr: 2}]", []),
        ("grid: {optimizer: [{lr: 1}]}\nladder: {sizes: [10k], lr: {at: 10k, lr: 1}}", []),
        ("grid: {train: [{flops: 1e12}]}\nisoflop: {sizes: [10k], budgets: [1e12]}", []),
        ("grid: {model: [{size: 10k}]}\nladder: {sizes: [10k]}", []),
        (
            "search: {metric: a/b, trials: 1, space: {optimizer: [{lr: 1}], "
            "optimizer.lr: {log: [1, 2]}}}",
            [],
        ),
        ("grid: {optimizer.lr: [1]}", ["grid.optimizer=[{lr: 1}]"]),
        ("grid: {optimizer: [{name: adamw}]}", ["optimizer.lr=1"]),
        ("grid: {optimizer.lr: [1]}", ["optimizer={lr: 1}"]),
        ("ladder: {sizes: [10k], lr: {at: 10k, lr: 1}}", ["optimizer={lr: 1}"]),
        ("isoflop: {sizes: [10k], budgets: [1e12]}", ["train={tokens: 1000}"]),
    ],
)
def test_what_sets_one_field_twice_is_refused(
    text: str, overrides: list[str], plan: Planned
) -> None:
    with pytest.raises(RequestError) as told:
        plan(text, *overrides)
    (line,) = str(told.value).splitlines()
    assert "both set" in line or "leaves no room" in line or "the sweep sets" in line


def test_an_override_of_a_section_joins_what_is_swept_in_it(plan: Planned) -> None:
    assert ran(plan(f"grid: {{{LEAF}}}", "optimizer={lr: 0.5}")) == [(0.5, 0.0), (0.5, 0.1)]


def test_what_a_swept_section_drops_of_the_experiments_own_is_told(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    own = "  optimizer: {name: adamw, lr: 0.5, eps: 1e-6}\n"
    path.write_text(f"{BASE}{own}grid: {{{SECTION}}}\ninclude: [{{optimizer: {{lr: 1}}}}]")
    assert plan_sweep(load_sweep(path)).dropped == (
        "grid: `optimizer` takes the place of the experiment's own, "
        "which sets name and eps as well",
        "include.0: `optimizer` takes the place of the experiment's own, "
        "which sets name and eps as well",
    )
