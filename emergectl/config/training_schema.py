"""The sections of an experiment that say how it learns: budget, batches, optimizer, schedule."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from emergectl.config.parts import Fraction, Part, PositiveFloat, PositiveInt


class EarlyStoppingSpec(Part):
    """Stop when a watched metric no longer improves."""

    patience: PositiveInt = 5
    """evaluations without improvement before stopping"""
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    """what counts as an improvement"""


BUDGETS = ("steps", "tokens", "epochs", "flops")
"""of which an experiment has one"""


class TrainSpec(Part):
    """How long, in what batches, in what arithmetic."""

    steps: PositiveInt | None = None
    """budget: optimizer steps (default 1000 where no budget is given)"""
    tokens: PositiveFloat | None = None
    """budget: tokens seen"""
    epochs: PositiveFloat | None = None
    """budget: passes over the training data"""
    flops: PositiveFloat | None = None
    """budget: training FLOPs (6N per token and attention)"""
    minutes: PositiveFloat | None = None
    """budget: wall time; beside another budget, whichever ends first"""
    batch_size: PositiveInt = 32
    """sequences in a step, over all ranks"""
    micro_batch_size: PositiveInt | Literal["auto"] = "auto"
    """sequences in one forward pass on one rank; auto: all, halved when memory runs out"""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto measures on this machine and remembers"""
    compile: bool | Literal["auto"] = "auto"
    """torch.compile; auto weighs the time to compile against the length of the run"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: cuda where there is one"""
    threads: PositiveInt | None = None
    """CPU threads; null leaves PyTorch's choice"""
    log_every: PositiveInt = 10
    """steps between lines of metrics.jsonl"""
    deterministic: bool = False
    """deterministic algorithms only: the same bits every time on the same machine"""
    nan: Annotated[str, Field(pattern=r"^(stop|skip [1-9][0-9]*)$")] = "stop"
    """loss or gradient not finite: `stop`, or `skip N` updates at most"""
    early_stopping: EarlyStoppingSpec | None = None
    """stop when `evaluation.best` no longer improves"""

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        given = [k for k in BUDGETS if getattr(self, k) is not None]
        if len(given) > 1:
            raise ValueError(f"one budget, not {' and '.join(given)}")
        if self.micro_batch_size != "auto" and self.micro_batch_size > self.batch_size:
            raise ValueError("`micro_batch_size` is larger than `batch_size`")
        return self


class OptimizerSpec(Part):
    """The optimizer; no weight decay on norms and biases."""

    name: Literal["adamw", "muon", "sgd"] = "adamw"
    """muon: hidden matrices by Muon, everything else by AdamW"""
    lr: PositiveFloat = 1e-3
    """peak learning rate"""
    muon_lr: PositiveFloat | None = None
    """muon: peak learning rate of the hidden matrices (default 0.02)"""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """weight decay of matrices and embeddings, decoupled (for sgd: added to the gradient)"""
    betas: tuple[Fraction, Fraction] = (0.9, 0.95)
    """adamw: decay rates of the two moments"""
    eps: PositiveFloat = 1e-8
    """adamw: added to the root of the second moment"""
    momentum: Fraction = 0.95
    """sgd and muon: momentum"""
    grad_clip: PositiveFloat | None = 1.0
    """largest norm of the gradient; null: no clipping"""

    @field_validator("betas", mode="before")
    @classmethod
    def _list_is_a_pair(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


class ScheduleSpec(Part):
    """The learning rate over the run."""

    name: Literal["cosine", "linear", "constant", "wsd"] = "cosine"
    """wsd: warm up, stay, then decay over the last `decay_fraction`"""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """steps of linear rise from 0 to the peak"""
    min_lr_ratio: Annotated[float, Field(ge=0, le=1)] = 0.0
    """learning rate at the end, as a share of the peak (not for constant)"""
    decay_fraction: Annotated[float, Field(gt=0, le=1)] = 0.2
    """wsd: share of the run in which the rate decays linearly"""
