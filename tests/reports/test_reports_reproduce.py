"""Published results measured again: bands that are held, and that can be missed."""

import json
import os
from pathlib import Path

import pytest

from emergectl.cli.main import main
from emergectl.cli.reproduce import EXPERIMENT_NAMES
from emergectl.reports.reproduce import EXPERIMENTS, Reproduced, first_below, measure_again

DATA = Path(
    os.environ.get("EMERGECTL_DATA") or Path(__file__).parents[3] / "shared" / "data"
).absolute()


def no_training(*_: object) -> Path:
    raise AssertionError("nothing is to be trained")


def published(name: str) -> dict[str, Reproduced]:
    """The rows of an experiment on data files; skipped where these are absent."""
    for file in EXPERIMENTS[name].files:
        if not (DATA / file.path).exists():
            pytest.skip(f"no {DATA / file.path}: set EMERGECTL_DATA to the folder of real data")
    return {row.what: row for row in measure_again(name, data=DATA, train=no_training)}


def test_the_command_offers_every_experiment() -> None:
    assert set(EXPERIMENT_NAMES) == set(EXPERIMENTS)


@pytest.mark.parametrize(("ours", "inside"), [(1.0, True), (0.8, False), (None, False)])
def test_a_value_outside_its_band_or_missing_is_not_inside(
    ours: float | None, inside: bool
) -> None:
    assert Reproduced("x", 1.0, ours, 0.9, 1.1).inside is inside


def test_gpt2_has_its_published_parameters_and_flops(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "gpt2-flops", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["ours"] for row in rows] == [124_337_664, 291_648_307_200]


def test_the_published_tails_are_found() -> None:
    assert all(row.inside for row in published("powerlaw-tails").values())


def test_lambada_appears_between_steps_512_and_1000_and_mmlu_does_not() -> None:
    rows = published("pythia-lambada")
    assert sum("step at chance" in what for what in rows) == 6
    assert all(row.inside for what, row in rows.items() if "chance" in what)
    assert all(row.inside for what, row in rows.items() if what.startswith("MMLU"))
    assert rows["LAMBADA, 12b, step 143,000"].inside


@pytest.mark.long
def test_the_refit_of_chinchilla_agrees_to_three_digits_and_its_errors_to_15_percent() -> None:
    assert all(row.inside for row in published("chinchilla-refit").values())


@pytest.mark.parametrize("name", ["shakespeare-char", "chinchilla-refit"])
def test_without_its_data_one_line_says_which_file_from_where_and_its_licence(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in ([], ["--data", str(tmp_path)]):
        assert main(["reproduce", name, *arguments]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert EXPERIMENTS[name].files[0].path in line
        assert "github.com" in line
        assert "MIT" in line


def test_a_value_outside_its_band_ends_with_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("emergectl.reports.reproduce.GPT2_PARAMETERS", 124_000_000)
    assert main(["reproduce", "gpt2-flops"]) == 1
    assert "1 of 2 outside" in capsys.readouterr().err


def test_an_unknown_experiment_lists_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "nothing"]) == 2
    assert "grokking" in capsys.readouterr().err


def test_the_step_is_the_first_below_the_level(tmp_path: Path) -> None:
    lines = [{"step": s, "loss": v} for s, v in [(0, 5.0), (10, 3.0), (20, 4.5), (30, 0.5)]]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    assert first_below(tmp_path, "loss", 4.0) == 10
    assert first_below(tmp_path, "loss", 0.1) is None
