"""Many models of one shape as one: weights, gradients and moments are matrices with a row a member.

The parameters and optimizer states of every member's own job become views into its row, so that
evaluation, checkpoints and all else that a run does on its own see each step without a copy. One
backward pass of the members' summed losses gives each its own gradient; AdamW then is a few
operations on whole matrices, with a learning rate, decay and betas for each row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.nn import functional as F

from emergectl.data.batches import IGNORED, Batch
from emergectl.models.forward import logits_of_members
from emergectl.models.losses import exact
from emergectl.runtime.precision import autocast
from emergectl.training.loop import Job
from emergectl.training.optimizers import refuse_untrained


class Stack:
    """The models of `jobs`, to be trained together; all in the state that their jobs are in."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            job.trained.optimizers.check_parameters(job.trained.model)
        self._template = jobs[0].trained.model
        self._smoothing = jobs[0].objective.label_smoothing
        self._precision, self._device = jobs[0].precision, jobs[0].ranks.device
        self._places = _places(self._template)
        self._weights, self._firsts, self._seconds = (
            torch.stack([_row_of(job, self._places, state) for job in jobs])
            for state in (None, "exp_avg", "exp_avg_sq")
        )
        self._updates = torch.stack([_updates_of(job, self._places) for job in jobs])
        self._gradients = torch.empty_like(self._weights)
        for row, job in enumerate(jobs):
            self._lend(row, job)
        self._parameters = {
            name: self._weights[:, begin:end].unflatten(1, shape).detach().requires_grad_()
            for name, begin, end, shape in self._places
        }
        specs = [job.experiment.optimizer for job in jobs]
        # As AdamW's own: in double precision until they meet the weights.
        self._decay = self._numbers([[spec.weight_decay] for spec in specs])
        self._betas = self._numbers([[*spec.betas] for spec in specs])
        self._epsilon = specs[0].eps
        self._decayed = max((end for _, _, end, shape in self._places if len(shape) > 1), default=0)

    def gradients(self, batches: Sequence[Batch], targets: Sequence[float]) -> torch.Tensor:
        """Take the gradients of every member's mean loss; the losses: [members].

        batches: one a member, each [rows, width] and padded on the right; targets: what the sum of
        each one's losses is divided by.
        """
        batch = {name: part.to(self._device) for name, part in _stacked(batches).items()}
        labels = batch.pop("labels")
        with autocast(self._precision, self._device):
            logits = logits_of_members(self._template, self._parameters, batch)
        losses = F.cross_entropy(
            exact(logits.flatten(0, -2)),
            labels.flatten(),
            ignore_index=IGNORED,
            reduction="none",
            label_smoothing=self._smoothing,
        )
        by_member = losses.view(len(labels), -1).sum(1) / torch.tensor(
            targets, dtype=losses.dtype, device=self._device
        )
        parameters = list(self._parameters.values())
        found = torch.autograd.grad(by_member.sum(), parameters, allow_unused=True)
        without = [n for n, one in zip(self._parameters, found, strict=True) if one is None]
        refuse_untrained(without, len(parameters))
        torch.cat([gradient.flatten(1) for gradient in found], 1, out=self._gradients)
        return by_member.detach()

    def gradient_norms(self) -> torch.Tensor:
        """Norm of every member's gradient: [members]."""
        return torch.linalg.vector_norm(self._gradients, dim=1)

    @torch.no_grad()
    def clip(self, norms: torch.Tensor, limit: float) -> None:
        """Clip the gradient of each member to `limit`."""
        self._gradients.mul_((limit / (norms + 1e-6)).clamp(max=1.0)[:, None])

    @torch.no_grad()
    def update(self, learning_rates: Sequence[float], rows: Sequence[int]) -> None:
        """AdamW (Loshchilov & Hutter 2019, as torch computes it) for the members `rows`."""
        rates = self._numbers([[rate] for rate in learning_rates])
        everyone = len(rows) == len(self._weights)
        chosen: slice | list[int] = slice(None) if everyone else list(rows)
        weights, gradients = self._weights[chosen], self._gradients[chosen]
        firsts, seconds = self._firsts[chosen], self._seconds[chosen]
        rates, decay, betas = rates[chosen], self._decay[chosen], self._betas[chosen]
        self._updates[chosen] += 1
        counts = self._updates[chosen][:, :1].double()
        beta_1, beta_2 = betas[:, :1], betas[:, 1:]
        weights[:, : self._decayed].mul_((1 - rates * decay).float())
        firsts.lerp_(gradients, (1 - beta_1).float())
        seconds.mul_(beta_2.float()).add_(gradients.square().mul_((1 - beta_2).float()))
        scale = (1 - beta_2**counts).sqrt()
        steps = seconds.sqrt().div_(scale.float()).add_(self._epsilon)
        steps = torch.div(firsts, steps, out=steps).mul_((rates / (1 - beta_1**counts)).float())
        weights.sub_(steps)
        if not everyone:  # What a list of rows chooses is a copy.
            self._weights[chosen], self._firsts[chosen] = weights, firsts
            self._seconds[chosen] = seconds

    def _numbers(self, rows: list[list[float]]) -> torch.Tensor:
        return torch.tensor(rows, dtype=torch.float64, device=self._device)

    def _lend(self, row: int, job: Job) -> None:
        """Make a member's parameters and optimizer states views into its row."""
        parameters = dict(job.trained.model.named_parameters())
        (optimizer,) = job.trained.optimizers.all
        for place, (name, begin, end, shape) in enumerate(self._places):
            parameter = parameters[name]
            parameter.data = self._weights[row, begin:end].view(shape)
            optimizer.state[parameter] = {
                "step": self._updates[row, place],
                "exp_avg": self._firsts[row, begin:end].view(shape),
                "exp_avg_sq": self._seconds[row, begin:end].view(shape),
            }


