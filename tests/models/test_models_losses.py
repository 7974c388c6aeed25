"""Losses, held against PyTorch's, transformers' and scikit-learn's own."""

from typing import Any

import pytest
import torch
from sklearn.metrics import log_loss
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, GPTNeoXConfig, PreTrainedModel

from emergectl.config.schema import ModelSpec
from emergectl.models import losses
from emergectl.models.build import new_model
from emergectl.models.families import FAMILIES, Family, llama_fields
from emergectl.models.linear_loss import linear_cross_entropy
from emergectl.models.losses import LARGE_VOCABULARY, classification_loss, token_loss

CAUSAL = [name for name, family in FAMILIES.items() if family.kind == "causal"]


def make(family: str = "gpt2", *, vocab_size: int = 50, **options: Any) -> PreTrainedModel:
    return new_model(
        ModelSpec(family=family, size="10k"),
        head=FAMILIES[family].kind,
        vocab_size=vocab_size,
        seq_len=32,
        **{"seed": 0, "pad_token_id": 0, **options},
    )


def batch_of(rows: int = 8, seq: int = 32, *, share: float = 1.0) -> dict[str, torch.Tensor]:
    """Random tokens with labels on a share of the positions."""
    draw = torch.Generator().manual_seed(rows)
    tokens = torch.randint(1, 50, (rows, seq + 1), generator=draw)
    hidden = torch.rand((rows, seq), generator=draw) >= share
    return {
        "input_ids": tokens[:, :-1].contiguous(),
        "labels": tokens[:, 1:].masked_fill(hidden, -100),
    }


def gradients(model: PreTrainedModel) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("family", CAUSAL)
def test_the_mean_is_the_loss_that_transformers_computes_for_itself(family: str) -> None:
    model = make(family)
    tokens = torch.randint(1, 50, (3, 17), generator=torch.Generator().manual_seed(0))
    total, count = token_loss(model, {"input_ids": tokens[:, :-1], "labels": tokens[:, 1:]})
    assert count == 3 * 16
    torch.testing.assert_close(total / count, model(tokens, labels=tokens).loss)


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert"])
def test_masked_models_have_the_loss_that_transformers_computes(family: str) -> None:
    model, batch = make(family), batch_of(share=0.2)
    theirs = model(input_ids=batch["input_ids"], labels=batch["labels"]).loss
    total, count = token_loss(model, batch, sparse=True)
    torch.testing.assert_close(total / count, theirs)


