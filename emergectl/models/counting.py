"""Counting parameters and floating-point operations.

Conventions, stated once:

- A tied matrix counts once. Embedding parameters are those of every embedding table (tokens,
  positions, token types) and of the output layer over the vocabulary with its bias; all else is
  non-embedding, and that is what a rung of the ladder counts.
- FLOPs are those of matrix multiplications, 2 · m · n · k each: the linear layers, both products
  of attention over the full square of scores (causal masking halves neither), and the logits.
  Lookups, norms, activations and softmax are free. Training costs three forward passes. Per token
  this is 6 N + 12 · layers · width · seq_len, N being the parameters that multiply.
- A row counts with its own tokens: padding is no work that anybody asked for, and how much there
  is of it hangs on how rows are put together. The output layer counts at every position.
- Of the tokens of a sequence that an encoder–decoder learns, half go through either.

Nothing is derived from a family's formula: a copy of the model without storage (fake
tensors) runs one forward pass, and PyTorch counts what it multiplies.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel
from transformers.initialization import no_init_weights

from emergectl.models.build import quiet


@dataclass(frozen=True)
class ParameterCount:
    """How many parameters a model has; `total` = `embedding` + `non_embedding`."""

    total: int
    embedding: int
    non_embedding: int
    bias: int
    """of `total`, those in vectors named bias, since some publications leave them out"""


def count_parameters(model: PreTrainedModel) -> ParameterCount:
    """Parameters of a model, a shared one once."""
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    output = model.get_output_embeddings()
    if output is not None:
        tables.append(output)
    in_tables = {id(p) for table in tables for p in table.parameters()}
    total = embedding = bias = 0
    for name, parameter in model.named_parameters():
        size = parameter.numel()
        total += size
        embedding += size if id(parameter) in in_tables else 0
        bias += size if name.endswith("bias") else 0
    return ParameterCount(total, embedding, total - embedding, bias)


def forward_flops(model: PreTrainedModel, *, batch: int, seq_len: int) -> int:
    """FLOPs of one forward pass over `batch` sequences of `seq_len` tokens.

    Counted once for a shape: a process that trains one model after another counts for 0.1 s else.
    """
    shape = (type(model), model.config.to_json_string(), batch, seq_len)
    if shape not in _COUNTED:
        _COUNTED[shape] = _count_forward(model, batch, seq_len)
    return _COUNTED[shape]


_COUNTED: dict[tuple[type, str, int, int], int] = {}


def _count_forward(model: PreTrainedModel, batch: int, seq_len: int) -> int:
    config = copy.deepcopy(model.config)
    # Attention written out in matrix products, so that the count does not hang on a kernel's name.
    config._attn_implementation = "eager"
    with FakeTensorMode(), no_init_weights(), quiet():
        ghost = type(model)(config).eval()
        tokens = torch.zeros(batch, seq_len, dtype=torch.long)
        inputs = {"input_ids": tokens}
        if config.is_encoder_decoder:
            read, written = tokens.split([seq_len - seq_len // 2, seq_len // 2], dim=1)
            inputs = {"input_ids": read, "decoder_input_ids": written}
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            ghost(**inputs)
    return counter.get_total_flops()


@dataclass(frozen=True)
class RowFlops:
    """What training spends on a row of so many tokens: a quadratic in their number, exactly."""

    constant: float
    linear: float
    quadratic: float

    def __call__(self, lengths: NDArray[np.int64]) -> NDArray[np.float64]:
        """FLOPs of rows of these lengths, forward and backward: [rows]."""
        tokens = lengths.astype(np.float64)
        return self.constant + tokens * (self.linear + tokens * self.quadratic)


def row_flops(model: PreTrainedModel) -> RowFlops:
    """The quadratic of a model, through its counts at three lengths."""
    lengths = (2, 4, 8)  # even, since halves of them go through an encoder–decoder's two parts
    a, b, c = (3 * forward_flops(model, batch=1, seq_len=length) for length in lengths)
    first, second = (b - a) / 2, (c - b) / 4
    quadratic = (second - first) / 6
    linear = first - 6 * quadratic
    return RowFlops(a - 2 * linear - 4 * quadratic, linear, quadratic)


# Dense peaks from the makers' data sheets, without sparsity. The first name that occurs in the
# device's own counts, so the longer stand first. fp16 is as fast as bf16 where there is bf16.
_PEAK_TFLOPS: list[tuple[str, float, float]] = [
    # name, bf16 or fp16, fp32 (TF32 not used)
    ("B200", 2250, 75),
    ("H200", 989, 67),
    ("H100 PCIe", 756, 51),
    ("H100 NVL", 835, 60),
    ("H100", 989, 67),
    ("H800", 989, 67),
    ("H20", 148, 44),
    ("A100", 312, 19.5),
    ("A800", 312, 19.5),
    ("A40", 150, 37.4),
    ("A30", 165, 10.3),
    ("A10G", 70, 31.5),
    ("A10", 125, 31.2),
    ("A6000", 155, 38.7),
    ("L40S", 362, 91.6),
    ("L40", 181, 90.5),
    ("L4", 121, 30.3),
    ("T4", 65, 8.1),
    ("V100", 125, 15.7),
    ("RTX 5090", 209, 104.8),
    ("RTX 5080", 112, 56.3),
    ("RTX 4090", 165, 82.6),
    ("RTX 4080", 97, 48.7),
    ("RTX 3090", 71, 35.6),
    ("RTX 3080", 59, 29.8),
    ("MI300X", 1307, 163),
    ("MI250", 383, 95.7),
]

_NO_BF16 = ("V100", "T4")


def peak_flops(device_name: str, dtype: torch.dtype) -> float | None:
    """Peak FLOP/s of a device by the name PyTorch gives it; None where it is not known."""
    for name, half, single in _PEAK_TFLOPS:
        if name.lower() in device_name.lower():
            if dtype == torch.bfloat16 and name in _NO_BF16:
                return None
            tflops = {torch.float16: half, torch.bfloat16: half, torch.float32: single}.get(dtype)
            return None if tflops is None else tflops * 1e12
    return None
