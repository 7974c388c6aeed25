"""Running text packed into one long row of tokens on disk, and read back through a memory map.

Documents follow each other, each closed by the end-of-document token. Text goes through in pieces,
so that neither a large file nor a large document has to fit into memory; the pieces are cut where
cutting does not change the tokens. Tokens are 16 bits wide where the vocabulary allows.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerFast

from emergectl.config.schema import FileSource
from emergectl.data.cache import cached, entry_key
from emergectl.data.files import content_hash, source_files
from emergectl.data.order import derive
from emergectl.data.readers import Tally
from emergectl.data.sources import Piece, iter_pieces, load_hub
from emergectl.data.tokenizers import (
    Tokens,
    border_finder,
    end_of_document,
    text_encoder,
    token_bytes,
    tokenizer_hash_source,
)
from emergectl.data.unknown import Unknown, UnknownCounter, carries
from emergectl.errors import DataError

FORMAT_VERSION = 5
_BATCH_CHARS = 4 * 2**20

ReadProgress = Callable[[str, int, int], None]
"""Called with what is being read, the bytes read so far, and all bytes (0: not known)."""


@dataclass(frozen=True)
class DocumentSplit:
    """Which documents to take: those drawn at random with `share`, or (`inside` false) the rest."""

    share: float
    inside: bool

    def takes(self, document: int) -> bool:
        """Whether the document with this number belongs here; the same for every seed."""
        return (derive(0x5EED, document) < self.share * 2**64) == self.inside


@dataclass(frozen=True)
class PackedTokens:
    """A row of tokens (a memory map, or any array), and what is known of it.

    `ends` holds where each document ends (one past its end-of-document token). `text_bytes` counts
    the UTF-8 bytes of the text that the tokens stand for.
    """

    tokens: Tokens
    ends: np.ndarray[Any, np.dtype[np.int64]]
    text_bytes: int
    fingerprint: str
    exact_bytes: bool = False
    unknown: Unknown = field(default_factory=Unknown)
    carried: bool = True
    """whether the text can be had back from its tokens"""
    skipped: int = 0
    first_skipped: tuple[str, ...] = ()

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes of text for each token, end-of-document tokens counted as tokens."""
        return self.text_bytes / max(1, len(self.tokens))

    def part(self, start: int, stop: int, sizes: np.ndarray[Any, Any]) -> PackedTokens:
        """The tokens [start, stop); `sizes` is `token_bytes` of the tokenizer.

        The bytes are counted token by token where the tokenizer loses nothing, else in proportion.
        """
        tokens = self.tokens[start:stop]
        text_bytes = (
            _count_bytes(tokens, sizes)
            if self.exact_bytes
            else round(self.bytes_per_token * (stop - start))
        )
        first, last = np.searchsorted(self.ends, [start, stop], side="right")
        name = hashlib.sha256(f"{self.fingerprint}[{start}:{stop}]".encode()).hexdigest()[:32]
        return replace(
            self,
            tokens=tokens,
            ends=self.ends[first:last] - start,
            text_bytes=text_bytes,
            fingerprint=name,
        )


def pack_text(
    source: FileSource,
    tokenizer: PreTrainedTokenizerFast,
    *,
    key: str,
    cache: Path,
    held_out: DocumentSplit | None = None,
    progress: ReadProgress | None = None,
) -> PackedTokens:
    """The packed tokens of a source, from the cache if they were packed before.

    `key` is the source's key in the experiment, for errors. With `held_out` only the documents
    that it takes. Raises DataError and ExperimentError as `sources` does, and DataError where no
    document is taken.
    """
    name = entry_key(
        "text",
        FORMAT_VERSION,
        source_content(source, key=key, cache=cache),
        source.columns,
        tokenizer_hash_source(tokenizer),
        None if held_out is None else [held_out.share, held_out.inside],
    )

    def make(folder: Path) -> dict[str, Any]:
        return _pack(source, tokenizer, folder, key, cache, held_out, progress)

    folder, facts = cached(cache, name, make)
    dtype = np.dtype(facts["dtype"])
    return PackedTokens(
        tokens=np.asarray(np.memmap(folder / "tokens.bin", dtype, "r")),
        ends=np.load(folder / "ends.npy", mmap_mode="r"),
        text_bytes=facts["text_bytes"],
        fingerprint=name,
        exact_bytes=facts["exact_bytes"],
        unknown=Unknown(*facts["unknown"]),
        carried=facts["carried"],
        skipped=facts["skipped"],
        first_skipped=tuple(facts["first_skipped"]),
    )