def test_a_head_that_is_more_than_a_matrix_counts_in_a_large_vocabulary(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scaled = Family(
        "causal", llama_fields, head=lambda m, hidden: m.lm_head(hidden) * m.logit_scale
    )
    monkeypatch.setitem(FAMILIES, "cohere", scaled)
    model = make("cohere", vocab_size=LARGE_VOCABULARY)
    assert model.logit_scale != 1
    batch = batch_of(rows=20)  # 640 positions: more than a chunk
    logits = model(input_ids=batch["input_ids"]).logits
    expected = F.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten(), reduction="sum")
    for sparse in (False, True):
        total, _ = token_loss(model, batch, sparse=sparse)
        torch.testing.assert_close(total, expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_way_to_the_loss_gives_the_same_gradients(
    family: str, smoothing: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "LARGE_VOCABULARY", 50)
    model = make(family).double()
    batch = batch_of(rows=20, share=0.4)  # 640 positions: more than a chunk
    found = []
    for way in ({"chunk": False}, {}, {"sparse": True}, {"sparse": True, "chunk": False}):
        model.zero_grad()
        total, count = token_loss(model, batch, label_smoothing=smoothing, **way)
        (total / count).backward()
        found.append((total, gradients(model)))
    for total, grads in found[1:]:
        torch.testing.assert_close(total, found[0][0], rtol=1e-12, atol=0)
        torch.testing.assert_close(grads, found[0][1], rtol=1e-9, atol=1e-12)


def test_families_that_are_not_known_here_go_the_plain_way() -> None:
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=LARGE_VOCABULARY,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    tokens = torch.randint(1, 50, (20, 33), generator=torch.Generator().manual_seed(0))
    batch = {"input_ids": tokens[:, :-1], "labels": tokens[:, 1:]}
    total, count = token_loss(model, batch, sparse=True)
    torch.testing.assert_close(total / count, model(tokens, labels=tokens).loss)


@pytest.mark.parametrize("chunk_rows", [7, 64])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_chunked_loss_is_pytorchs_cross_entropy(chunk_rows: int, smoothing: float) -> None:
    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(30, 8, generator=draw, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(11, 8, generator=draw, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 11, (30,), generator=draw)
    labels[::4] = -100

    def ours(hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return linear_cross_entropy(
            hidden,
            weight,
            labels,
            ignored=-100,
            label_smoothing=smoothing,
            chunk_rows=chunk_rows,
        )

    theirs = F.cross_entropy(hidden @ weight.T, labels, reduction="sum", label_smoothing=smoothing)
    torch.testing.assert_close(ours(hidden, weight), theirs, rtol=1e-12, atol=0)
    assert torch.autograd.gradcheck(ours, (hidden, weight))


def test_the_chunked_loss_is_exact_in_fp32_and_near_in_bf16_autocast() -> None:
    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(700, 16, generator=draw, requires_grad=True)
    weight = torch.randn(1000, 16, generator=draw).mul(0.1).requires_grad_()
    labels = torch.randint(0, 1000, (700,), generator=draw)
    exact = F.cross_entropy(hidden @ weight.T, labels, reduction="sum")
    torch.testing.assert_close(
        linear_cross_entropy(hidden, weight, labels, ignored=-100), exact, rtol=1e-6, atol=0
    )
    wanted = torch.autograd.grad(exact, (hidden, weight))
    with torch.autocast("cpu", torch.bfloat16):
        rough = linear_cross_entropy(hidden, weight, labels, ignored=-100)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=1e-3, atol=0)
    for found, grad in zip(torch.autograd.grad(rough, (hidden, weight)), wanted, strict=True):
        assert found.dtype == torch.float32
        assert (found - grad).norm() < 0.01 * grad.norm()


def test_evaluation_needs_no_gradient() -> None:
    model, batch = make(vocab_size=LARGE_VOCABULARY), batch_of(rows=20)
    with torch.no_grad():
        total, _ = token_loss(model, batch)
    assert not total.requires_grad
    torch.testing.assert_close(total, token_loss(model, batch, chunk=False)[0])


def rows_of_unequal_length() -> dict[str, torch.Tensor]:
    """10 rows of 3 to 30 tokens, padded on the right: a last window of 10 % 4 is partial."""
    batch = batch_of(rows=10)
    length = torch.arange(3, 33, 3)[:, None]
    real = torch.arange(32)[None] < length
    return {
        "input_ids": batch["input_ids"].masked_fill(~real, 0),
        "attention_mask": real.long(),
        "labels": batch["labels"].masked_fill(~real, -100),
    }


@pytest.mark.parametrize("micro", [1, 2, 4, 8])
@pytest.mark.parametrize("family", ["gpt2", "llama", "bert"])
def test_accumulated_gradients_are_those_of_the_whole_batch(family: str, micro: int) -> None:
    model, batch = make(family).double(), rows_of_unequal_length()
    total, count = token_loss(model, batch)
    (total / count).backward()
    whole = gradients(model)
    model.zero_grad()
    for start in range(0, 10, micro):
        rows = {name: tensor[start : start + micro] for name, tensor in batch.items()}
        (token_loss(model, rows)[0] / count).backward()
    torch.testing.assert_close(gradients(model), whole, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_changes_no_loss(family: str) -> None:
    model, batch = make(family).eval(), rows_of_unequal_length()
    together, count = token_loss(model, batch)
    alone = [
        token_loss(model, {name: t[i : i + 1, : 3 * (i + 1)] for name, t in batch.items()})
        for i in range(10)
    ]
    assert count == sum(n for _, n in alone) == 165
    torch.testing.assert_close(together, torch.stack([loss for loss, _ in alone]).sum())


def test_the_end_of_text_is_a_target_also_where_it_is_the_padding() -> None:
    model = make(pad_token_id=0, eos_token_id=0).eval()
    batch = {"input_ids": torch.tensor([[5, 6, 0]]), "labels": torch.tensor([[6, 0, -100]])}
    total, count = token_loss(model, batch)
    logits = model(batch["input_ids"]).logits[0, :2]
    assert count == 2
    torch.testing.assert_close(
        total, F.cross_entropy(logits, torch.tensor([6, 0]), reduction="sum")
    )


@pytest.mark.parametrize("vocab_size", [50, LARGE_VOCABULARY])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_the_loss_compiles_to_one_graph(family: str, vocab_size: int) -> None:
    model, batch = make(family, vocab_size=vocab_size), batch_of(rows=20)
    plain, _ = token_loss(model, batch)
    torch.compiler.reset()
    compiled = torch.compile(token_loss, backend="aot_eager", fullgraph=True)
    total, _ = compiled(model, batch)
    torch.testing.assert_close(total, plain)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("family", CAUSAL)
def test_models_of_one_shape_train_stacked_under_vmap(family: str) -> None:
    models = [make(family, seed=seed) for seed in range(3)]
    batch = batch_of(rows=2)
    parameters, buffers = torch.func.stack_module_state(models)  # type: ignore[arg-type]

    class Loss(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = models[0]

        def forward(self) -> torch.Tensor:
            return token_loss(self.model, batch, chunk=False)[0]

    def loss_of(parameters: Any, buffers: Any) -> torch.Tensor:
        state = {f"model.{name}": t for name, t in (parameters | buffers).items()}
        return torch.func.functional_call(Loss(), state, ())

    together = torch.vmap(loss_of)(parameters, buffers)
    alone = torch.stack([token_loss(model, batch)[0] for model in models])
    torch.testing.assert_close(together, alone)


WEIGHTS = torch.tensor([0.5, 2.0, 1.5])


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_multiclass_is_scikit_learns_log_loss(weights: torch.Tensor | None) -> None:
    logits = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(12) % 3
    total, count = classification_loss(logits, labels, "multiclass", class_weights=weights)
    sample_weight = None if weights is None else weights[labels].numpy()
    theirs = log_loss(labels, logits.double().softmax(1), sample_weight=sample_weight)
    assert (total / count).item() == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize("weights", [None, WEIGHTS[:2]])
def test_binary_is_scikit_learns_log_loss(weights: torch.Tensor | None) -> None:
    logits = torch.randn(12, 1, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(12) % 2
    total, count = classification_loss(logits, labels, "binary", class_weights=weights)
    sample_weight = None if weights is None else weights[labels].numpy()
    chance = logits.double().sigmoid().flatten()
    theirs = log_loss(labels, chance, sample_weight=sample_weight)
    assert (total / count).item() == pytest.approx(theirs, rel=1e-6)


def test_multilabel_is_the_mean_over_labels_of_scikit_learns_log_loss() -> None:
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(12, 3, generator=draw)
    labels = (torch.rand(12, 3, generator=draw) < 0.5).float()
    total, count = classification_loss(logits, labels, "multilabel")
    chance = logits.double().sigmoid()
    theirs = sum(log_loss(labels[:, i], chance[:, i], labels=[0, 1]) for i in range(3)) / 3
    assert (total / count).item() == pytest.approx(theirs, rel=1e-6)


def test_multilabel_weights_count_each_label_by_its_own() -> None:
    logits, labels = torch.tensor([[3.0, -1.0]]), torch.tensor([[1.0, 1.0]])
    total, _ = classification_loss(
        logits, labels, "multilabel", class_weights=torch.tensor([1.0, 3.0])
    )
    each = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")[0]
    torch.testing.assert_close(total, (each[0] + 3 * each[1]) / 4)


def test_smoothing_is_pytorchs_for_many_classes_and_its_two_class_form_for_binary() -> None:
    logits = torch.randn(6, 1, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 1, 0, 1, 0])
    two = torch.cat([torch.zeros_like(logits), logits], dim=1)
    theirs = F.cross_entropy(two, labels, label_smoothing=0.2)
    for kind, scores in (("multiclass", two), ("binary", logits)):
        total, count = classification_loss(scores, labels, kind, label_smoothing=0.2)  # type: ignore[arg-type]
        torch.testing.assert_close(total / count, theirs)


def test_a_sure_and_wrong_answer_has_a_finite_loss() -> None:
    total, _ = classification_loss(torch.tensor([[200.0]]), torch.tensor([0]), "binary")
    assert total.item() == pytest.approx(200)
