"""What a batch is: tensors by name, and the label of what is no target."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

Batch = dict[str, "torch.Tensor"]
"""`input_ids`, `labels` and whatever else the model's forward takes, each [rows, …]"""
IGNORED = -100
"""the label of a position that is no target, as torch and transformers have it"""
