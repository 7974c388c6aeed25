"""Signal and noise of benchmarks, by the paper's formula, scipy and hand-made tables."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from emergectl.analysis.noise import accuracy_interval, judge_noise
from emergectl.analysis.table import Table, TableRow
from emergectl.cli.main import main

RNG = np.random.default_rng(0)


def row(
    task: str, recipe: str, params: float, step: float, value: float, seed: str = ""
) -> TableRow:
    model = f"{recipe}-{params:g}"
    return TableRow(task, value, "acc", model, recipe, seed, params, step=step)


def test_ratio_is_the_papers_with_a_standard_deviation_of_n_minus_1() -> None:
    # Heineman et al.: (max |m_j − m_k| / mean m) / (std of the last checkpoints / their mean).
    values = {
        "a": [0.1, 0.30, 0.34, 0.32],
        "b": [0.2, 0.41, 0.40, 0.45],
        "c": [0.1, 0.5, 0.5, 0.56],
    }
    table = Table([row("t", r, 1e8, k, v) for r, vs in values.items() for k, v in enumerate(vs)])
    (found,) = judge_noise(table, last=3).benchmarks
    finals, tails = np.array([0.32, 0.45, 0.56]), np.array([v[1:] for v in values.values()])
    signal = np.ptp(finals) / finals.mean()
    noise = np.sqrt(tails.var(axis=1, ddof=1).mean()) / tails.mean()
    assert found.signal is not None
    assert found.noise is not None
    assert found.ratio is not None
    assert found.signal.value == pytest.approx(signal)
    assert found.noise.value == pytest.approx(noise)
    assert found.ratio.value == pytest.approx(signal / noise)
    # The interval of a standard deviation of 6 degrees of freedom, by the χ² of any table.
    assert found.noise.high / found.noise.value == pytest.approx(np.sqrt(6 / 1.2373), rel=0.05)
    assert (found.models, found.scale, found.decisions) == (3, 1e8, None)


def test_two_models_differ_by_students_t_and_noise_alone_gives_a_ratio_too() -> None:
    tails = {"a": [0.50, 0.52, 0.51], "b": [0.53, 0.55, 0.56]}
    table = Table([row("t", r, 1e8, k, v) for r, vs in tails.items() for k, v in enumerate(vs)])
    (found,) = judge_noise(table, last=3).benchmarks
    deviation = np.sqrt(np.mean([np.var(v, ddof=1) for v in tails.values()]))
    t = (0.56 - 0.51) / deviation / np.sqrt(2)
    assert found.p == pytest.approx(2 * stats.t.sf(t, 4), abs=0.02)
    many = [
        row("t", f"r{i}", 1e8, k, 0.5 + 0.01 * RNG.normal()) for i in range(25) for k in range(5)
    ]
    (none,) = judge_noise(Table(many)).benchmarks
    assert none.p is not None
    assert none.alone is not None
    assert none.ratio is not None
    assert none.p > 0.01
    assert 3.5 < none.alone < 4.5  # 3.93 is the expected range of 25 normal numbers
    assert none.ratio.low < 1


def test_right_decisions_are_those_of_kendalls_tau_and_seeds_decide_one_by_one() -> None:
    recipes = [f"r{i}" for i in range(9)]
    large = RNG.permutation(9) / 10
    small = {seed: RNG.permutation(9) / 10 for seed in ("0", "1")}
    rows = [row("t", r, 1e9, 1, v, s) for r, v in zip(recipes, large, strict=True) for s in "01"]
    for seed, values in small.items():
        rows += [row("t", r, 1e8, 1, v, seed) for r, v in zip(recipes, values, strict=True)]
    found, target = judge_noise(Table(rows)).benchmarks
    taus = [stats.kendalltau(values, large).statistic for values in small.values()]
    assert found.decisions is not None
    assert target.decisions is None
    assert found.decisions.accuracy.value == pytest.approx((np.mean(taus) + 1) / 2)
    assert (found.decisions.target, found.decisions.recipes, found.ratio) == (1e9, 9, None)


def test_a_tie_is_half_a_decision() -> None:
    rows = [row("t", r, 1e9, 1, v) for r, v in zip("abc", [0.1, 0.2, 0.3], strict=True)]
    rows += [row("t", r, 1e8, 1, v) for r, v in zip("abc", [0.1, 0.1, 0.3], strict=True)]
    decisions = judge_noise(Table(rows)).benchmarks[0].decisions
    assert decisions is not None
    assert decisions.accuracy.value == pytest.approx(2.5 / 3)


def test_an_interval_of_right_decisions_is_never_a_point() -> None:
    all_right = accuracy_interval(1.0, np.ones(10))
    assert (all_right.value, all_right.high) == (1, pytest.approx(1))
    assert 0.5 < all_right.low < 0.9


def test_the_command_reads_groups_and_correlates_ratio_with_right_decisions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["task,metric,mix,size,step,value"]
    for task in range(6):
        for mix in range(8):
            for size in (1e8, 1e9):
                for step in range(1, 6):
                    value = 0.3 + 0.01 * task * mix + 0.02 * RNG.normal()
                    rows.append(f"t{task},acc,m{mix},{size},{step},{value}")
    file = tmp_path / "t.csv"
    file.write_text("\n".join(rows) + "\n")
    options = ["--group", "mix", "--params", "size"]
    assert main(["analyze", "noise", str(file), *options, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert len(said["benchmarks"]) == 12
    (told,) = said["predicts"]
    assert told["tasks"] == 6
    assert told["correlation"]["value"] > 0.5
    assert main(["analyze", "noise", str(file), *options]) == 0
    out = capsys.readouterr()
    header, *lines = out.out.splitlines()
    assert len(lines) == 12
    assert "right" in header
    assert "correlate by" in out.err


def test_one_model_alone_has_no_signal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "t.csv"
    file.write_text("task,model,step,value\nt,a,1,0.1\nt,a,2,0.2\n")
    assert main(["analyze", "noise", str(file)]) == 2
    assert "--model" in capsys.readouterr().err
