"""What is learnt from and what is held out.

Held-out data is given as sources of its own (a file, a named split), or taken from the training
data: the end of each source by position, or documents (rows) at random. The random choice does not
depend on the seed of the experiment, so that runs with different seeds are judged on the same data.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from emergectl.config.schema import DataSpec, FileSource
from emergectl.data.order import permute
from emergectl.data.packing import HeldOut, PackedTokens, Progress, pack_text
from emergectl.data.tokenizers import token_bytes
from emergectl.errors import DataError

_SPLIT_KEY = 0x5EED


def split_text(
    source: FileSource,
    spec: DataSpec,
    tokenizer: PreTrainedTokenizerFast,
    *,
    key: str,
    cache: Path,
    progress: Progress | None,
) -> tuple[PackedTokens, PackedTokens]:
    """A training source as packed tokens: (to learn from, held out)."""
    share = spec.validation_fraction
    if spec.validation_from == "random":
        inner, outer = (
            pack_text(
                source,
                tokenizer,
                key=key,
                cache=cache,
                held_out=HeldOut(share, inside),
                progress=progress,
            )
            for inside in (False, True)
        )
        return inner, outer
    whole = pack_text(source, tokenizer, key=key, cache=cache, progress=progress)
    count = len(whole.tokens)
    border = int(count * (1 - share))
    if count - border < 2:
        raise DataError(
            f"{source.path or source.hub}: {share:g} of {count} tokens leaves nothing to hold out"
        )
    sizes = token_bytes(tokenizer)
    return whole.part(0, border, sizes), whole.part(border, count, sizes)


def split_rows(rows: int, spec: DataSpec) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which of `rows` rows to learn from and which are held out, each in order.

    At least one row falls on each side; DataError where there is only one row.
    """
    if rows < 2:
        raise DataError(f"{rows} row cannot be split: give `data.validation`")
    held_out = min(rows - 1, max(1, round(rows * spec.validation_fraction)))
    everything = np.arange(rows)
    if spec.validation_from == "end":
        return everything[: rows - held_out], everything[rows - held_out :]
    taken = permute(everything, rows, _SPLIT_KEY) >= rows - held_out
    return everything[~taken], everything[taken]
