"""Causal attention without a mask: the fastest of two ways for what it is given.

PyTorch's flash kernel is that nearly everywhere. On CPU its backward pass in bf16 does not use the
processor's bf16 multiplications: attention written as two batched products takes half of its time
at 16 rows of 6 × 256 × 64, a fifth at 12 of 4 × 64 × 32, and no longer pays beyond a thousand
tokens, where the scores that it keeps for the backward pass grow large as well.

Members of an ensemble attend as one larger batch: without that, `torch.vmap` would call the kernel
for each of them in turn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

CAUSAL = "emergectl_causal"
"""Name of the attention function, which plainly causal models keep in their config: nothing is
switched from call to call, so that threads may share a model. Without an attention mask there is
no mask at all, with one it is that of sdpa."""

LONGEST_BY_PRODUCTS = 1024


def attend_causally(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of every token to itself and all before it, as transformers calls it.

    query: [batch, heads, seq, head_dim]; key, value: the same with as many or fewer heads. Returns
    [batch, seq, heads, head_dim], and no weights. Inside `torch.vmap` all members are one call.
    """
    if not torch.compiler.is_compiling() and torch._C._functorch.is_batchedtensor(query):
        return _as_one_batch(module, query, key, value, attention_mask, scaling=scaling), None
    if attention_mask is None and _products_are_faster(query, key):
        mixed = _by_products(module, query, key, value, dropout=dropout, scaling=scaling)
        return mixed.transpose(1, 2).contiguous(), None
    return sdpa_attention_forward(
        module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
    )


def causal_mask(
    *args: Any,
    q_length: int,
    kv_length: int,
    attention_mask: torch.Tensor | None = None,
    **kwargs: Any,
) -> torch.Tensor | None:
    """The mask of `sdpa`, as transformers asks for it; none where causality says everything.

    transformers itself would build one under torch.compile, where it cannot look for padding.
    """
    if attention_mask is None and q_length == kv_length:
        return None
    return sdpa_mask(
        *args, q_length=q_length, kv_length=kv_length, attention_mask=attention_mask, **kwargs
    )


def _as_one_batch(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None,
) -> torch.Tensor:
    """`attend_causally` inside one `torch.vmap`, without dropout: all members in one call."""
    if attention_mask is not None:
        raise ValueError("members attend without a mask")

    def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return attend_causally(module, query, key, value, None, scaling=scaling)[0]

    return cast(torch.Tensor, _Folded.apply(attend, query, key, value))


class _Folded(torch.autograd.Function):
    """A function of batches whose `vmap` is one call with members and rows as one batch.

    What is called there is ordinary differentiable code, so the gradient outside of `vmap` is its
    own; a gradient inside of it is not to be had.
    """

    @staticmethod
    def forward(attend: Callable[..., torch.Tensor], *parts: torch.Tensor) -> torch.Tensor:
        return attend(*parts)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing is kept: there is no backward here."""

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        attend: Callable[..., torch.Tensor],
        *parts: torch.Tensor,
    ) -> tuple[torch.Tensor, int]:
        members = info.batch_size
        folded = (
            part.movedim(dim, 0).flatten(0, 1)
            if dim is not None
            else part.expand(members, *part.shape).flatten(0, 1)
            for part, dim in zip(parts, in_dims[1:], strict=True)
        )
        return attend(*folded).unflatten(0, (members, -1)), 0


AttentionInterface.register(CAUSAL, attend_causally)
AttentionMaskInterface.register(CAUSAL, causal_mask)


def _products_are_faster(query: torch.Tensor, key: torch.Tensor) -> bool:
    on_cpu = query.device.type == "cpu"
    learns = torch.is_grad_enabled() and query.requires_grad
    if not on_cpu or not learns or query.shape[2] != key.shape[2]:
        return False
    casts = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return (casts or query.dtype == torch.bfloat16) and query.shape[2] <= LONGEST_BY_PRODUCTS


def _by_products(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    dropout: float,
    scaling: float | None,
) -> torch.Tensor:
    """softmax(QKᵀ · scaling) V below the diagonal; [batch, heads, seq, head_dim]."""
    batch, heads, seq, width = query.shape
    groups = heads // key.shape[1]
    query, key, value = (
        tensor.reshape(batch * heads, seq, -1)
        for tensor in (query, repeat_kv(key, groups), repeat_kv(value, groups))
    )
    future = torch.full((seq, seq), -math.inf, dtype=torch.bfloat16).triu(1)
    scores = torch.baddbmm(
        future.expand(batch * heads, seq, seq),
        query,
        key.transpose(1, 2),
        alpha=width**-0.5 if scaling is None else scaling,
    )
    weights = F.dropout(scores.softmax(-1), dropout, module.training)
    return torch.bmm(weights, value).view(batch, heads, seq, -1)
