"""The generator: what a model writes on from a context, greedily or sampled.

Samples of one context share its run. Each token of a sample is drawn by a number in [0, 1) that
follows from the seed, the context, the most tokens asked for, the sample's number and the token's
place alone, so what is drawn does not depend on what else is in a batch, nor on how many samples
are asked for. Rows that have ended leave the batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from emergectl.inference.batching import run_batches
from emergectl.inference.capabilities import Ways
from emergectl.inference.decoding import make_steps
from emergectl.inference.encoding import Coder, Ids
from emergectl.inference.requests import Cut, TooLong, Writing
from emergectl.runtime.place import Place

WRITING_CPU_TOKENS = 16_384
WRITING_CUDA_TOKENS = 262_144
"""tokens of a batch when all of it is written: a step costs little more for many rows than for
few, since it reads all weights in any case"""

_ROWS_AT_ONCE = 256
"""samples of one context that are drawn together"""

WrittenTexts = list[tuple[int, int, str]]
"""(index of the writing, number of the sample, what was written)"""


@dataclass(frozen=True)
class Strand:
    """Samples [first, first + count) of a writing; at most `most` tokens each.

    `looks_on`: the token behind them is drawn as well, to know whether the text ends there.
    """

    index: int
    writing: Writing
    context: Ids
    first: int
    count: int
    most: int
    looks_on: bool

    @property
    def tokens(self) -> int:
        """Tokens when all of it is written."""
        return self.count * (len(self.context) + self.most)


def write_texts(
    model: PreTrainedModel,
    coder: Coder,
    ways: Ways | None,
    writings: Sequence[Writing],
    *,
    place: Place,
    budget: int | None = None,
) -> Iterator[tuple[int, tuple[str, ...] | TooLong]]:
    """(index of the writing, its samples), each once, as batches are done.

    A text ends before the first of its stop strings, before the end that the tokenizer or the
    model's own settings mark, after `max_tokens`, or where the model's positions end; in the last
    two cases it is `Cut`, unless the token behind `max_tokens` is such an end. `budget`: tokens of
    a batch. Every rank yields everything.
    """
    strands: list[Strand] = []
    ends = _ends(model, coder)
    for index, context in enumerate(coder.contexts([writing.context for writing in writings])):
        if isinstance(context, TooLong):
            yield index, context
        else:
            strands.extend(_strands(index, writings[index], context, coder, can_end=bool(ends)))

    def run(batch: list[Strand]) -> WrittenTexts:
        with torch.inference_mode(), place.autocast():
            return _BatchWriter(model, coder, ways, batch, ends).texts()

    if budget is None:
        budget = WRITING_CUDA_TOKENS if place.device.type == "cuda" else WRITING_CPU_TOKENS
    written: dict[int, dict[int, str]] = {}
    for texts in run_batches(
        strands, run, tokens=lambda strand: strand.tokens, place=place, budget=budget
    ):
        for index, sample, text in texts:
            samples = written.setdefault(index, {})
            samples[sample] = text
            writing = writings[index]
            if len(samples) == _drawn(writing):
                del written[index]
                ordered = tuple(samples[number] for number in sorted(samples))
                yield index, ordered * (writing.samples if writing.temperature == 0 else 1)


def _drawn(writing: Writing) -> int:
    """How many samples have to be run: greedy ones are all the same."""
    return 1 if writing.temperature == 0 else writing.samples


def _strands(
    index: int, writing: Writing, context: Ids, coder: Coder, *, can_end: bool
) -> Iterator[Strand]:
    most, looks_on = writing.max_tokens, can_end or any(writing.stop)
    if coder.reach is not None:  # The last token is never run, so it may stand behind the reach.
        room = coder.reach - (0 if coder.seq2seq else len(context)) + 1
        looks_on = looks_on and most < room
        most = min(most, room)
    count = _drawn(writing)
    for start in range(0, count, _ROWS_AT_ONCE):
        rows = min(_ROWS_AT_ONCE, count - start)
        yield Strand(index, writing, context, writing.first + start, rows, most, looks_on)


def _ends(model: PreTrainedModel, coder: Coder) -> frozenset[int]:
    """The tokens that end a text."""
    found: set[int] = set() if coder.end is None else {coder.end}
    for settings in (model.config, model.generation_config):
        eos = getattr(settings, "eos_token_id", None)
        if eos is not None:
            found |= set(eos) if isinstance(eos, list) else {eos}
    return frozenset(found)


class _BatchWriter:
    """A batch of strands being written; row by row, those that go on."""

    def __init__(
        self,
        model: PreTrainedModel,
        coder: Coder,
        ways: Ways | None,
        strands: Sequence[Strand],
        ends: frozenset[int],
    ) -> None:
        self._device = model.device
        self._coder = coder
        self._ends = torch.tensor(sorted(ends), device=self._device)
        self._steps = make_steps(model, ways, [strand.context for strand in strands])
        self._strands = [strand for strand in strands for _ in range(strand.count)]
        self._names = [(s.index, s.first + i) for s in strands for i in range(s.count)]
        self._counts = [strand.count for strand in strands]
        self._ids: list[list[int]] = [[] for _ in self._strands]
        self._cut = [False] * len(self._strands)
        noise = [_noise(strand) for strand in strands]
        width = max(part.shape[1] for part in noise)
        self._noise = torch.from_numpy(
            np.concatenate([np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in noise])
        ).to(self._device)
        self._heat = torch.tensor(
            [strand.writing.temperature for strand in self._strands], device=self._device
        )
        self._stops = [_stop_finder(coder, strand.writing.stop) for strand in self._strands]

    def texts(self) -> WrittenTexts:
        """Write all rows to their ends."""
        logits = self._steps.first()
        going = torch.repeat_interleave(
            torch.arange(len(self._counts), device=self._device),
            torch.tensor(self._counts, device=self._device),
        )
        self._steps.keep(going)
        logits = logits[going]
        rows = list(range(len(self._strands)))
        place = 0
        while rows:
            here = torch.tensor(rows, device=self._device)
            tokens = _choose(logits, self._heat[here], self._noise[here, place])
            place += 1
            going_on = self._append(rows, tokens, place)
            rows = [rows[at] for at in going_on]
            if not rows:
                break
            if len(going_on) < len(tokens):
                kept = torch.tensor(going_on, device=self._device)
                self._steps.keep(kept)
                tokens = tokens[kept]
            logits = self._steps.step(tokens)
        return [(*name, self._text(row)) for row, name in enumerate(self._names)]

    def _append(self, rows: list[int], tokens: torch.Tensor, place: int) -> list[int]:
        """Append a token to each row; which of them (by their places in `rows`) go on."""
        ended = torch.isin(tokens, self._ends).tolist()
        going_on = []
        for at, (row, token) in enumerate(zip(rows, tokens.tolist(), strict=True)):
            if ended[at]:
                continue
            strand, ids = self._strands[row], self._ids[row]
            if place > strand.most:
                self._cut[row] = not self._stops_behind(row, token)
                continue
            ids.append(token)
            if self._stops[row](ids):
                continue
            if place < strand.most or strand.looks_on:
                going_on.append(at)
            else:
                self._cut[row] = True
        return going_on

    def _stops_behind(self, row: int, token: int) -> bool:
        """Whether a text stops right where it has to end, with the token that comes next."""
        ids = [*self._ids[row], token]
        if not self._stops[row](ids):
            return False
        before = self._ids[row]
        self._ids[row] = ids
        if _decode(self._coder, before).startswith(self._text(row)):
            return True
        self._ids[row] = before  # it would have gone on before the stop
        return False

    def _text(self, row: int) -> str:
        text = _decode(self._coder, self._ids[row])
        if self._cut[row]:
            return Cut(text)
        stops = self._strands[row].writing.stop
        return text[: min((text.find(stop) for stop in stops if stop in text), default=len(text))]


def _choose(logits: torch.Tensor, heat: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """A token a row: the likeliest where `heat` is 0, else the one whose share of [0, 1), in
    order of the vocabulary, holds the row's number."""
    if not bool(heat.any()):
        return logits.argmax(-1)
    scaled = logits.double() / heat.double().clamp(min=1e-9)[:, None]
    shares = scaled.softmax(-1).cumsum(-1)
    # Scaled by the sum, since rounding may leave it short of 1.
    drawn = torch.searchsorted(shares, (noise * shares[:, -1])[:, None], right=True)[:, 0]
    return torch.where(heat > 0, drawn.clamp(max=logits.shape[-1] - 1), logits.argmax(-1))


