"""The shipped experiments: valid, made of our own data, and learning what they promise."""

import json
import runpy
from pathlib import Path

import pytest

from emergectl.cli.main import main
from emergectl.config.experiment import load_experiment
from emergectl.config.shipped import shipped_configs

CONFIGS = Path(__file__).parents[1] / "configs"

# What an experiment that needs no network has to reach: (metric, at least or at most).
REACHES = {
    "pretrain/text_clm": ("validation/loss", "<", 0.9),
    "pretrain/text_mlm": ("validation/loss", "<", 4.0),
    "finetune/sentiment": ("validation/accuracy", ">", 0.9),
    "finetune/nli": ("validation/accuracy", ">", 0.9),
    "finetune/intents": ("validation/accuracy", ">", 0.9),
    "finetune/tags": ("validation/f1", ">", 0.9),
    "finetune/answers": ("validation/exact_match", ">", 0.25),
    "finetune/translation": ("phrases/exact_match", ">", 0.95),
    "finetune/translation_t5": ("phrases/exact_match", ">", 0.95),
    "reproduce/grokking": ("modular/loss", "<", 0.01),
    "reproduce/induction-heads": ("copying/loss", "<", 0.35),
}


@pytest.mark.parametrize("name", shipped_configs())
def test_a_shipped_experiment_is_valid_in_every_respect(name: str) -> None:
    assert main(["validate", str(shipped_configs()[name])]) == 0


def test_the_small_data_is_what_its_grammars_make() -> None:
    made = runpy.run_path(str(CONFIGS / "data" / "make_data.py"))
    files = dict(made["files"]())
    beside = {path.name for path in (CONFIGS / "data").iterdir() if path.suffix != ".py"}
    assert beside == {"README.md", *files}
    for name, content in files.items():
        assert (CONFIGS / "data" / name).read_text(encoding="utf-8") == content, name


def test_a_copied_experiment_still_finds_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["configs", "copy", "finetune/nli", "mine.yaml"]) == 0
    source = load_experiment(tmp_path / "mine.yaml").experiment.data.train[0]
    assert source.path == str(CONFIGS / "data" / "pairs.tsv")  # type: ignore[union-attr]


@pytest.mark.long
@pytest.mark.parametrize("name", REACHES)
def test_a_shipped_experiment_learns_as_it_stands(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMERGECTL_CACHE", str(tmp_path / "cache"))
    run = tmp_path / "run"
    file = str(shipped_configs()[name])
    assert main(["train", file, "--json", "--run-dir", str(run), "train.threads=1"]) == 0
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    metric, direction, bound = REACHES[name]
    values = [line[metric] for line in lines if metric in line]
    assert min(values) < bound if direction == "<" else max(values) > bound
