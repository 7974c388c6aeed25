"""Published results measured again: bands that are held, and that can be missed."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emergectl.cli.main import main
from emergectl.cli.reproduce import EXPERIMENT_NAMES
from emergectl.config.shipped import shipped_folder
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


RNG = np.random.default_rng(0)


def write_data_decide(folder: Path, small_noise: float) -> None:
    """A table with the columns of the published one: 25 recipes, three seeds, two checkpoints."""
    rows = []
    for recipe in range(25):
        true = 0.3 + 0.004 * recipe
        for size, seeds, noise in (
            ("150M", ("default", "small aux 2", "small aux 3"), small_noise),
            ("1B", ("default", "large aux 2", "large aux 3"), 1e-6),
        ):
            for seed in seeds:
                for step in (1000, 2000):
                    value = true + noise * RNG.normal()
                    metrics = json.dumps({"primary_metric": value, "acc_raw": 0.1})
                    cells = (size, f"recipe {recipe}", "olmes_10_macro_avg", step, seed, metrics)
                    rows.append(cells)
    columns = zip(
        ("params", "data", "task", "step", "seed", "metrics"), zip(*rows, strict=True), strict=True
    )
    pq.write_table(pa.table(dict(columns)), folder / "macro_avg-00000-of-00001.parquet")


def test_data_decides_table_is_decided_seed_by_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_data_decide(tmp_path, small_noise=0.02)  # some 80% of 300 pairs right
    assert main(["reproduce", "datadecide", "--data", str(tmp_path), "--json"]) == 0
    recipes, right = json.loads(capsys.readouterr().out)
    assert (recipes["ours"], right["inside"]) == (25, True)
    table = tmp_path / "macro_avg-00000-of-00001.parquet"
    columns = ["--columns", str(shipped_folder() / "tables" / "datadecide.yaml"), "--json"]
    assert main(["analyze", "noise", str(table), *columns]) == 0
    first = json.loads(capsys.readouterr().out)["benchmarks"][0]
    assert first["decisions"]["accuracy"]["value"] == pytest.approx(right["ours"])
    write_data_decide(tmp_path, small_noise=1.0)
    assert main(["reproduce", "datadecide", "--data", str(tmp_path)]) == 1


def test_polypythias_outliers_are_found_and_files_in_wrong_folders_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def write(seed: int, called: str, value: float, time: str = "2024-08-19T14-48-12") -> None:
        folder = tmp_path / "polypythias-evals" / f"pythia-410m-seed{seed}" / "step143000"
        folder = folder / f"EleutherAI__{called}"
        folder.mkdir(parents=True, exist_ok=True)
        results = {"lambada_openai": {"alias": "lambada_openai", "acc,none": value}}
        args = f"pretrained=EleutherAI/{called},revision=step143000,dtype=float"
        data = {"results": results, "config": {"model": "hf", "model_args": args}}
        (folder / f"results_{time}.json").write_text(json.dumps(data))

    for seed in range(10):
        value = {3: 0.2, 4: 0.3}.get(seed, 0.5 + seed / 1000)
        write(seed, f"pythia-410m-seed{seed}" if seed else "pythia-410m", value)
    write(8, "pythia-410m", 0.01, "2024-08-15T00-00-00")  # another model's, in the folder of seed 8
    write(7, "pythia-410m-seed7", 0.01, "2024-09-10T00-00-00")  # later than the first
    assert main(["reproduce", "polypythias", "--data", str(tmp_path), "--json"]) == 0
    seeds, lowest = json.loads(capsys.readouterr().out)
    assert (seeds["ours"], lowest["ours"]) == (10, 1)
    assert "lambada_openai" in seeds["what"]
    columns = ["--columns", str(shipped_folder() / "tables" / "polypythias.yaml")]
    run = tmp_path / "polypythias-evals" / "pythia-410m-seed7"
    assert main(["analyze", "emergence", str(run), "--x", "step", *columns, "--json"]) == 0
    (ability,) = json.loads(capsys.readouterr().out)["abilities"]
    assert (ability["scales"], ability["items"]) == ([143000], [5153])
    assert ability["values"] == pytest.approx([0.507])


@pytest.mark.parametrize("name", ["datadecide", "polypythias"])
def test_without_a_public_table_one_line_says_where_it_is(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", name, "--data", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "huggingface.co/datasets/" in line
