"""Whole runs on real data: public text in English and Chinese, other tools' models and tokenizers.

The data is not part of the project: $EMERGECTL_DATA names its folder, else ../shared/data beside
the checkout is looked for, and what is not there is skipped.
"""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from emergectl.cli.main import main
from emergectl.config.shipped import shipped_configs
from emergectl.store.metrics_log import read_metrics

DATA = Path(
    os.environ.get("EMERGECTL_DATA") or Path(__file__).parents[2] / "shared" / "data"
).absolute()


def real(name: str) -> Path:
    """A file or folder of the real data; the test is skipped where it is absent."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"no {path}: set EMERGECTL_DATA to the folder of real data")
    return path


@pytest.fixture(autouse=True)
def _a_place_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EMERGECTL_CACHE", str(tmp_path / "cache"))
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


def trained(name: str, experiment: str, *overrides: str) -> list[dict[str, float]]:
    """Train an experiment (a text, or the name of a shipped one) into the run NAME; its metrics."""
    file = shipped_configs().get(experiment)
    if file is None:
        file = Path(f"{name}.yaml")
        file.write_text(f"name: {name}\n{experiment}", encoding="utf-8")
    arguments = ["train", str(file), *overrides, "train.threads=1", "train.compile=false"]
    assert main([*arguments, "--json", "--run-dir", name]) == 0
    return list(read_metrics(Path(name) / "metrics.jsonl"))


def evaluations(records: list[dict[str, float]], metric: str) -> list[float]:
    return [
        record[f"validation/{metric}"] for record in records if f"validation/{metric}" in record
    ]


def test_training_goes_on_from_a_model_that_another_tool_wrote() -> None:
    origin, text = real("tiny_gpt2_hf"), real("gsm8k/test.jsonl")
    records = trained(
        "onward",
        f"model: {{from: {origin}}}\n"
        f"data: {{train: {{path: {text}, columns: {{text: question}}}}, seq_len: 32}}\n"
        "train: {steps: 20, batch_size: 8}\noptimizer: {lr: 1e-2}\nevaluation: {batches: 4}\n",
    )
    losses = evaluations(records, "loss")
    assert losses[-1] < losses[0] < 4
    step = Path("onward") / "checkpoints" / "step-00000020"
    assert json.loads((step / "config.json").read_text())["n_embd"] == 2


def test_a_bare_vocabulary_of_gpt2_serves_as_tokenizer() -> None:
    tokenizer, text = real("gpt2_tokenizer"), real("us_speeches/inaugural/1793-Washington.txt")
    records = trained(
        "gpt2-tokens",
        f"model: {{family: gpt2, size: 10k}}\ntokenizer: {{from: {tokenizer}}}\n"
        f"data: {{train: {{path: {text}}}, seq_len: 16}}\n"
        "train: {steps: 6, batch_size: 4}\noptimizer: {lr: 1e-2}\nevaluation: {batches: 2}\n",
    )
    losses = evaluations(records, "loss")
    assert losses[-1] < losses[0] == pytest.approx(10.8, abs=0.2)  # ln 50,257


def test_a_bare_vocabulary_of_chinese_bert_serves_for_masked_words() -> None:
    tokenizer, text = real("bert_chinese_vocab"), real("songci/songci.jsonl")
    poems = Path("poems.jsonl")
    lines = text.read_text(encoding="utf-8").splitlines(keepends=True)
    poems.write_text("".join(lines[:200]), encoding="utf-8")
    records = trained(
        "bert-tokens",
        f"model: {{family: bert, size: 10k}}\ntokenizer: {{from: {tokenizer}}}\n"
        "objective: {name: mlm, whole_word: true}\n"
        f"data: {{train: {{path: {poems.absolute()}, columns: {{text: paragraphs}}}}, "
        "seq_len: 32}\n"
        "train: {steps: 20, batch_size: 8}\noptimizer: {lr: 1e-2}\nevaluation: {batches: 4}\n",
    )
    losses = evaluations(records, "loss")
    assert losses[-1] < losses[0]


@pytest.mark.long
def test_characters_of_shakespeare_reach_nanogpts_loss_on_a_cpu() -> None:
    path = real("tiny_shakespeare/input.txt")
    records = trained("shakespeare", "pretrain/shakespeare_char", f"data.train.path={path}")
    assert evaluations(records, "loss")[-1] <= 1.90


@pytest.mark.long
def test_chinese_poems_are_learnt_in_pieces() -> None:
    path = real("songci/songci.jsonl")
    records = trained(
        "songci",
        "pretrain/text_clm",
        f"data.train.path={path}",
        "data.train.columns={text: paragraphs}",
        "data.train.bad_rows=skip",
        "tokenizer.vocab_size=4096",
        "model.size=300k",
        "train.steps=200",
    )
    bits = evaluations(records, "bits_per_byte")
    assert bits[-1] < 0.8 * bits[0]


@pytest.mark.long
@pytest.mark.parametrize("whole_word", ["false", "true"])
def test_masked_words_of_speeches_are_learnt(whole_word: str) -> None:
    path = real("us_speeches/inaugural")
    records = trained(
        "speeches",
        "pretrain/text_mlm",
        f"data.train.path={path}",
        "tokenizer.vocab_size=2048",
        "train.steps=300",
        f"objective.whole_word={whole_word}",
    )
    losses = evaluations(records, "loss")
    assert losses[-1] < losses[0] - 1


@pytest.mark.long
def test_what_was_pretrained_here_is_fine_tuned_and_beats_the_majority() -> None:
    rows = real("banking77/train.csv")
    trained(
        "origin",
        "pretrain/text_clm",
        f"data.train.path={rows}",
        "tokenizer.vocab_size=2048",
        "model.size=300k",
        "train.steps=200",
    )
    records = trained(
        "banking",
        "finetune/intents",
        "model={from: origin}",
        "tokenizer={}",
        f"data.train.path={rows}",
        "data.train.columns.label=category",
        f"data.validation={{path: {real('banking77/test.csv')}, columns: {{label: category}}}}",
        "train.steps=600",
        "evaluation.every=300",
    )
    assert evaluations(records, "accuracy")[-1] > 0.3  # 77 classes: the majority is 0.013
