"""Optimizers: AdamW, SGD, and Muon with AdamW for what is not a hidden matrix.

Which parameter gets which treatment is decided here once, by shape and place: matrices and
embeddings decay, norms and biases do not; Muon takes the matrices between the embeddings and the
head. State is kept under parameter names, so that it can be written as safetensors and read back
into a model built anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from emergectl.config.schema import OptimizerSpec
from emergectl.errors import TrainingError

DEFAULT_MUON_LR = 0.02


class Optimizers:
    """One or two torch optimizers that step together.

    `tensors()` and `load_tensors()` give and take the whole state, each tensor under
    `parameter name/state name`.
    """

    def __init__(self, spec: OptimizerSpec, model: nn.Module, *, device: torch.device) -> None:
        self._names: dict[torch.Tensor, str] = {p: name for name, p in model.named_parameters()}
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.all = list(_build(spec, model, self.parameters, fused=device.type in ("cpu", "cuda")))
        self._checked = False
        for optimizer in self.all:
            for group in optimizer.param_groups:
                group["peak_lr"] = group["lr"]

    def set_learning_rate(self, factor: float) -> float:
        """Set every group to `factor` × its peak; returns the first group's rate, for display."""
        for optimizer in self.all:
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * factor
        return float(self.all[-1].param_groups[0]["lr"])

    def check_gradients(self, model: nn.Module) -> None:
        """After the first backward pass of a session: is what is stepped what learns?

        A model that was sharded or rebuilt after its optimizer trains nothing, without a word. So
        every parameter here has to be one of the model's, the other way round unless it is frozen,
        and to have a gradient. Raises TrainingError naming those that do not.
        """
        if self._checked:
            return
        self._checked = True
        self.check_parameters(model)
        without = [self._names[p] for p in self.parameters if p.grad is None]
        refuse_untrained(without, len(self.parameters))

    def check_parameters(self, model: nn.Module) -> None:
        """Raise TrainingError unless these are all parameters of the model that are not frozen."""
        owned = {p: name for name, p in model.named_parameters() if p.requires_grad}
        stale = [self._names[p] for p in self.parameters if p not in owned]
        missed = [name for p, name in owned.items() if p not in self._names]
        if stale or missed:
            raise TrainingError(
                f"the optimizer holds {len(stale)} parameters that are not the model's, and lacks "
                f"{len(missed)} that are ({_some(stale or missed)}): it was built before the model "
                "was wrapped or changed, so nothing of them would be learnt"
            )

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for optimizer in self.all:
            optimizer.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, torch.Tensor]:
        """The whole state as named tensors on the CPU."""
        return {name: value.detach().cpu().contiguous() for name, value in self._named_state()}

    @property
    def bytes(self) -> int:
        """What `tensors()` take."""
        return sum(value.nbytes for _, value in self._named_state())

    def _named_state(self) -> Iterator[tuple[str, torch.Tensor]]:
        for optimizer in self.all:
            for parameter, state in optimizer.state.items():
                for key, value in state.items():
                    if isinstance(value, torch.Tensor):
                        yield f"{self._names[parameter]}/{key}", value

    def load_tensors(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take back what `tensors` gave, for a model with the same parameter names."""
        states: dict[str, dict[str, torch.Tensor]] = {}
        for key, value in tensors.items():
            name, _, state_name = key.rpartition("/")
            states.setdefault(name, {})[state_name] = value
        for optimizer in self.all:
            in_order = [p for group in optimizer.param_groups for p in group["params"]]
            names = [self._names[parameter] for parameter in in_order]
            state = {index: states[name] for index, name in enumerate(names) if name in states}
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state, "param_groups": groups})


def refuse_untrained(names: Sequence[str], count: int) -> None:
    """Raise TrainingError where parameters, of `count` that are to be trained, get no gradient."""
    if names:
        raise TrainingError(
            f"{len(names)} of {count} parameters get no gradient from the loss, so they would "
            f"never be learnt: {_some(names)}; this model and objective do not fit together"
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _build(
    spec: OptimizerSpec, model: nn.Module, parameters: list[nn.Parameter], *, fused: bool
) -> Iterator[torch.optim.Optimizer]:
    rest = parameters
    if spec.name == "muon":
        hidden = hidden_matrices(model)
        rest = [p for p in parameters if not any(p is h for h in hidden)]
        yield torch.optim.Muon(
            hidden,
            lr=spec.muon_lr or DEFAULT_MUON_LR,
            weight_decay=spec.weight_decay,
            momentum=spec.momentum,
        )
    groups = [
        {"params": [p for p in rest if p.dim() >= 2], "weight_decay": spec.weight_decay},
        {"params": [p for p in rest if p.dim() < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if spec.name == "sgd":
        yield torch.optim.SGD(groups, lr=spec.lr, momentum=spec.momentum, fused=fused)
    elif groups:
        yield torch.optim.AdamW(groups, lr=spec.lr, betas=spec.betas, eps=spec.eps, fused=fused)


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """The trainable matrices that are neither embeddings nor the output head."""
    outer: set[int] = {
        id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)
    }
    heads = [getattr(model, name, None) for name in ("lm_head", "score", "classifier", "decoder")]
    for head in heads:
        if isinstance(head, nn.Module):
            outer.update(id(p) for p in head.parameters())
    inner = (p for p in model.parameters() if id(p) not in outer)
    return [p for p in inner if p.requires_grad and p.dim() == 2]