def _noise(strand: Strand) -> NDArray[np.float64]:
    """A number in [0, 1) for each token of each sample: [count, more than most]."""
    ids = np.array(strand.context, np.int64).tobytes()
    digest = hashlib.blake2b(ids, digest_size=16, key=str(strand.writing.seed).encode()).digest()
    blocks = -(-(strand.most + 1) // 4)  # Philox counts in blocks of four numbers.
    bits = np.random.Philox(key=np.frombuffer(digest, np.uint64))
    numbers = np.random.Generator(bits.advance(strand.first * blocks))
    return numbers.random((strand.count, 4 * blocks))


def _stop_finder(coder: Coder, stops: tuple[str, ...]) -> Callable[[list[int]], bool]:
    """A function that tells whether the last of some tokens completes a stop string.

    It looks at the last few tokens first: one holds at least a byte, so more cannot matter.
    """
    stops = tuple(stop for stop in stops if stop)
    if not stops:
        return lambda _: False
    window = max(len(stop.encode()) for stop in stops) + 4

    def found(ids: list[int]) -> bool:
        for part in (ids[-window:], ids):
            text = _decode(coder, part)
            if not any(stop in text for stop in stops):
                return False
        return True

    return found


def _decode(coder: Coder, ids: list[int]) -> str:
    return coder.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
