"""Rank agreement of runs, against scipy and by hand; what is left out is said."""

import json
import re
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from emergectl.analysis.order import DRAWS, agreement, kendalls_w, spearman
from emergectl.cli.main import main

RNG = np.random.default_rng(0)


def known_places(places: object, spread: float = 0.0) -> np.ndarray:
    """Draws of places [runs, abilities] that are known to `spread` decades."""
    at = np.asarray(places, float)[:, None, :]
    return at + spread * RNG.standard_normal((at.shape[0], DRAWS, at.shape[2]))


def test_rho_is_that_of_scipy_with_ties_and_without() -> None:
    for first, second in [(RNG.normal(size=9), RNG.normal(size=9)), ([1, 2, 2, 5], [3, 3, 1, 4])]:
        ours = spearman(np.array(first), np.array(second))
        assert ours == pytest.approx(stats.spearmanr(first, second).statistic)


def test_w_is_kendalls_by_hand_and_by_the_mean_of_all_pairs() -> None:
    # Rank sums 4, 9, 8, 9 about 7.5: S = 17; 12 · 17 / (9 · (64 − 4)).
    assert kendalls_w(np.array([[1, 4, 2, 3], [2, 1, 3, 4], [1, 4, 3, 2]])) == pytest.approx(
        12 * 17 / (9 * 60)
    )
    places = RNG.normal(size=(5, 8))
    rhos = stats.spearmanr(places, axis=1).statistic[np.triu_indices(5, 1)]
    assert 5 * kendalls_w(places) - 1 == pytest.approx(4 * rhos.mean())


def test_p_is_that_of_all_permutations() -> None:
    first, second = np.arange(6.0), np.array([1.0, 0, 3, 2, 5, 4])
    # Rho falls with Σd², which is 6 here.
    exact = np.mean([((first - p) ** 2).sum() <= 6 for p in permutations(second)])
    found = agreement(known_places([first, second]), ["a", "b"], np.random.default_rng(1))
    assert found.p == pytest.approx(exact, abs=0.02)
    assert found.pairs[0].p == found.p


def test_an_interval_is_wide_of_few_abilities_and_wider_of_uncertain_places() -> None:
    first = np.arange(12.0)
    second = first + np.tile([1.5, -1.5], 6)

    def width(count: int, spread: float) -> float:
        places = known_places([first[:count], second[:count]], spread)
        rho = agreement(places, ["a", "b"], RNG).rho
        return rho.high - rho.low

    assert width(12, 0.0) < width(12, 1.0)
    assert width(12, 0.0) < width(5, 0.0)
    same = agreement(known_places([first[:5], first[:5]]), ["a", "b"], RNG).rho
    assert (same.value, same.high) == (1, 1)
    assert same.low < 0.9  # five in one order are no proof of one order


def test_an_ability_without_a_place_in_one_run_counts_in_the_others() -> None:
    places = RNG.normal(size=(3, 5))
    places[2, 0] = np.nan
    found = agreement(known_places(places), ["a", "b", "c"], RNG)
    assert [pair.abilities for pair in found.pairs] == [5, 4, 4]
    assert found.complete == 4
    with pytest.raises(ValueError, match="no two runs share 4"):
        agreement(known_places(places[1:, :4]), ["b", "c"], RNG)


def ladder(path: Path, onsets: dict[str, list[float]]) -> Path:
    """A table: abilities that rise within .4 decades at their onsets (decades), a seed for each."""
    lines = ["task,metric,params,seed,n,value"]
    for task, places in onsets.items():
        for seed, place in enumerate(places):
            for x in np.linspace(6, 9, 8):
                p = 0.8 / (1 + np.exp(-(x - place) / 0.1))
                lines.append(f"{task},acc,{10**x},{seed},400,{round(p * 400) / 400}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_seeds_of_one_order_agree_and_what_never_rises_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onsets = {"a": [6.6, 6.6], "b": [7.1, 7.0], "c": [7.6, 7.7], "d": [8.2, 8.3], "never": [12, 12]}
    file = ladder(tmp_path / "t.csv", onsets)
    assert main(["analyze", "order", str(file), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["runs"], said["rho"]["value"]) == (["seed 0", "seed 1"], 1)
    assert {(one["ability"], one["run"]) for one in said["left_out"]} == {
        ("never", "seed 0"),
        ("never", "seed 1"),
    }
    first = next(p for p in said["places"] if p["ability"] == "a")
    assert first["position"]["low"] < 10**6.6 < first["position"]["high"]


def test_one_run_has_no_order_to_agree_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = ladder(tmp_path / "t.csv", {"a": [7.0]})
    assert main(["analyze", "order", str(file)]) == 2
    assert "one run" in capsys.readouterr().err


def test_pythias_sizes_learn_sciq_then_lambada(
    published: Callable[[str], Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = published("pythia_v1_zeroshot/pythia_v1_zeroshot.csv").read_text()
    tasks = re.compile(r"suite|.*(1\.4b|12b),standard.*(sciq|lambada_openai|piqa|arc_easy),acc,")
    file = tmp_path / "four.csv"
    file.write_text("".join(line for line in text.splitlines(True) if tasks.match(line)))
    options = ["--x", "step"]
    assert main(["analyze", "order", str(file), *options, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    at = {(p["run"], p["ability"]): p["position"]["value"] for p in said["places"]}
    assert all(at[run, "sciq"] < at[run, "lambada_openai"] for run in said["runs"])