def source_content(source: FileSource, *, key: str, cache: Path) -> list[object]:
    """What names the content of a source: the hash of its bytes and how they are to be read."""
    if source.hub is not None:
        data = load_hub(source, key=key)
        named = [source.hub, source.config, source.split, data._fingerprint]
        return [*named, source.bad_rows, source.join]
    files = source_files(source, key=key, cache=cache)
    formats = [format_ for _, format_ in files]
    # The policy counts too: with `error` no entry may stand for data that holds a bad row.
    content = content_hash([path for path, _ in files])
    return [content, formats, source.header, source.bad_rows, source.join]


def source_bytes(source: FileSource, *, key: str, cache: Path) -> int:
    """The size of a source's files, 0 where it is not known before reading."""
    if source.hub is not None:
        return 0
    files = source_files(source, key=key, cache=cache)
    return sum(path.stat().st_size for path, _ in files if path.suffix != ".gz")


def _pack(
    source: FileSource,
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
    key: str,
    cache: Path,
    held_out: DocumentSplit | None,
    progress: ReadProgress | None,
) -> dict[str, Any]:
    encode = text_encoder(tokenizer)
    sizes = token_bytes(tokenizer)
    total_bytes = source_bytes(source, key=key, cache=cache)
    tally = Tally()
    counter, unknown, carried = UnknownCounter(tokenizer), Unknown(), True
    ends = array("q")
    dtype = np.uint16 if len(tokenizer) <= 2**16 else np.uint32
    closing: Tokens = np.array([end_of_document(tokenizer)], dtype)
    count, text_bytes, token_text_bytes = 0, 0, 0
    pieces = iter_pieces(
        source, key=key, cache=cache, tally=tally, next_border=border_finder(tokenizer)
    )
    with (folder / "tokens.bin").open("wb") as out:
        for batch in _batches(_taken(pieces, held_out)):
            row: list[Tokens] = []
            texts = [piece.text for piece in batch]
            encoded = encode(texts)
            some = counter.among(texts, encoded)
            if not unknown.characters:
                carried = carries(tokenizer, texts[0])
            unknown.add(some.characters, some.unknown)
            for piece, tokens in zip(batch, encoded, strict=True):
                row.append(tokens)
                count += len(tokens)
                text_bytes += len(piece.text.encode())
                if piece.ends:
                    row.append(closing)
                    count += 1
                    ends.append(count)
            joined = np.concatenate(row)
            out.write(joined.tobytes())
            token_text_bytes += _count_bytes(joined, sizes)
            if progress is not None:
                progress(source.path or source.hub or "", tally.bytes_read, total_bytes)
    if not ends:
        raise DataError(
            f"{source.path or source.hub}: no document is left on one side of a random split of "
            f"{tally.rows}: hold out the end instead (`validation_from: end`), or give `validation`"
        )
    np.save(folder / "ends.npy", np.frombuffer(ends, np.int64))
    return {
        "dtype": np.dtype(dtype).name,
        "text_bytes": text_bytes,
        "exact_bytes": text_bytes == token_text_bytes,
        "unknown": [unknown.characters, unknown.unknown],
        "carried": carried and not unknown.unknown,
        "skipped": tally.skipped,
        "first_skipped": tally.first_skipped,
    }


def _taken(pieces: Iterator[Piece], held_out: DocumentSplit | None) -> Iterator[Piece]:
    document = 0
    for piece in pieces:
        if held_out is None or held_out.takes(document):
            yield piece
        document += piece.ends


def _batches(pieces: Iterator[Piece]) -> Iterator[list[Piece]]:
    """Pieces in lists of some _BATCH_CHARS, which the tokenizer spreads over its threads."""
    batch: list[Piece] = []
    size = 0
    for piece in pieces:
        batch.append(piece)
        size += len(piece.text)
        if size >= _BATCH_CHARS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _count_bytes(tokens: Tokens, sizes: np.ndarray[Any, Any]) -> int:
    """How many bytes of text tokens stand for."""
    return int(sizes[tokens].sum())
