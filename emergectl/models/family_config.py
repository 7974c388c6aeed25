"""How an experiment's `model` section becomes a transformers config.

Families that the ladder knows (`emergectl.models.families`) get their shape from it; any other
model type that transformers knows is trained with the shape that `model.config` gives.

Decisions that hold for all: no dropout unless asked for; position embeddings reach exactly as far
as the sequences; the output layer shares the input embedding's weights (else the share of the
embeddings, and with it what a rung means, would differ between families), except in
attention_only, whose circuits are read off two separate matrices; and GELU is the tanh form of
PyTorch (`gelu_pytorch_tanh`), equal to GPT-2's `gelu_new` and in training on CPU a fifth faster.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable

from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING, PretrainedConfig

from emergectl.config.schema import ModelSpec
from emergectl.errors import ExperimentError
from emergectl.models.config_sizes import too_large
from emergectl.models.families import FAMILIES, Family, Fields, find_family, import_family
from emergectl.models.ladder import DEFAULT_SIZE, Shape, shape_of_size, shape_of_width
from emergectl.models.model_types import check_family


def family_config(
    spec: ModelSpec,
    *,
    vocab_size: int,
    seq_len: int,
    pad_token_id: int | None = None,
    bos_token_id: int | None = None,
    eos_token_id: int | None = None,
) -> PretrainedConfig:
    """The transformers config of a model trained from scratch.

    `model.config` wins over what `model.size` derives; where it names a width, heads and MLP
    follow from that width. Raises ExperimentError naming the key for an unknown family, size or
    field, and for values that the family refuses.
    """
    config_class = _config_class(spec.family)
    given = _known_fields(config_class, spec.config)
    tokens = {
        "vocab_size": vocab_size,
        "pad_token_id": pad_token_id,
        "bos_token_id": bos_token_id,
        "eos_token_id": eos_token_id,
    }
    derived: Fields = {k: v for k, v in tokens.items() if k in _field_names(config_class)}
    family = find_family(spec.family)
    if family is not None:
        derived |= family.fields(_shape(spec, family, config_class, given))
        if family.kind != "causal" and pad_token_id is None:
            del derived["pad_token_id"]  # these families cannot do without one: keep their default
        if family.kind == "seq2seq":
            if eos_token_id is None:
                del derived["eos_token_id"]  # it closes what the encoder reads
            # T5's decoders begin with padding.
            derived["decoder_start_token_id"] = derived.get("pad_token_id", 0)
    elif spec.size is not None or not given:
        known = ", ".join(FAMILIES)
        raise ExperimentError(
            "model.size",
            f"the ladder knows {known}; give the shape of {spec.family} in `model.config`",
        )
    found = too_large(derived | given)
    if found is not None:
        raise ExperimentError(f"model.config.{found[0]}", found[1])
    config = _make(config_class, derived | given)
    if "vocab_size" in given and given["vocab_size"] < vocab_size:
        raise ExperimentError(
            "model.config.vocab_size",
            f"expected at least the tokenizer's {vocab_size}, got {given['vocab_size']}",
        )
    _fit_positions(config, config_class, given, seq_len, family)
    set_dropout(config, spec.dropout or 0.0, keep=given)
    return config


def set_dropout(config: PretrainedConfig, dropout: float, *, keep: Iterable[str] = ()) -> None:
    """Set every dropout probability that a config has, save those named in `keep`."""
    for name, value in config.to_dict().items():
        is_dropout = name.endswith(("dropout", "dropout_prob", "dropout_rate", "pdrop"))
        if is_dropout and isinstance(value, (int, float)) and name not in keep:
            setattr(config, name, dropout)


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean …?`, or nothing where no known word is near."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _config_class(model_type: str) -> type[PretrainedConfig]:
    check_family(model_type)
    import_family(model_type)
    if model_type not in CONFIG_MAPPING:
        raise ExperimentError("model.family", f"{model_type} cannot be made from a config")
    return CONFIG_MAPPING[model_type]


def _field_names(config_class: type[PretrainedConfig]) -> set[str]:
    """Fields that belong to the family, not to every config of transformers."""
    common = {field.name for field in dataclasses.fields(PretrainedConfig)}
    own = {field.name for field in dataclasses.fields(config_class)} - common
    return own | {"tie_word_embeddings", "is_decoder"} & _all_names(config_class)


def _all_names(config_class: type[PretrainedConfig]) -> set[str]:
    return {field.name for field in dataclasses.fields(config_class)}


def _known_fields(config_class: type[PretrainedConfig], given: Fields) -> Fields:
    """The fields given, under the family's own names (`hidden_size` is GPT-2's `n_embd`)."""
    names = _field_names(config_class)
    aliases = config_class.attribute_map
    for name in given:
        if name not in names and name not in aliases:
            hint = nearest(name, [*names, *aliases])
            raise ExperimentError(
                f"model.config.{name}", f"no field of {config_class.model_type}'s config{hint}"
            )
    return {aliases.get(name, name): value for name, value in given.items()}


def _shape(
    spec: ModelSpec, family: Family, config_class: type[PretrainedConfig], given: Fields
) -> Shape:
    """The rung's shape, changed by what `model.config` says of layers, width and heads."""
    shape = shape_of_size(spec.size or DEFAULT_SIZE, matrices_per_layer=family.matrices_per_layer)
    aliases = config_class.attribute_map

    def value(name: str) -> int | None:
        number = given.get(aliases.get(name, name))
        if number is not None and (not isinstance(number, int) or number < 1):
            raise ExperimentError(
                f"model.config.{name}", f"expected a positive whole number, got {number!r}"
            )
        return number

    layers = value("num_hidden_layers") or shape.layers
    width = value("hidden_size")
    heads = value("num_attention_heads")
    if width is not None:
        shape = shape_of_width(width, layers=layers)
    shape = Shape(layers=layers, width=shape.width, heads=heads or shape.heads)
    if shape.width % shape.heads:
        raise ExperimentError(
            "model.config", f"width {shape.width} is not divisible by {shape.heads} heads"
        )
    return shape


def _make(config_class: type[PretrainedConfig], fields: Fields) -> PretrainedConfig:
    try:
        return config_class(**fields)
    except (StrictDataclassError, ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise ExperimentError("model.config", reason) from error


def _fit_positions(
    config: PretrainedConfig,
    config_class: type[PretrainedConfig],
    given: Fields,
    seq_len: int,
    family: Family | None,
) -> None:
    """Let positions reach as far as the sequences; refuse a given reach that is too short."""
    name = config_class.attribute_map.get("max_position_embeddings", "max_position_embeddings")
    if name not in _all_names(config_class):
        return
    needed = seq_len
    if family is not None and family.extra_positions:
        needed += family.extra_positions + (config.pad_token_id or 0)
    if name not in given:
        setattr(config, name, needed)
    elif given[name] < needed:
        raise ExperimentError(
            f"model.config.{name}",
            f"expected at least {needed} for sequences of {seq_len} tokens, got {given[name]}",
        )
