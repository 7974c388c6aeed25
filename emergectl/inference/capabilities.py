"""What a model can do, found by trying: attend along a tree, spare its head, go on from a cache.

Families differ in ways that no list keeps up with: positions counted from the mask, windows,
states, logits that are scaled behind the last matrix. So the quick way is tried on a few tokens
against the plain one, and taken where both agree. Windows alone would not show on a few tokens;
they are read off the config.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn
from transformers import DynamicCache, PretrainedConfig, PreTrainedModel

from emergectl.inference.encoding import Pair
from emergectl.inference.prefix_tree import Forest, Tree, plant
from emergectl.models.attention import CAUSAL
from emergectl.models.forward import token_logits

_CLOSE = 1e-3
"""logits nearer than this share of their spread are the same; what is wrong is off by far more"""


@dataclass(frozen=True)
class Ways:
    """What a causal model can do.

    `trees`: attends along a 4-D mask with positions given. `head`: runs its output head at some
    places only. `cache`: goes on from cached keys and values of rows padded
    on the left.
    """

    trees: bool
    head: bool
    cache: bool


def find_ways(model: PreTrainedModel) -> Ways:
    """Try the quick ways on a few tokens; the model is in `eval` mode and in fp32."""
    takes = inspect.signature(model.forward).parameters
    positioned = "position_ids" in takes
    whole_attention = positioned and _attends_to_all(model)
    return Ways(
        trees=whole_attention and _works(lambda: _tree_agrees(model)),
        head=_works(lambda: _head_agrees(model)),
        cache=positioned and "past_key_values" in takes and _works(lambda: _cache_agrees(model)),
    )


def forest_logits(
    model: PreTrainedModel, forest: Forest, places: torch.Tensor, ways: Ways
) -> torch.Tensor:
    """fp32 logits [places, vocab]; `places` [places] counts the forest's nodes row by row."""
    if not ways.head:
        return _run(model, forest).flatten(0, 1)[places].float()
    with _head_only_at(model, places):
        return _run(model, forest)[0].float()


def _run(model: PreTrainedModel, forest: Forest) -> torch.Tensor:
    """Logits of all nodes: [trees, nodes, vocab]."""
    if forest.mask is not None:
        mask = _mask(model, forest.mask)
        return model(
            input_ids=forest.tokens,
            attention_mask=mask,
            position_ids=forest.depths,
            use_cache=False,
        ).logits
    return token_logits(model, {"input_ids": forest.tokens, "attention_mask": forest.inside.long()})


@contextlib.contextmanager
def _head_only_at(model: PreTrainedModel, places: torch.Tensor) -> Iterator[None]:
    """Inside, the output head sees these places alone, as one row, and whatever the model does to
    its logits (scaling, capping) is done to theirs."""

    def pick(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (inputs[0].flatten(0, 1)[places][None], *inputs[1:])

    hook = model.get_output_embeddings().register_forward_pre_hook(pick)
    try:
        yield
    finally:
        hook.remove()


def _mask(model: PreTrainedModel, mask: torch.Tensor) -> torch.Tensor:
    if model.config._attn_implementation in ("sdpa", CAUSAL):
        return mask
    dtype = model.dtype
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, torch.finfo(dtype).min)


def _attends_to_all(model: PreTrainedModel) -> bool:
    """Whether every layer attends to all that came before: no windows, chunks or states.

    Families that transformers has not moved to its common attention interface are left out, since
    their windows are not told from their configs (GPT-Neo).
    """
    config: PretrainedConfig = model.config.get_text_config(decoder=True)
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    return (
        bool(getattr(model, "_supports_attention_backend", False))
        and kinds == {"full_attention"}
        and not any(windows)
    )


def _works(agrees: Callable[[], bool]) -> bool:
    """Whether a trial succeeds. A model may refuse what it cannot do with any error at all, and
    then the plain way, which raises its own errors, is taken."""
    try:
        with torch.no_grad():
            return agrees()
    except Exception:
        return False


def _trial_tokens(model: PreTrainedModel, count: int) -> list[int]:
    """Few, since some models reach no farther than the sums that they were trained on."""
    vocab = model.get_input_embeddings().weight.shape[0]
    return [(7 * place + 3) % vocab for place in range(count)]


def _tree_agrees(model: PreTrainedModel) -> bool:
    """Two branches on a trunk, against the two sequences in full."""
    a, b, c, d, e, f = _trial_tokens(model, 6)
    trunk, branches = (a, b), ((c, d), (e, f))
    tree = Tree()
    for slot, branch in enumerate(branches):
        tree.add(Pair(trunk, (*branch, a)), slot)
    forest = plant([tree]).to(model.device)
    found = _run(model, forest)[0]
    for slot, branch in enumerate(branches):
        nodes = forest.nodes[torch.from_numpy(forest.slots == slot)]
        alone = torch.tensor([[*trunk, *branch]], device=model.device)
        if not _agree(found[nodes], model(input_ids=alone).logits[0, len(trunk) - 1 :]):
            return False
    return True


def _head_agrees(model: PreTrainedModel) -> bool:
    tokens = torch.tensor([_trial_tokens(model, 4)], device=model.device)
    places = torch.tensor([3, 1], device=model.device)
    expected = model(input_ids=tokens).logits[:, places]
    with _head_only_at(model, places):
        found = model(input_ids=tokens).logits
    return found.shape == expected.shape and _agree(found, expected)


def _cache_agrees(model: PreTrainedModel) -> bool:
    """A row padded on the left, run in two parts beside another, against the row alone."""
    tokens = _trial_tokens(model, 5)
    rows = torch.tensor([tokens, [0, 0, *tokens[:3]]], device=model.device)
    mask = torch.ones_like(rows)
    mask[1, :2] = 0
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    cache = DynamicCache(config=model.config)
    for part in (slice(0, 4), slice(4, 5)):
        found = model(
            input_ids=rows[:, part],
            attention_mask=mask[:, : part.stop],
            position_ids=positions[:, part],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
    alone = torch.tensor([tokens[:3]], device=model.device)
    return _agree(found[1], model(input_ids=alone).logits[0, 2:])


def _agree(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """Equal but for rounding, seen against how far the logits spread."""
    found, expected = found.double(), expected.double()
    spread = (expected.max() - expected.min()).clamp(min=1e-9)
    return bool((found - expected).abs().max() <= _CLOSE * spread)
