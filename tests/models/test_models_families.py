"""Families: from the `model` section to a transformers config."""

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, PretrainedConfig

from emergectl.config.schema import ModelSpec
from emergectl.errors import ExperimentError
from emergectl.models.build import new_model
from emergectl.models.families import FAMILIES, gated_mlp_width
from emergectl.models.family_config import family_config
from emergectl.models.ladder import shape_of_size


def config_of(family: str = "gpt2", **model: Any) -> PretrainedConfig:
    spec = ModelSpec(family=family, **model)
    return family_config(spec, vocab_size=100, seq_len=64, pad_token_id=0, eos_token_id=1)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_size_sets_the_shape_under_the_names_that_all_configs_share(family: str) -> None:
    config = config_of(family, size="300k")
    shape = shape_of_size("300k", matrices_per_layer=FAMILIES[family].matrices_per_layer)
    assert config.num_hidden_layers == shape.layers
    assert config.hidden_size == shape.width
    assert config.num_attention_heads == shape.heads
    assert (config.vocab_size, config.pad_token_id, config.eos_token_id) == (100, 0, 1)


def test_neither_size_nor_config_is_a_small_model() -> None:
    assert config_of().hidden_size == shape_of_size("1m").width


def test_fields_given_win_over_what_the_size_derives() -> None:
    config = config_of("gpt2", size="300k", config={"n_layer": 7, "activation_function": "relu"})
    assert (config.n_layer, config.activation_function) == (7, "relu")
    assert config.n_embd == shape_of_size("300k").width


def test_gpt2_takes_the_shared_names_for_its_own() -> None:
    config = config_of("gpt2", config={"num_hidden_layers": 3, "hidden_size": 96})
    assert (config.n_layer, config.n_embd) == (3, 96)


def test_a_width_given_brings_its_heads_and_its_mlp_along() -> None:
    config = config_of("llama", config={"hidden_size": 192})
    assert config.head_dim * config.num_attention_heads == 192
    assert config.num_key_value_heads == config.num_attention_heads
    assert config.intermediate_size == gated_mlp_width(192) == 512


def test_no_dropout_unless_asked_for_and_then_everywhere_but_where_given() -> None:
    plain = config_of("bert")
    assert plain.hidden_dropout_prob == plain.attention_probs_dropout_prob == 0
    asked = config_of("gpt2", dropout=0.2, config={"attn_pdrop": 0.0})
    assert (asked.resid_pdrop, asked.embd_pdrop, asked.attn_pdrop) == (0.2, 0.2, 0.0)


@pytest.mark.parametrize("family", FAMILIES)
def test_positions_reach_as_far_as_the_sequences(family: str) -> None:
    spec = ModelSpec(family=family, size="10k")
    model = new_model(
        spec, head=FAMILIES[family].kind, vocab_size=100, seq_len=64, seed=0, pad_token_id=3
    )
    inputs = {"input_ids": torch.full((1, 64), 5)}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = inputs["input_ids"]
    assert model(**inputs).logits.shape == (1, 64, 100)


@pytest.mark.parametrize("family", ["gpt2", "attention_only", "bert", "roberta"])
def test_learned_positions_reach_no_further_than_the_sequences(family: str) -> None:
    spec = ModelSpec(family=family, size="10k")
    model = new_model(
        spec, head=FAMILIES[family].kind, vocab_size=100, seq_len=64, seed=0, pad_token_id=3
    )
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=torch.full((1, 65), 5))


def test_positions_given_too_short_are_refused() -> None:
    with pytest.raises(ExperimentError, match=r"at least 64 .* got 32") as e:
        config_of("gpt2", config={"n_positions": 32})
    assert e.value.key == "model.config.n_positions"


def test_a_vocabulary_given_may_be_larger_than_the_tokenizers_and_not_smaller() -> None:
    assert config_of("gpt2", config={"vocab_size": 128}).vocab_size == 128
    with pytest.raises(ExperimentError, match="at least the tokenizer's 100, got 64"):
        config_of("gpt2", config={"vocab_size": 64})


def test_an_unknown_family_names_the_nearest() -> None:
    with pytest.raises(ExperimentError, match=r"got 'lama'; did you mean llama\?") as e:
        config_of("lama")
    assert e.value.key == "model.family"


def test_an_unknown_field_names_the_nearest() -> None:
    with pytest.raises(ExperimentError, match=r"did you mean n_layer\?") as e:
        config_of("gpt2", config={"n_layers": 3})
    assert e.value.key == "model.config.n_layers"


@pytest.mark.parametrize("field", ["auto_map", "architectures", "dtype", "quantization_config"])
def test_fields_that_are_not_the_familys_own_cannot_be_set(field: str) -> None:
    with pytest.raises(ExperimentError, match="no field of gpt2's config"):
        config_of("gpt2", config={field: "x"})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"hidden_size": 64, "num_attention_heads": 5}, "64 is not divisible by 5 heads"),
        ({"n_layer": 0}, "positive whole number, got 0"),
        ({"n_layer": "two"}, "positive whole number, got 'two'"),
        ({"layer_norm_epsilon": "small"}, "layer_norm_epsilon"),
    ],
)
def test_values_that_the_family_refuses_are_one_line(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ExperimentError, match=message) as e:
        config_of("gpt2", config=config)
    assert "\n" not in str(e.value)


def test_other_model_types_of_transformers_train_with_a_shape_of_their_own() -> None:
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = config_of("gpt_neox", config={**shape, "intermediate_size": 64})
    model = AutoModelForCausalLM.from_config(config)
    assert model(input_ids=torch.ones(1, 64, dtype=torch.long)).logits.shape == (1, 64, 100)
    with pytest.raises(ExperimentError, match="give the shape of gpt_neox"):
        config_of("gpt_neox", size="1m")
