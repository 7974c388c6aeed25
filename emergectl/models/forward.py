"""Running a transformers model over a batch, as directly as it allows.

Three things make transformers slower in training than the same model written by hand, and none of
them changes a result: a key-value cache that nobody reads, logits at positions that carry no
target, and attention masks that say what causality says already. A causal model whose rows are
padded on the right needs no mask at all: padding stands behind every real token, so no real token
sees it (`models.attention`). transformers itself would build a mask under torch.compile, where it
cannot look whether there is padding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedModel

from emergectl.data.batches import Batch
from emergectl.models.attention import CAUSAL
from emergectl.models.families import find_family


def token_logits(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Scores of the vocabulary at every position: [batch, seq, vocab].

    Rows of a causal model are padded on the right, if at all.
    """
    return model(**_inputs(model, batch)).logits


def logits_of_members(
    model: PreTrainedModel, weights: Mapping[str, torch.Tensor], batch: Batch
) -> torch.Tensor:
    """`token_logits` of many models of one shape at once: [members, rows, seq, vocab].

    weights: every parameter of `model` by name, [members, …]; batch: tensors [members, rows, seq].
    `model` lends its code alone; it is one that `attends_plainly`.
    """

    def forward(own: dict[str, torch.Tensor], rows: Batch) -> torch.Tensor:
        found = torch.func.functional_call(model, own, (), _inputs(model, rows))
        return found.logits

    return torch.vmap(forward)(dict(weights), batch)


def target_logits(model: PreTrainedModel, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of the vocabulary and the labels that stand beside them: [rows, seq, vocab] and
    [rows, seq].

    Of an encoder–decoder `seq` are the places of the answers alone (`encoder_decoder_inputs`).
    """
    if not model.config.is_encoder_decoder:
        return token_logits(model, batch), batch["labels"]
    inputs, labels = encoder_decoder_inputs(
        batch,
        start=model.config.decoder_start_token_id,
        end=model.config.eos_token_id,
    )
    return model(**inputs, use_cache=False).logits, labels


# How long the prompts and the answers are is only known from the labels.
@torch.compiler.disable
def encoder_decoder_inputs(batch: Batch, *, start: int, end: int) -> tuple[Batch, torch.Tensor]:
    """Rows of a prompt and its answer as an encoder and a decoder take them.

    batch: `input_ids`, `labels` [rows, seq], as for a causal model: the first label of a row
    stands at the last token of its prompt. The prompt, closed by the token `end`, becomes
    `input_ids`, `attention_mask` [rows, longest prompt + 1]; the labels, moved to the left, are
    returned and, behind the token `start`, become `decoder_input_ids` [rows, longest answer].
    """
    tokens, labels = batch["input_ids"], batch["labels"]
    is_target = labels != -100
    prompts = is_target.int().argmax(-1, keepdim=True) + 1  # their lengths: [rows, 1]
    answers = is_target.sum(-1, keepdim=True)
    columns = torch.arange(int(prompts.max()) + 1, device=tokens.device)
    inputs = tokens.gather(1, columns.clamp(max=tokens.shape[1] - 1).expand(len(tokens), -1))
    inputs = inputs.masked_fill(columns == prompts, end)

    places = torch.arange(max(1, int(answers.max())), device=tokens.device)
    moved = labels.gather(1, (prompts - 1 + places).clamp(max=labels.shape[1] - 1))
    moved = moved.masked_fill(places >= answers, -100)
    before = torch.cat([torch.full_like(moved[:, :1], start), moved[:, :-1]], 1)
    return {
        "input_ids": inputs,
        "attention_mask": (columns <= prompts).long(),
        "decoder_input_ids": before.masked_fill(before == -100, start),
    }, moved


def classification_logits(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Scores of the classes: [batch, labels]. Padding on the right for causal families."""
    return model(**_inputs(model, batch)).logits


def last_hidden_states(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """What the output head of the model sees: [batch, seq, width]. Padding on the right."""
    return model.base_model(**_inputs(model, batch)).last_hidden_state


def attends_plainly(config: PretrainedConfig) -> bool:
    """A family known to attend to all that came before, in every layer, through sdpa or ours."""
    family = find_family(config.model_type)
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return (
        family is not None
        and family.kind == "causal"
        and config._attn_implementation in ("sdpa", CAUSAL)
        and kinds == {"full_attention"}
    )


def _inputs(model: PreTrainedModel, batch: Batch) -> dict[str, Any]:
    """What of a batch goes into the model: all but the labels, no cache, token types only where
    the model tells two of them apart, and no mask where causality says all that it would."""
    inputs: dict[str, Any] = {name: t for name, t in batch.items() if name != "labels"}
    if getattr(model.config, "type_vocab_size", 0) < 2:
        inputs.pop("token_type_ids", None)
    if attends_plainly(model.base_model.config):
        inputs.pop("attention_mask", None)
    if hasattr(model.config, "use_cache"):
        inputs["use_cache"] = False
    return inputs
