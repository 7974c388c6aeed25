"""Which parameter gets which treatment, steps against plain torch, and the state's way to disk."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from emergectl.config.schema import ModelSpec, OptimizerSpec
from emergectl.models.build import new_model
from emergectl.training.optimizers import DEFAULT_MUON_LR, Optimizers, hidden_matrices

CPU = torch.device("cpu")
FAMILIES = ["gpt2", "llama", "bert", "modernbert", "attention_only"]


def model_of(family: str, seed: int = 0) -> PreTrainedModel:
    masked = "bert" in family
    return new_model(
        ModelSpec(family=family, size="10k"),
        head="masked" if masked else "causal",
        vocab_size=40,
        seq_len=8,
        seed=seed,
        pad_token_id=0 if masked else None,
    )


def optimizers_of(model: PreTrainedModel, **fields: Any) -> Optimizers:
    return Optimizers(OptimizerSpec.model_validate(fields), model, device=CPU)


def learn(model: PreTrainedModel, optimizers: Optimizers, steps: int, first: int = 0) -> None:
    for step in range(first, first + steps):
        ids = torch.randint(1, 40, (4, 8), generator=torch.Generator().manual_seed(step))
        optimizers.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        for optimizer in optimizers.all:
            optimizer.step()


def groups_by_decay(optimizers: Optimizers, decays: bool) -> set[torch.Tensor]:
    groups = [group for optimizer in optimizers.all for group in optimizer.param_groups]
    return {p for group in groups if bool(group["weight_decay"]) is decays for p in group["params"]}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["adamw", "muon", "sgd"])
def test_norms_and_biases_do_not_decay_and_every_parameter_is_trained_once(
    family: str, name: str
) -> None:
    model = model_of(family)
    optimizers = optimizers_of(model, name=name)
    exempt = groups_by_decay(optimizers, decays=False)
    for parameter_name, parameter in model.named_parameters():
        is_vector = parameter_name.endswith("bias") or "norm" in parameter_name.lower()
        assert (parameter in exempt) == (is_vector or parameter.dim() < 2), parameter_name
    trained = [
        id(p) for optimizer in optimizers.all for g in optimizer.param_groups for p in g["params"]
    ]
    assert sorted(trained) == sorted(id(p) for p in model.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_muon_takes_the_matrices_inside_and_leaves_embeddings_and_head_to_adamw(
    family: str,
) -> None:
    model = model_of(family)
    hidden = {id(p) for p in hidden_matrices(model)}
    outside = [model.get_input_embeddings().weight, model.get_output_embeddings().weight]
    assert hidden
    assert not any(id(weight) in hidden for weight in outside)
    for name, parameter in model.named_parameters():
        inside = parameter.dim() == 2 and ("layer" in name or ".h." in name)
        if inside and "norm" not in name.lower():
            assert id(parameter) in hidden, name
    muon, adamw = optimizers_of(model, name="muon", lr=1e-3).all
    assert isinstance(muon, torch.optim.Muon)
    assert isinstance(adamw, torch.optim.AdamW)
    assert {id(p) for p in muon.param_groups[0]["params"]} == hidden
    assert muon.param_groups[0]["lr"] == DEFAULT_MUON_LR


def test_adamw_steps_as_one_written_out_by_hand() -> None:
    ours, theirs = model_of("llama"), model_of("llama")
    learn(ours, optimizers_of(ours, lr=1e-2, weight_decay=0.1, betas=[0.9, 0.95]), steps=5)
    moments = {n: (torch.zeros_like(p), torch.zeros_like(p)) for n, p in theirs.named_parameters()}
    for step in range(5):
        ids = torch.randint(1, 40, (4, 8), generator=torch.Generator().manual_seed(step))
        theirs.zero_grad()
        theirs(input_ids=ids, labels=ids).loss.backward()
        with torch.no_grad():
            for name, p in theirs.named_parameters():
                assert p.grad is not None
                first, second = moments[name]
                first.mul_(0.9).add_(0.1 * p.grad)
                second.mul_(0.95).add_(0.05 * p.grad**2)
                p.mul_(1 - 1e-2 * (0.1 if p.dim() > 1 else 0.0))
                corrected = (second / (1 - 0.95 ** (step + 1))).sqrt() + 1e-8
                p.sub_(1e-2 * (first / (1 - 0.9 ** (step + 1))) / corrected)
    for name, p in theirs.named_parameters():
        torch.testing.assert_close(ours.get_parameter(name), p, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["adamw", "muon", "sgd"])
def test_training_goes_on_from_saved_state_as_if_it_had_never_stopped(
    name: str, tmp_path: Path
) -> None:
    straight = model_of("gpt2")
    optimizers = optimizers_of(straight, name=name)
    learn(straight, optimizers, steps=3)
    save_file(optimizers.tensors(), tmp_path / "optimizer.safetensors")
    resumed = copy.deepcopy(straight)
    learn(straight, optimizers, steps=2, first=3)

    others = optimizers_of(resumed, name=name)
    others.load_tensors(load_file(tmp_path / "optimizer.safetensors"))
    learn(resumed, others, steps=2, first=3)
    for key, weight in straight.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[key]), key


def test_a_learning_rate_factor_reaches_every_group_at_its_own_peak() -> None:
    optimizers = optimizers_of(model_of("gpt2"), name="muon", lr=1e-3, muon_lr=0.05)
    assert optimizers.set_learning_rate(0.5) == pytest.approx(5e-4)
    assert optimizers.set_learning_rate(0.1) == pytest.approx(1e-4)
    rates = {g["lr"] for optimizer in optimizers.all for g in optimizer.param_groups}
    assert sorted(rates) == pytest.approx([1e-4, 5e-3])
