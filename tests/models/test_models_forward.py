"""Forward passes: quicker than transformers' own way, and equal to it."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from emergectl.config.schema import ModelSpec
from emergectl.models.build import new_model
from emergectl.models.families import FAMILIES
from emergectl.models.forward import (
    encoder_decoder_inputs,
    last_hidden_states,
    target_logits,
    token_logits,
)

ONE_STACK = [name for name, family in FAMILIES.items() if family.kind != "seq2seq"]
CAUSAL = [name for name, family in FAMILIES.items() if family.kind == "causal"]


def make(family: str, **config: Any) -> Any:
    return new_model(
        ModelSpec(family=family, size="30k", config=config),
        head=FAMILIES[family].kind,
        vocab_size=50,
        seq_len=16,
        seed=0,
        pad_token_id=0,
    ).eval()


def padded_batch() -> dict[str, torch.Tensor]:
    tokens = torch.arange(1, 33).view(2, 16)
    mask = torch.ones_like(tokens)
    mask[0, 10:] = 0
    return {"input_ids": tokens * mask, "attention_mask": mask, "labels": tokens}


@pytest.mark.parametrize("family", ONE_STACK)
def test_real_tokens_get_the_logits_that_transformers_gives_them(family: str) -> None:
    model, batch = make(family), padded_batch()
    own = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(token_logits(model, batch)[real], own[real])


@pytest.mark.parametrize("family", ONE_STACK)
def test_the_head_over_the_last_hidden_states_gives_the_models_logits(family: str) -> None:
    model, batch = make(family), padded_batch()
    logits = FAMILIES[family].head(model, last_hidden_states(model, batch))
    torch.testing.assert_close(logits, token_logits(model, batch))


@pytest.mark.parametrize("family", CAUSAL)
def test_a_causal_model_is_run_without_a_mask(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Any, bool]] = []
    attention = F.scaled_dot_product_attention

    def watched(*args: Any, **kwargs: Any) -> torch.Tensor:
        seen.append((kwargs["attn_mask"], kwargs["is_causal"]))
        return attention(*args, **kwargs)

    monkeypatch.setattr(F, "scaled_dot_product_attention", watched)
    token_logits(make(family), padded_batch())
    assert set(seen) == {(None, True)}


@pytest.mark.parametrize("family", CAUSAL)
def test_outside_a_mask_counts_as_before(family: str) -> None:
    model, batch = make(family), padded_batch()
    token_logits(model, batch)
    left = {
        "input_ids": batch["input_ids"].flip(1),
        "attention_mask": batch["attention_mask"].flip(1),
    }
    masked, bare = model(**left).logits, model(input_ids=left["input_ids"]).logits
    assert not torch.allclose(masked[0, -1], bare[0, -1])


@pytest.mark.parametrize("family", CAUSAL)
def test_a_masked_pass_amid_one_without_is_the_same_as_ever(family: str) -> None:
    """As another thread might run it: nothing of a model is switched while it runs."""
    model, batch = make(family), padded_batch()
    left = {
        "input_ids": batch["input_ids"].flip(1),
        "attention_mask": batch["attention_mask"].flip(1),
    }
    alone, without = model(**left).logits, token_logits(model, batch)
    amid: list[torch.Tensor] = []

    def another(*_: Any) -> None:
        handle.remove()
        amid.append(model(**left).logits)

    handle = model.base_model.register_forward_pre_hook(another)
    torch.testing.assert_close(token_logits(model, batch), without)
    torch.testing.assert_close(amid[0], alone)


def test_a_sliding_window_keeps_its_mask() -> None:
    window = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0}
    model = make("qwen3", **window)
    batch = padded_batch()
    own = model(input_ids=batch["input_ids"][1:]).logits
    torch.testing.assert_close(token_logits(model, {"input_ids": batch["input_ids"][1:]}), own)
    assert not torch.allclose(own[:, -1], make("qwen3")(batch["input_ids"][1:]).logits[:, -1])


def test_an_encoder_reads_the_prompt_and_a_decoder_writes_the_answer() -> None:
    # Prompts 11 12 13 and 14, answers 21 9 and 22 23 24 9; what is masked stands for padding.
    batch = {
        "input_ids": torch.tensor([[11, 12, 13, 21, 0], [14, 22, 23, 24, 0]]),
        "labels": torch.tensor([[-100, -100, 21, 9, -100], [22, 23, 24, 9, -100]]),
    }
    inputs, labels = encoder_decoder_inputs(batch, start=1, end=9)
    assert inputs["input_ids"][inputs["attention_mask"].bool()].tolist() == [11, 12, 13, 9, 14, 9]
    assert inputs["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert inputs["decoder_input_ids"].tolist() == [[1, 21, 9, 1], [1, 22, 23, 24]]
    assert labels.tolist() == [[21, 9, -100, -100], [22, 23, 24, 9]]


def test_a_prompt_that_fills_the_row_is_closed_all_the_same() -> None:
    batch = {"input_ids": torch.tensor([[5, 6]]), "labels": torch.tensor([[-100, 9]])}
    inputs, labels = encoder_decoder_inputs(batch, start=1, end=9)
    assert (inputs["input_ids"].tolist(), labels.tolist()) == ([[5, 6, 9]], [[9]])


def test_answers_have_the_logits_that_transformers_gives_from_labels() -> None:
    model = make("t5", eos_token_id=9)
    batch = {
        "input_ids": torch.tensor([[11, 12, 13, 21]]),
        "labels": torch.tensor([[-100, -100, 21, 9]]),
    }
    theirs = model(input_ids=torch.tensor([[11, 12, 13, 9]]), labels=torch.tensor([[21, 9]]))
    logits, labels = target_logits(model, batch)
    torch.testing.assert_close(logits, theirs.logits)
    torch.testing.assert_close(F.cross_entropy(logits[0], labels[0]), theirs.loss)
