"""What a person names becomes a model that can be asked, or one clear sentence."""

import json
import random
import shutil
import signal
from pathlib import Path

import pytest
import torch
from asked_models import byte_tokenizer, made_questions, plain_scores
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
)

from emergectl.cli.main import main
from emergectl.errors import EmergectlError, RequestError
from emergectl.inference.loading import LanguageModel, Weights, find_weights, load_language_model
from emergectl.inference.requests import Question

EXPERIMENT = """\
name: tiny
model: {family: llama, size: 10k}
tokenizer: {kind: byte}
data: {train: {path: text.txt}, seq_len: 64}
train: {steps: 12, batch_size: 4, device: cpu, threads: 1, precision: fp32, compile: false}
optimizer: {lr: 0.05}
evaluation: {every: 12}
snapshots: {every: [0, 4, 8]}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve steps of a tiny model, with snapshots of steps 0, 4 and 8."""
    folder = tmp_path_factory.mktemp("asked")
    source = random.Random(0)
    lines = (" ".join(source.choice(["one", "two", "three"]) for _ in range(9)) for _ in range(80))
    (folder / "text.txt").write_text("\n".join(lines))
    (folder / "tiny.yaml").write_text(EXPERIMENT)
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    runs = folder / "runs"
    assert main(["train", str(folder / "tiny.yaml"), "--json", "--runs-dir", str(runs)]) == 0
    for signum, handler in before.items():
        signal.signal(signum, handler)
    (found,) = runs.iterdir()
    return found


def scores(asked: LanguageModel, questions: list[Question]) -> list[list[float]]:
    found = dict(asked.score(questions))
    return [[score.logprob for score in found[i]] for i in range(len(questions))]  # type: ignore[union-attr]


def one(ref: str, root: Path, which: str = "last") -> Weights:
    (found,) = find_weights(ref, which=which, root=root)
    return found


@pytest.mark.parametrize(
    ("ref", "which", "step"),
    [("tiny", "last", 12), ("latest", "8", 8), ("tiny@4", "last", 4), ("tiny@best", "last", 12)],
)
def test_a_run_is_asked_at_the_step_that_is_named(
    run: Path, ref: str, which: str, step: int
) -> None:
    found = one(ref, run.parent, which)
    assert (found.run, found.step) == (run, step)
    assert found.name == f"{run.name}@{step}"


def test_a_checkpoints_own_directory_is_known_as_its_runs_step(run: Path) -> None:
    path = run / "snapshots" / "step-00000004"
    assert one(str(path), run.parent) == Weights(str(path), run, 4)


def test_swapped_weights_answer_as_weights_loaded_anew(run: Path) -> None:
    every = find_weights("tiny", which="all", root=run.parent)
    assert [weights.step for weights in every] == [0, 4, 8, 12]
    questions = made_questions(4)
    asked = load_language_model(every[0])
    found = []
    for weights in every:
        asked.swap(weights)
        assert asked.name == weights.name
        found.append(scores(asked, questions))
        anew = scores(load_language_model(weights), questions)
        for mine, other in zip(found[-1], anew, strict=True):
            assert mine == pytest.approx(other, abs=1e-5)
    assert found[0] != found[-1]


def test_bf16_weights_are_exact_again_before_the_next_are_put_in(run: Path) -> None:
    first, second = (one(f"tiny@{step}", run.parent) for step in (4, 12))
    coarse, exact = load_language_model(first, bf16=True), load_language_model(second)
    coarse.swap(second)
    for mine, other in zip(
        coarse.model.state_dict().values(), exact.model.state_dict().values(), strict=True
    ):
        assert torch.equal(mine, other.bfloat16())


def test_a_model_directory_is_asked_as_it_stands(run: Path) -> None:
    path = run / "checkpoints" / "step-00000012"
    copy = run.parent.parent / "elsewhere"
    shutil.copytree(path, copy)
    (copy / "manifest.json").unlink()
    weights = one(str(copy), run.parent)
    assert weights.name == str(copy)
    question = made_questions(1)[0]
    asked = load_language_model(weights)
    expected = [value for value, _ in plain_scores(asked, question)]
    assert scores(asked, [question])[0] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("ref", "which", "message"),
    [
        ("tiny", "7", "keeps no step 7; it keeps 0, 4, 8, 12"),
        ("tiny@4", "8", "names a step already"),
        ("./nowhere", "last", "no such run directory"),
        ("no such thing!", "last", "no run"),
        ("gpt2", "best", "is no run of .*: it has no checkpoint `best`"),
    ],
)
def test_what_is_not_there_is_said_in_a_sentence(
    run: Path, ref: str, which: str, message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        find_weights(ref, which=which, root=run.parent)


def test_a_checkpoint_with_a_flipped_bit_is_refused(run: Path, tmp_path: Path) -> None:
    broken = tmp_path / "step-00000004"
    shutil.copytree(run / "snapshots" / "step-00000004", broken)
    weights = broken / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(EmergectlError, match="changed since it was written"):
        find_weights(str(broken), root=run.parent)


def saved(model: object, folder: Path) -> Weights:
    model.save_pretrained(folder)  # type: ignore[attr-defined]
    byte_tokenizer().save_pretrained(folder)
    return Weights(str(folder))


SHAPE = {"vocab_size": 258, "eos_token_id": 257, "bos_token_id": None, "pad_token_id": 256}


def test_a_model_that_fills_gaps_is_refused(tmp_path: Path) -> None:
    config = BertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, **SHAPE
    )
    weights = saved(BertForMaskedLM(config), tmp_path)
    with pytest.raises(RequestError, match="BertForMaskedLM fills gaps, it does not continue"):
        load_language_model(weights)


def test_a_model_that_scores_classes_is_refused(tmp_path: Path) -> None:
    config = GPT2Config(n_embd=16, n_layer=1, n_head=2, **SHAPE)
    weights = saved(GPT2ForSequenceClassification(config), tmp_path)
    with pytest.raises(RequestError, match="GPT2ForSequenceClassification scores classes"):
        load_language_model(weights)


def test_a_model_without_its_output_head_is_refused(tmp_path: Path) -> None:
    config = GPT2Config(n_embd=16, n_layer=1, n_head=2, tie_word_embeddings=False, **SHAPE)
    model = GPT2LMHeadModel(config)
    weights = saved(model.transformer, tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(settings | {"architectures": None}))
    with pytest.raises(
        RequestError, match=r"has no weights for lm_head.weight: .* cannot be asked"
    ):
        load_language_model(weights)


def test_a_tokenizer_of_another_vocabulary_is_refused(tmp_path: Path) -> None:
    config = GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=100)
    weights = saved(GPT2LMHeadModel(config), tmp_path)
    with pytest.raises(RequestError, match="tokenizer has 258 tokens and its model knows 100"):
        load_language_model(weights)


def test_pickled_weights_are_refused(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "checkpoints" / "step-00000012", tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").rename(tmp_path / "m" / "pytorch_model.bin")
    with pytest.raises(RequestError, match="never read: convert them to safetensors"):
        load_language_model(Weights(str(tmp_path / "m")))