ParameterSlice = tuple[str, int, int, tuple[int, ...]]
"""a parameter's name, the columns [begin, end) that hold it, and its shape"""


def _places(model: torch.nn.Module) -> list[ParameterSlice]:
    """Every parameter's columns; what decays stands first."""
    named = sorted(model.named_parameters(), key=lambda pair: pair[1].dim() < 2)
    places: list[ParameterSlice] = []
    begin = 0
    for name, parameter in named:
        end = begin + parameter.numel()
        places.append((name, begin, end, tuple(parameter.shape)))
        begin = end
    return places


def _row_of(job: Job, places: Sequence[ParameterSlice], state: str | None) -> torch.Tensor:
    """A member's weights, or one of its optimizer's states (zeros before the first step), in a
    row."""
    return torch.cat([tensor.detach().flatten() for tensor in _tensors(job, places, state)])


def _tensors(
    job: Job, places: Sequence[ParameterSlice], state: str | None
) -> Iterator[torch.Tensor]:
    parameters = dict(job.trained.model.named_parameters())
    (optimizer,) = job.trained.optimizers.all
    for name, *_ in places:
        parameter = parameters[name]
        if state is None:
            yield parameter
        else:
            kept = optimizer.state.get(parameter, {})
            yield kept[state] if state in kept else torch.zeros_like(parameter)


def _updates_of(job: Job, places: Sequence[ParameterSlice]) -> torch.Tensor:
    """How often each parameter of a member was updated: [parameters]."""
    parameters = dict(job.trained.model.named_parameters())
    (optimizer,) = job.trained.optimizers.all
    counts = [optimizer.state.get(parameters[name], {}).get("step", 0.0) for name, *_ in places]
    return torch.tensor([float(count) for count in counts])


def _stacked(batches: Sequence[Batch]) -> Batch:
    """Batches as one, [members, rows, width]; narrower ones are padded on the right."""
    width = max(batch["input_ids"].shape[1] for batch in batches)
    return {
        name: torch.stack(
            [
                F.pad(
                    batch[name],
                    (0, width - batch[name].shape[1]),
                    value=IGNORED if name == "labels" else 0,
                )
                for batch in batches
            ]
        )
        for name in batches[0]
    }
