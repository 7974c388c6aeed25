"""Families of models: what the rest of emergectl has to know of each, said once, without torch.

To add a family, add an entry of FAMILIES, or a `Family` in a package of your own (the entry point
group `emergectl.families`): what it learns by, how many square matrices a layer holds, how a shape
of the ladder becomes the family's own fields. A family that transformers does not know also names
the `module` that registers its classes with transformers' auto classes. Any other model type that
transformers knows can be trained as well, with its shape given in `model.config`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from emergectl.models.ladder import Shape
from emergectl.plugins import plugins

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Architecture = Literal["causal", "masked", "seq2seq"]

Fields = dict[str, Any]


def lm_head(model: PreTrainedModel, hidden: torch.Tensor) -> torch.Tensor:
    """The head that is one linear layer."""
    return model.lm_head(hidden)


def _bert_head(model: PreTrainedModel, hidden: torch.Tensor) -> torch.Tensor:
    return model.cls(hidden)


def _modernbert_head(model: PreTrainedModel, hidden: torch.Tensor) -> torch.Tensor:
    return model.decoder(model.head(hidden))


@dataclass(frozen=True)
class Family:
    """What the ladder has to know of a family."""

    kind: Architecture
    fields: Callable[[Shape], Fields]
    """shape → fields of the family's own config"""
    matrices_per_layer: int = 12
    """square matrices of the model's width in a layer: 4 of attention and 8 of the MLP"""
    extra_positions: int = 0
    """position embeddings needed beyond the longest sequence"""
    head: Callable[[PreTrainedModel, torch.Tensor], torch.Tensor] = lm_head
    """last hidden states [..., width] → scores of the vocabulary [..., vocab]"""
    module: str | None = None
    """of a family that transformers does not know: importing it registers the classes there"""


def gated_mlp_width(width: int) -> int:
    """Hidden width, a multiple of 8, of an MLP of three matrices and 8 · width² parameters."""
    return max(8, round(width / 3) * 8)


def _gpt2(shape: Shape) -> Fields:
    return {
        "n_layer": shape.layers,
        "n_embd": shape.width,
        "n_head": shape.heads,
        "activation_function": "gelu_pytorch_tanh",
    }


def llama_fields(shape: Shape) -> Fields:
    """The fields of Llama, which many families share."""
    return {
        "num_hidden_layers": shape.layers,
        "hidden_size": shape.width,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "head_dim": shape.width // shape.heads,
        "intermediate_size": gated_mlp_width(shape.width),
        "tie_word_embeddings": True,
    }


def _bert(shape: Shape) -> Fields:
    return {
        "num_hidden_layers": shape.layers,
        "hidden_size": shape.width,
        "num_attention_heads": shape.heads,
        "intermediate_size": 4 * shape.width,
        "hidden_act": "gelu_pytorch_tanh",
    }


def _modernbert(shape: Shape) -> Fields:
    return {
        "num_hidden_layers": shape.layers,
        "hidden_size": shape.width,
        "num_attention_heads": shape.heads,
        "intermediate_size": gated_mlp_width(shape.width),
        "hidden_activation": "gelu_pytorch_tanh",
        # Numbers in the published model's vocabulary; nothing in the model itself uses them.
        "cls_token_id": None,
        "sep_token_id": None,
    }


def _t5(shape: Shape) -> Fields:
    """As the first T5; `layers` of the encoder and as many of the decoder."""
    return {
        "num_layers": shape.layers,
        "num_decoder_layers": shape.layers,
        "d_model": shape.width,
        "num_heads": shape.heads,
        "d_kv": shape.width // shape.heads,
        "d_ff": 4 * shape.width,
        "feed_forward_proj": "relu",
    }


def _attention_only(shape: Shape) -> Fields:
    return {
        "num_hidden_layers": shape.layers,
        "hidden_size": shape.width,
        "num_attention_heads": shape.heads,
    }


FAMILIES: dict[str, Family] = {
    "gpt2": Family("causal", _gpt2),
    "llama": Family("causal", llama_fields),
    "qwen3": Family("causal", llama_fields),
    "attention_only": Family(
        "causal",
        _attention_only,
        matrices_per_layer=4,
        module="emergectl.models.attention_only",
    ),
    "bert": Family("masked", _bert, head=_bert_head),
    # RoBERTa's positions begin behind the padding token's number.
    "roberta": Family("masked", _bert, extra_positions=1),
    "modernbert": Family("masked", _modernbert, head=_modernbert_head),
    # An encoder's layer and a decoder's, which attends to the encoder too.
    "t5": Family("seq2seq", _t5, matrices_per_layer=28),
}


def find_family(name: str) -> Family | None:
    """What is known of a family, built in or added by a package; None where nothing is.

    Raises PluginError where the package that adds it does not load.
    """
    return FAMILIES.get(name) or _added_family(name)


@cache
def _added_family(name: str) -> Family | None:
    plugin = plugins("families").get(name)
    if plugin is None:
        return None
    found = plugin.load()
    if not isinstance(found, Family):
        raise plugin.broken(f"{plugin.target} is no emergectl.models.families.Family")
    return found


def matrices_per_layer(name: str) -> int:
    """Square matrices of the model's width in a layer of a family; 12 where it is not known."""
    family = find_family(name)
    return 12 if family is None else family.matrices_per_layer


def import_family(name: str) -> None:
    """Let transformers know a family that it does not bring."""
    family = find_family(name)
    if family is not None and family.module is not None:
        importlib.import_module(family.module)
