"""The attention-only family: a transformer without MLPs that transformers itself can handle."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from emergectl.models.attention_only import AttentionOnlyConfig, AttentionOnlyForCausalLM


@pytest.fixture
def model() -> AttentionOnlyForCausalLM:
    torch.manual_seed(0)
    config = AttentionOnlyConfig(
        vocab_size=40, hidden_size=32, num_attention_heads=4, initializer_range=0.3
    )
    return AttentionOnlyForCausalLM(config).eval()


TOKENS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6], [2, 7, 1, 8, 2, 8, 1, 8]])


def test_a_layer_holds_four_square_matrices_and_nothing_else_of_that_size() -> None:
    config = AttentionOnlyConfig(layer_norm=False)
    model = AttentionOnlyForCausalLM(config)
    assert sum(p.numel() for p in model.model.layers.parameters()) == 2 * 4 * 48**2


def test_no_position_sees_what_comes_after_it(model: AttentionOnlyForCausalLM) -> None:
    changed = TOKENS.clone()
    changed[:, 5:] = 0
    before, after = model(TOKENS).logits, model(changed).logits
    torch.testing.assert_close(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5:], after[:, 5:])


def test_order_matters_through_the_learned_positions(model: AttentionOnlyForCausalLM) -> None:
    shifted = model(TOKENS, position_ids=torch.arange(1, 9)[None]).logits
    assert not torch.allclose(shifted, model(TOKENS).logits)


def test_fast_attention_equals_attention_written_out(model: AttentionOnlyForCausalLM) -> None:
    fast = model(TOKENS).logits
    model.set_attn_implementation("eager")
    torch.testing.assert_close(model(TOKENS).logits, fast)


def test_attention_patterns_can_be_looked_at(model: AttentionOnlyForCausalLM) -> None:
    model.set_attn_implementation("eager")
    patterns = model(TOKENS, output_attentions=True).attentions
    assert [p.shape for p in patterns] == [(2, 4, 8, 8)] * 2
    torch.testing.assert_close(patterns[0].sum(-1), torch.ones(2, 4, 8))
    assert patterns[1].triu(1).abs().max() == 0


def test_left_padding_behind_a_mask_changes_nothing(model: AttentionOnlyForCausalLM) -> None:
    padded = torch.cat([torch.zeros(2, 3, dtype=torch.long), TOKENS], dim=1)
    mask = torch.ones_like(padded)
    mask[:, :3] = 0
    positions = torch.cat([torch.zeros(3, dtype=torch.long), torch.arange(8)])[None]
    logits = model(padded, attention_mask=mask, position_ids=positions).logits
    torch.testing.assert_close(logits[:, 3:], model(TOKENS).logits)


def test_generation_with_a_cache_equals_generation_without(
    model: AttentionOnlyForCausalLM,
) -> None:
    options = {"max_new_tokens": 10, "do_sample": False, "pad_token_id": 0}
    mask = torch.ones_like(TOKENS)
    cached = model.generate(TOKENS, attention_mask=mask, use_cache=True, **options)
    plain = model.generate(TOKENS, attention_mask=mask, use_cache=False, **options)
    assert cached.shape == (2, 18)
    assert torch.equal(cached, plain)


def test_the_auto_classes_load_what_it_saves(
    model: AttentionOnlyForCausalLM, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(again) is AttentionOnlyForCausalLM
    torch.testing.assert_close(again(TOKENS).logits, model(TOKENS).logits)


def test_it_classifies_at_the_last_token_that_is_not_padding(
    model: AttentionOnlyForCausalLM, tmp_path: Path
) -> None:
    model.config.pad_token_id = 0
    model.save_pretrained(tmp_path)
    classifier = AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=3).eval()
    padded = torch.nn.functional.pad(TOKENS, (0, 4))
    torch.testing.assert_close(classifier(padded).logits, classifier(TOKENS).logits)


def test_transformers_own_loss_is_that_of_the_shifted_tokens(
    model: AttentionOnlyForCausalLM,
) -> None:
    out = model(TOKENS, labels=TOKENS)
    wanted = torch.nn.functional.cross_entropy(
        out.logits[:, :-1].flatten(0, 1), TOKENS[:, 1:].flatten()
    )
    torch.testing.assert_close(out.loss, wanted)


def test_with_an_mlp_a_layer_adds_what_two_matrices_and_relu_make_of_the_stream(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    config = AttentionOnlyConfig(
        vocab_size=40, hidden_size=32, num_hidden_layers=1, mlp_width=64, layer_norm=False
    )
    model = AttentionOnlyForCausalLM(config).eval()
    [layer] = model.model.layers
    torch.nn.init.normal_(layer.mlp.into.bias)
    stream = model.model.embed_tokens(TOKENS) + model.model.embed_positions(torch.arange(8))
    stream = stream + layer.attention(stream, None, None, is_causal=True)[0]
    into, out = layer.mlp.into, layer.mlp.out
    hidden = torch.clamp(stream @ into.weight.T + into.bias, min=0)
    expected = (stream + hidden @ out.weight.T + out.bias) @ model.lm_head.weight.T
    torch.testing.assert_close(model(TOKENS).logits, expected)
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(again(TOKENS).logits, model(TOKENS).logits)
