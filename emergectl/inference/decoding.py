"""Going on from contexts, token by token, in the way that a model allows.

Three ways with one face: `first` gives the logits that follow each context, `keep` says which
rows go on (a row named several times is that many samples of one context, whose run they share),
`step` takes one token a row and gives the logits that follow it. With a cache of keys and values
contexts are padded on the left; a model without one runs its whole sequences anew at every step;
an encoder runs once and the decoder goes on with a cache of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache, EncoderDecoderCache, PreTrainedModel

from emergectl.inference.capabilities import Ways
from emergectl.inference.encoding import Ids


class DecodingBatch(Protocol):
    """One batch of texts in the making."""

    def first(self) -> torch.Tensor:
        """What follows each context: [contexts, vocab]."""

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with these rows, in this order: int64 [kept]."""

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Append tokens [rows]; what follows them: [rows, vocab]."""


def make_steps(model: PreTrainedModel, ways: Ways | None, contexts: Sequence[Ids]) -> DecodingBatch:
    """The way of this model; `ways` is None for an encoder–decoder."""
    if ways is None:
        return DecoderSteps(model, contexts)
    return CachedSteps(model, contexts) if ways.cache else WholeSteps(model, contexts)


class CachedSteps:
    """A causal model with a cache of keys and values."""

    def __init__(self, model: PreTrainedModel, contexts: Sequence[Ids]) -> None:
        self._model = model
        rows = [torch.tensor(ids, device=model.device) for ids in contexts]
        self._inputs = pad_sequence(rows, batch_first=True, padding_side="left")
        ones = [torch.ones_like(ids) for ids in rows]
        self._mask = pad_sequence(ones, batch_first=True, padding_side="left")
        self._cache = DynamicCache(config=model.config)

    def first(self) -> torch.Tensor:
        """What follows each context: [contexts, vocab]."""
        positions = (self._mask.cumsum(-1) - 1).clamp(min=0)
        self._next = positions[:, -1:] + 1
        return self._run(self._inputs, positions)

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with these rows."""
        self._cache.batch_select_indices(rows)
        self._mask, self._next = self._mask[rows], self._next[rows]

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Append tokens [rows]; what follows them: [rows, vocab]."""
        self._mask = torch.cat([self._mask, torch.ones_like(self._mask[:, :1])], 1)
        logits = self._run(tokens[:, None], self._next)
        self._next = self._next + 1
        return logits

    def _run(self, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        return self._model(
            input_ids=tokens,
            attention_mask=self._mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]


class WholeSteps:
    """A causal model of which nothing is known but that it reads from left to right."""

    def __init__(self, model: PreTrainedModel, contexts: Sequence[Ids]) -> None:
        self._model = model
        self._rows = [torch.tensor(ids, device=model.device) for ids in contexts]

    def first(self) -> torch.Tensor:
        """What follows each context: [contexts, vocab]."""
        lasts = torch.tensor([len(ids) - 1 for ids in self._rows], device=self._model.device)
        inputs = pad_sequence(self._rows, batch_first=True)
        mask = pad_sequence([torch.ones_like(ids) for ids in self._rows], batch_first=True)
        logits = self._model(input_ids=inputs, attention_mask=mask, use_cache=False).logits
        return logits[torch.arange(len(lasts), device=lasts.device), lasts]

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with these rows."""
        self._rows = [self._rows[row] for row in rows.tolist()]

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Append tokens [rows]; what follows them: [rows, vocab]."""
        pairs = zip(self._rows, tokens[:, None], strict=True)
        self._rows = [torch.cat(pair) for pair in pairs]
        return self.first()


class DecoderSteps:
    """An encoder–decoder: the contexts are encoded once."""

    def __init__(self, model: PreTrainedModel, contexts: Sequence[Ids]) -> None:
        self._model = model
        rows = [torch.tensor(ids, device=model.device) for ids in contexts]
        self._mask = pad_sequence([torch.ones_like(ids) for ids in rows], batch_first=True)
        inputs = pad_sequence(rows, batch_first=True)
        self._encoded = model.get_encoder()(input_ids=inputs, attention_mask=self._mask)
        config = model.config.get_text_config(decoder=True)
        self._cache = EncoderDecoderCache(DynamicCache(config=config), DynamicCache(config=config))

    def first(self) -> torch.Tensor:
        """What the decoder begins with: [contexts, vocab]."""
        start = self._model.config.decoder_start_token_id
        return self.step(torch.full_like(self._mask[:, 0], start))

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with these rows."""
        self._cache.batch_select_indices(rows)
        self._mask = self._mask[rows]
        self._encoded.last_hidden_state = self._encoded.last_hidden_state[rows]

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Append tokens [rows]; what follows them: [rows, vocab]."""
        return self._model(
            encoder_outputs=self._encoded,
            attention_mask=self._mask,
            decoder_input_ids=tokens[:, None],
            past_key_values=self._cache,
            use_cache=True,
        ).logits[:, -1]
