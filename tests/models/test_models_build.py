"""Models made, saved, loaded: the same weights every time, and nothing left unsaid."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
)

from emergectl.config.schema import ModelSpec
from emergectl.errors import ExperimentError, RequestError
from emergectl.models.build import (
    Head,
    load_model,
    load_weights,
    new_model,
    save_model,
    source_model_type,
)
from emergectl.models.families import FAMILIES
from emergectl.models.forward import classification_logits

DATA = Path(os.environ.get("EMERGECTL_DATA", Path(__file__).parents[2] / "../shared/data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no real data beside the checkout")

TOKENS = torch.tensor([[5, 6, 7, 8, 9, 5, 6, 7], [9, 8, 7, 6, 5, 4, 3, 2]])


def make(family: str = "gpt2", head: Head | None = None, **options: Any) -> PreTrainedModel:
    if head == "classify":
        options = {"labels": ["a", "b", "c"], "problem": "multiclass"} | options
    settings = {"vocab_size": 20, "seq_len": 8, "seed": 0, "pad_token_id": 0} | options
    spec = ModelSpec(family=family, size="10k")
    return new_model(spec, head=head or FAMILIES[family].kind, **settings)


def same_weights(one: PreTrainedModel, two: PreTrainedModel) -> bool:
    a, b = one.state_dict(), two.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_seed_decides_all_weights(family: str) -> None:
    torch.rand(3)  # wherever the global random state happens to stand
    assert same_weights(make(family, seed=1), make(family, seed=1))
    assert not same_weights(make(family, seed=1), make(family, seed=2))


def test_making_and_loading_leave_the_global_random_state_alone(tmp_path: Path) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    save_model(make(), tmp_path)
    load_model(tmp_path, head="classify", seed=3, labels=[0, 1], problem="binary", vocab_size=99)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("head", ["own", "classify"])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_saved_loads_bit_for_bit(family: str, head: Head, tmp_path: Path) -> None:
    classify = {"labels": ["a", "b", "c"], "problem": "multiclass"} if head == "classify" else {}
    wanted: Head = "classify" if head == "classify" else FAMILIES[family].kind
    model = make(family, wanted)
    save_model(model, tmp_path)
    said: list[str] = []
    again = load_model(tmp_path, head=wanted, seed=9, say=said.append, **classify)  # type: ignore[arg-type]
    assert same_weights(model, again)
    assert said == []
    other = make(family, wanted, seed=5)
    load_weights(other, tmp_path)
    assert same_weights(model, other)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_output_shares_the_embeddings_matrix_but_in_attention_only(family: str) -> None:
    model = make(family)
    shared = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert shared == (family != "attention_only")


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "attention_only"])
def test_transformers_alone_loads_what_is_saved(family: str, tmp_path: Path) -> None:
    model = make(family).eval()
    save_model(model, tmp_path)
    auto = {
        "causal": AutoModelForCausalLM,
        "masked": AutoModelForMaskedLM,
        "seq2seq": AutoModelForSeq2SeqLM,
    }[FAMILIES[family].kind]
    again = auto.from_pretrained(tmp_path).eval()
    written = {"decoder_input_ids": TOKENS} if model.config.is_encoder_decoder else {}
    torch.testing.assert_close(again(TOKENS, **written).logits, model(TOKENS, **written).logits)


def test_a_saved_directory_names_no_place_on_this_machine(tmp_path: Path) -> None:
    save_model(make(), tmp_path / "first")
    again = load_model(tmp_path / "first", head="causal", seed=0)
    save_model(again, tmp_path / "second")
    assert str(tmp_path) not in (tmp_path / "second" / "config.json").read_text()


def test_weights_come_as_fp32_whatever_they_were_saved_in(tmp_path: Path) -> None:
    save_model(make().to(torch.bfloat16), tmp_path)
    assert load_model(tmp_path, head="causal", seed=0).dtype == torch.float32


@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_that_the_weights_lack_comes_from_the_seed_and_is_said(
    family: str, tmp_path: Path
) -> None:
    model = make(family)
    save_model(model, tmp_path)
    said: list[str] = []
    options: dict[str, Any] = {"head": "classify", "labels": ["x", "y"], "problem": "multiclass"}
    one = load_model(tmp_path, seed=1, say=said.append, **options)
    assert len(said) == 1
    assert "initialised from the seed" in said[0]
    assert same_weights(one, load_model(tmp_path, seed=1, **options))
    assert not same_weights(one, load_model(tmp_path, seed=2, **options))
    body = model.get_input_embeddings().weight
    assert torch.equal(one.get_input_embeddings().weight, body)


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_sequences_beyond_what_rotary_weights_were_trained_for_are_told(
    family: str, tmp_path: Path
) -> None:
    save_model(make(family, seq_len=8), tmp_path)
    said: list[str] = []
    load_model(tmp_path, head="causal", seed=0, seq_len=8, say=said.append)
    assert said == []
    load_model(tmp_path, head="causal", seed=0, seq_len=9, say=said.append)
    assert said == [
        "data.seq_len 9 reaches beyond the 8 positions that the weights know "
        "(max_position_embeddings): what stands further back is new to them"
    ]


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "t5"])
def test_classifiers_ignore_the_padding_of_a_row(family: str) -> None:
    model = make(family, "classify", seq_len=12).eval()
    padded = torch.nn.functional.pad(TOKENS, (0, 4))
    batch = {"input_ids": padded, "attention_mask": (padded != 0).long()}
    bare = {"input_ids": TOKENS, "attention_mask": torch.ones_like(TOKENS)}
    torch.testing.assert_close(
        classification_logits(model, batch), classification_logits(model, bare)
    )


def test_binary_has_one_logit_for_the_second_label() -> None:
    model = make("bert", "classify", labels=["no", "yes"], problem="binary")
    assert model(TOKENS).logits.shape == (2, 1)
    assert model.config.id2label == {0: "yes"}


def test_labels_are_kept_with_the_model(tmp_path: Path) -> None:
    save_model(make("bert", "classify", labels=["neg", "pos", "neutral"]), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["id2label"] == {"0": "neg", "1": "pos", "2": "neutral"}
    assert config["problem_type"] == "single_label_classification"


def test_embeddings_grow_to_the_tokenizers_vocabulary(tmp_path: Path) -> None:
    model = make()
    save_model(model, tmp_path)
    said: list[str] = []
    grown = load_model(tmp_path, head="causal", seed=0, vocab_size=25, say=said.append)
    assert said == ["embeddings grown from 20 to the tokenizer's 25 tokens"]
    assert grown(TOKENS).logits.shape == (2, 8, 25)
    assert torch.equal(grown.get_input_embeddings().weight[:20], model.transformer.wte.weight)
    assert grown.lm_head.weight is grown.transformer.wte.weight
    smaller = load_model(tmp_path, head="causal", seed=0, vocab_size=15, say=said.append)
    assert smaller(TOKENS).logits.shape == (2, 8, 20)


def test_dropout_is_the_sources_own_unless_given(tmp_path: Path) -> None:
    GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=1, vocab_size=20)).save_pretrained(
        tmp_path
    )
    assert load_model(tmp_path, head="causal", seed=0).config.resid_pdrop == 0.1
    assert load_model(tmp_path, head="causal", seed=0, dropout=0.3).transformer.drop.p == 0.3


@pytest.mark.parametrize("family", ["gpt2", "bert", "roberta", "attention_only"])
def test_sequences_beyond_the_weights_positions_are_refused(family: str, tmp_path: Path) -> None:
    save_model(make(family), tmp_path)
    head = FAMILIES[family].kind
    load_model(tmp_path, head=head, seed=0, seq_len=8)
    with pytest.raises(ExperimentError, match="the weights have 8 positions, got 9") as e:
        load_model(tmp_path, head=head, seed=0, seq_len=9)
    assert e.value.key == "data.seq_len"


@pytest.mark.parametrize("family", ["llama", "qwen3", "modernbert", "bert", "gpt2"])
def test_the_end_of_text_learns_also_where_it_is_the_padding(family: str) -> None:
    model = make(family, pad_token_id=4, eos_token_id=4)
    table = model.get_input_embeddings()
    table(torch.tensor([4])).sum().backward()
    assert table.weight.grad[4].abs().sum() > 0


@pytest.mark.parametrize(
    ("family", "head", "message"),
    [
        ("bert", "causal", "bert cannot predict the next token; use `objective.name: mlm`"),
        ("gpt2", "masked", "gpt2 cannot predict masked tokens; use `objective.name: clm`"),
    ],
)
def test_an_architecture_that_cannot_carry_the_head_is_refused(
    family: str, head: Head, message: str
) -> None:
    with pytest.raises(ExperimentError, match=message) as e:
        make(family, head)
    assert e.value.key == "model.family"


def test_a_classifier_without_labels_is_refused() -> None:
    with pytest.raises(ExperimentError, match="needs its labels"):
        make("bert", "classify", labels=None)
    with pytest.raises(ExperimentError, match="binary has 2 labels, got 3"):
        make("bert", "classify", problem="binary")


def test_weights_that_miss_part_of_the_body_are_refused(tmp_path: Path) -> None:
    save_model(make(), tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["transformer.h.0.mlp.c_fc.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ExperimentError, match=r"1 weights are missing.*h\.0\.mlp\.c_fc\.weight"):
        load_model(tmp_path, head="causal", seed=0)


def test_weights_of_another_shape_are_refused_in_one_line(tmp_path: Path) -> None:
    save_model(make(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"n_embd": 32}))
    with pytest.raises(
        ExperimentError,
        match=r"c_attn.bias` is 48 in model.safetensors, and config.json makes it 96",
    ) as e:
        load_model(tmp_path, head="causal", seed=0)
    assert "\n" not in str(e.value)


def test_weights_of_another_model_are_not_put_into_this_one(tmp_path: Path) -> None:
    save_model(make("llama"), tmp_path)
    model = make("gpt2")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(RequestError, match="not this model's"):
        load_weights(model, tmp_path)
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())


def test_a_directory_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match="no such directory") as e:
        load_model(tmp_path / "nowhere", head="causal", seed=0)
    assert e.value.key == "model.from"


def test_a_hub_name_that_cannot_be_had_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ExperimentError, match=r"nobody/nothing: .*hf download") as e:
        load_model("nobody/nothing", head="causal", seed=0)
    assert e.value.key == "model.from"
    with pytest.raises(ExperimentError, match="no run, directory or hub name"):
        load_model("no such/../name", head="causal", seed=0)


@needs_data
def test_a_checkpoint_from_elsewhere_loads() -> None:
    source = DATA / "tiny_gpt2_hf"
    said: list[str] = []
    model = load_model(source, head="causal", seed=0, say=said.append)
    assert source_model_type(source) == "gpt2"
    assert said == []
    stored = load_file(source / "model.safetensors")
    table = next(t for name, t in stored.items() if name.endswith("wte.weight"))
    assert torch.equal(model.transformer.wte.weight, table)
