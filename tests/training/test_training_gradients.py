"""What an optimizer steps is what the model learns with: told at once where it is not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from emergectl.cli.main import main
from emergectl.config.schema import ModelSpec, OptimizerSpec
from emergectl.errors import TrainingError
from emergectl.models.build import new_model
from emergectl.runtime.ranks import Ranks
from emergectl.training.optimizers import Optimizers

RUN = """\
name: learner
model: {family: gpt2, size: 10k}
data: {train: {task: copying, vocab_size: 16, segment: 4, repeats: 2, length: 9}}
train: {steps: 4, batch_size: 4, device: cpu, log_every: 1, compile: false, precision: fp32}
optimizer: {lr: 0.01, weight_decay: 0}
snapshots: {every: [0, 4]}
"""


def put_anew(module: nn.Module) -> nn.Module:
    """Put other parameters in the place of a module's, as FSDP2 does (`fully_shard`)."""
    anew: dict[nn.Parameter, nn.Parameter] = {}
    for part in module.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            if parameter not in anew:
                anew[parameter] = nn.Parameter(parameter.detach().clone())
            setattr(part, name, anew[parameter])
    return module


def model_and_optimizers() -> tuple[nn.Module, Optimizers]:
    spec = ModelSpec(family="gpt2", size="10k")
    model = new_model(spec, head="causal", vocab_size=40, seq_len=8, seed=0)
    return model, Optimizers(OptimizerSpec(), model, device=torch.device("cpu"))


def test_a_model_whose_parameters_are_put_anew_by_its_wrapping_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ranks, "wrap", lambda _, module: put_anew(module))
    (tmp_path / "run.yaml").write_text(RUN)
    run = tmp_path / "run"
    assert main(["train", str(tmp_path / "run.yaml"), "--run-dir", str(run)]) == 0
    before, after = (
        load_file(run / "snapshots" / f"step-0000000{step}" / "model.safetensors")
        for step in (0, 4)
    )
    assert before.keys() == after.keys()
    assert [name for name in before if torch.equal(before[name], after[name])] == []


def test_an_optimizer_built_before_the_model_was_wrapped_is_told() -> None:
    model, optimizers = model_and_optimizers()
    put_anew(model)
    ids = torch.ones(1, 8, dtype=torch.long)
    model(input_ids=ids, labels=ids).loss.backward()
    with pytest.raises(TrainingError, match=r"holds \d+ parameters that are not the model's"):
        optimizers.check_gradients(model)


def test_parameters_without_gradients_are_named() -> None:
    model, optimizers = model_and_optimizers()
    ids = torch.ones(1, 8, dtype=torch.long)
    model(input_ids=ids, labels=ids).loss.backward()
    model.transformer.ln_f.weight.grad = None
    with pytest.raises(TrainingError, match=r"^1 of \d+ parameters.*: transformer.ln_f.weight;"):
        optimizers.check_gradients(model)


def test_what_is_frozen_on_purpose_may_go_without() -> None:
    model, _ = model_and_optimizers()
    model.transformer.wte.weight.requires_grad_(False)
    optimizers = Optimizers(OptimizerSpec(), model, device=torch.device("cpu"))
    ids = torch.ones(1, 8, dtype=torch.long)
    model(input_ids=ids, labels=ids).loss.backward()
    optimizers.check_gradients(model)
    assert all(p is not model.transformer.wte.weight for p in optimizers.parameters)
