"""An objective and a model family that are added from outside, each by one module, train a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModelForCausalLM

from emergectl.cli.main import main
from emergectl.models.families import FAMILIES, Family
from emergectl.models.forward import token_logits
from emergectl.models.ladder import Shape
from emergectl.plugins import Plugin
from emergectl.store.metrics_log import read_metrics
from emergectl.tasks.objectives.language import NextToken

if TYPE_CHECKING:
    from transformers import PreTrainedModel

RUN = """\
name: outside
model: {family: gpt2, size: 10k}
data: {train: {task: copying, vocab_size: 16, segment: 4, repeats: 2, length: 9}}
train: {steps: 3, batch_size: 4, device: cpu, log_every: 1, compile: false, precision: fp32}
"""


class Focal(NextToken):
    """Cross-entropy that weighs what is known already less (Lin et al. 2017), with gamma 2."""

    name = "focal"

    def loss_sum(self, model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Sum over targets of −(1 − p)² log p."""
        labels = batch["labels"].flatten()
        logits = token_logits(model, batch).flatten(0, 1)
        nll = F.cross_entropy(logits, labels, ignore_index=-100, reduction="none")
        return ((1 - (-nll).exp()) ** 2 * nll).sum()


def neox_fields(shape: Shape) -> dict[str, object]:
    return {
        "num_hidden_layers": shape.layers,
        "hidden_size": shape.width,
        "num_attention_heads": shape.heads,
        "intermediate_size": 4 * shape.width,
        "tie_word_embeddings": True,
    }


def train(folder: Path, *overrides: str) -> Path:
    (folder / "run.yaml").write_text(RUN)
    run = folder / "run"
    assert main(["train", str(folder / "run.yaml"), *overrides, "--run-dir", str(run)]) == 0
    return run


def test_an_objective_from_outside_is_what_is_minimised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added = {"focal": Plugin("objectives", "focal", f"{__name__}:Focal", "this test")}
    monkeypatch.setattr("emergectl.tasks.objectives.catalog.plugins", lambda _: added)
    run = train(tmp_path, "objective.name=focal", "optimizer.lr=1e-9")
    lines = read_metrics(run / "metrics.jsonl")
    start = next(line["copying/loss"] for line in lines if "copying/loss" in line)
    first = next(line["loss"] for line in lines if "loss" in line)
    # A model that knows nothing gives each of 16 tokens about a 16th.
    assert start == pytest.approx(2.77, abs=0.1)
    assert first == pytest.approx((15 / 16) ** 2 * 2.77, abs=0.1)


def test_only_the_plain_loss_may_be_computed_by_an_ensemble() -> None:
    assert NextToken().is_cross_entropy
    assert not Focal().is_cross_entropy


def test_an_unknown_objective_names_the_nearest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(RUN + "objective: {name: clmm}\n")
    assert main(["validate", str(file)]) == 2
    said = capsys.readouterr().err
    assert "run.yaml:5: objective.name: no objective `clmm`; did you mean `clm`?" in said


def test_a_family_from_outside_has_sizes_and_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = lambda model, hidden: model.embed_out(hidden)  # noqa: E731
    monkeypatch.setitem(FAMILIES, "gpt_neox", Family("causal", neox_fields, head=head))
    run = train(tmp_path, "model.family=gpt_neox", "model.size=7k")
    model = AutoModelForCausalLM.from_pretrained(next((run / "checkpoints").iterdir()))
    tables = {"gpt_neox.embed_in.weight", "embed_out.weight"}
    count = sum(p.numel() for name, p in model.named_parameters() if name not in tables)
    assert count == pytest.approx(7000, rel=0.15)
