"""Causal attention by products gives what PyTorch's own attention gives, in bf16 on CPU."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from emergectl.models.attention import LONGEST_BY_PRODUCTS, attend_causally


class Layer(nn.Module):
    """As much of an attention layer as transformers' functions look at."""

    is_causal = True
    num_key_value_groups = 2


def inputs(
    seq: int, *, dtype: torch.dtype = torch.bfloat16, key_value_heads: int = 2
) -> list[torch.Tensor]:
    """query, key, value with their gradients wanted."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, heads, seq, 16) for heads in (4, key_value_heads, key_value_heads)]
    made = [torch.randn(shape, generator=generator) for shape in shapes]
    return [tensor.to(dtype).requires_grad_() for tensor in made]


def with_gradients(attend: Callable[..., torch.Tensor], parts: list[torch.Tensor]) -> torch.Tensor:
    """Output [batch, seq, heads, head_dim] and the three gradients, in one row of fp32."""
    mixed = attend(*parts)
    mixed.float().square().sum().backward()
    gradients = [part.grad for part in parts]
    return torch.cat([t.detach().float().flatten() for t in (mixed, *gradients) if t is not None])


def ours(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    return attend_causally(Layer(), query, key, value, None, scaling=0.25)[0]


def torchs(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    return F.scaled_dot_product_attention(
        query, key, value, is_causal=True, scale=0.25, enable_gqa=True
    ).transpose(1, 2)


def calls_of_the_kernel(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows with every call of PyTorch's own attention."""
    seen: list[int] = []
    attention = F.scaled_dot_product_attention

    def watched(query: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        seen.append(query.shape[2])
        return attention(query, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(F, "scaled_dot_product_attention", watched)
    return seen


@pytest.mark.parametrize("key_value_heads", [4, 2])
def test_in_bf16_it_is_as_near_to_exact_attention_as_torchs_own(
    key_value_heads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounded = inputs(40, key_value_heads=key_value_heads)
    exact = with_gradients(torchs, [t.detach().float().requires_grad_() for t in rounded])
    by_torch = with_gradients(torchs, [t.detach().clone().requires_grad_() for t in rounded])
    monkeypatch.setattr(Layer, "num_key_value_groups", 4 // key_value_heads)
    seen = calls_of_the_kernel(monkeypatch)
    by_us = with_gradients(ours, rounded)
    assert seen == []
    error, allowed = ((found - exact).norm() / exact.norm() for found in (by_us, by_torch))
    assert error < 2 * allowed < 0.02


def test_autocast_counts_as_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = calls_of_the_kernel(monkeypatch)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = ours(*inputs(8, dtype=torch.float32))
    assert seen == []
    assert mixed.dtype == torch.bfloat16


def test_elsewhere_it_is_torchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = calls_of_the_kernel(monkeypatch)
    ours(*inputs(8, dtype=torch.float32))
    with torch.no_grad():
        ours(*inputs(9))
    ours(*inputs(LONGEST_BY_PRODUCTS + 1))
    assert seen == [8, 9, LONGEST_BY_PRODUCTS + 1]


def test_dropout_falls_on_the_weights_in_training_only() -> None:
    parts = inputs(12)

    def outputs(layer: nn.Module) -> list[torch.Tensor]:
        return [
            attend_causally(layer, *parts, None, dropout=p, scaling=0.25)[0].detach()
            for p in (0.0, 0.5)
        ]

    plain, dropped = outputs(Layer())
    assert not torch.equal(plain, dropped)
    plain, dropped = outputs(Layer().eval())
    assert torch.equal(plain, dropped)
