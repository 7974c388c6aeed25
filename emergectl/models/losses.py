"""Losses: a sum over targets and the number of targets, never a mean.

Whoever trains divides the sum over the whole global batch by its count, so that neither
micro-batches nor ranks change the result. Labels stand beside the logits they belong to (the data
layer has shifted them for next-token prediction); -100 is no target. They never go into the
transformers model itself, which would shift and average them in its own ways.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn import functional as F
from transformers import PreTrainedModel

from emergectl.data.batches import IGNORED, Batch
from emergectl.models.families import find_family, lm_head
from emergectl.models.forward import last_hidden_states, target_logits, token_logits
from emergectl.models.linear_loss import CHUNK_ROWS, linear_cross_entropy

LARGE_VOCABULARY = 8192
"""from this many tokens on, output layer and loss are taken together in chunks"""

SumAndCount = tuple[torch.Tensor, torch.Tensor]


def token_loss(
    model: PreTrainedModel,
    batch: Batch,
    *,
    label_smoothing: float = 0.0,
    sparse: bool = False,
    chunk: bool = True,
) -> SumAndCount:
    """Cross-entropy over the targets of a batch, summed, in nats.

    batch: `input_ids` [batch, seq], `labels` [batch, seq], and what else the model takes
    (`attention_mask`, `token_type_ids`); rows of causal models are padded on the right. Returns
    the sum (fp32; fp64 for an fp64 model) and the count of targets (int64), both [].

    `sparse` is for objectives with few targets (masked LM, answers): the output head runs on these
    alone. `chunk=False` keeps a large vocabulary's logits whole, as torch.func's transforms need.
    """
    labels = batch["labels"]
    count = (labels != IGNORED).sum()
    if model.config.is_encoder_decoder:
        return _cross_entropy(*target_logits(model, batch), label_smoothing), count
    family = find_family(model.config.model_type)
    if family is None:  # what its head does after the last linear layer is not known here
        return _cross_entropy(token_logits(model, batch), labels, label_smoothing), count
    output = model.get_output_embeddings()
    # In chunks only the matrix is used, so a head has to be that and nothing else.
    is_matrix = family.head is lm_head and model.lm_head is output and output.bias is None
    chunked = chunk and is_matrix and output.weight.shape[0] >= LARGE_VOCABULARY
    if not sparse and not (chunked and labels.numel() > CHUNK_ROWS):
        return _cross_entropy(token_logits(model, batch), labels, label_smoothing), count
    hidden = last_hidden_states(model, batch)
    if sparse:
        hidden, labels = _targets_only(hidden, labels)
    if chunked:
        loss = linear_cross_entropy(
            hidden.flatten(0, -2),
            output.weight,
            labels.flatten(),
            ignored=IGNORED,
            label_smoothing=label_smoothing,
        )
        return loss, count
    return _cross_entropy(family.head(model, hidden), labels, label_smoothing), count


# How many targets there are is only known from the labels: a graph cannot hold that.
@torch.compiler.disable
def _targets_only(hidden: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The positions that are targets: [targets, width] and [targets]."""
    is_target = labels != IGNORED
    return hidden[is_target], labels[is_target]


def _cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, label_smoothing: float
) -> torch.Tensor:
    """logits: [..., vocab], labels: [...] → the sum over targets."""
    return F.cross_entropy(
        exact(logits.flatten(0, -2)),
        labels.flatten(),
        ignore_index=IGNORED,
        reduction="sum",
        label_smoothing=label_smoothing,
    )


def exact(logits: torch.Tensor) -> torch.Tensor:
    """In a dtype that sums over a vocabulary do not spoil."""
    return logits if logits.dtype == torch.float64 else logits.float()


def classification_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    kind: Literal["binary", "multiclass", "multilabel"],
    *,
    class_weights: torch.Tensor | None = None,
    label_smoothing: float = 0.0,
) -> SumAndCount:
    """Loss of classification over a batch, summed, in nats, and what to divide it by.

    - binary: logits [batch, 1], labels [batch] of 0 and 1; with ŷ the sigmoid of the logit,
      −[y log ŷ + (1−y) log(1−ŷ)].
    - multiclass: logits [batch, classes], labels [batch] of class numbers; −log softmax of the
      right one.
    - multilabel: logits [batch, labels], labels [batch, labels] of 0 and 1; the mean over labels
      of the binary loss, so that its size does not grow with their number.

    `class_weights` [classes] ([2] for binary) weigh each item by its class, for multilabel each
    label; the count is then the sum of the weights, as in PyTorch's and scikit-learn's weighted
    means. Smoothing ε moves ε of the target's mass evenly over the classes. The sum is fp32.
    """
    logits = exact(logits)
    class_weights = None if class_weights is None else class_weights.to(logits.dtype)
    if kind == "multiclass":
        loss = F.cross_entropy(
            logits,
            labels,
            weight=class_weights,
            ignore_index=IGNORED,
            reduction="sum",
            label_smoothing=label_smoothing,
        )
        targets = labels[labels != IGNORED]
        return loss, _weight_of(targets, class_weights)
    if kind == "binary":
        targets = labels.flatten().to(logits.dtype)
        smooth = targets * (1 - label_smoothing) + label_smoothing / 2
        weights = None if class_weights is None else class_weights[labels.flatten().long()]
        loss = F.binary_cross_entropy_with_logits(
            logits.flatten(), smooth, weight=weights, reduction="sum"
        )
        return loss, _weight_of(labels.flatten().long(), class_weights)
    each = F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none")
    if class_weights is None:
        return each.mean(dim=1).sum(), torch.tensor(float(len(labels)), device=labels.device)
    rows = (each * class_weights).sum(dim=1) / class_weights.sum()
    return rows.sum(), torch.tensor(float(len(labels)), device=labels.device)


def _weight_of(targets: torch.Tensor, class_weights: torch.Tensor | None) -> torch.Tensor:
    """What a weighted sum over targets is divided by: [] fp32."""
    if class_weights is None:
        return torch.tensor(float(targets.numel()), device=targets.device)
    return class_weights[targets].sum()
