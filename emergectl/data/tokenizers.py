"""Tokenizers: built from text, or loaded; always the `tokenizers` library underneath.

What is built here saves as a tokenizer.json that `AutoTokenizer.from_pretrained` reads anywhere.
Vocabularies: `byte` has ids equal to the bytes, then the special tokens; `char` and `bpe` have the
special tokens first. Special tokens are <pad>, <eos> (the end of a document) and, for char, <unk>;
for masked language modelling [CLS], [SEP] and [MASK] as well, and then the tokenizer frames texts
as BERT does.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import (
    Tokenizer,
    models,
    processors,
)
from transformers import PreTrainedTokenizerFast

from emergectl.config.schema import TokenizerSpec
from emergectl.data.layouts import (
    Tokens,
    bpe_backend,
    byte_backend,
    byte_character,
    char_backend,
    char_table,
    code_points,
    is_byte_layout,
    is_char_layout,
)
from emergectl.data.runaway_regexes import find_runaway, panics_told
from emergectl.errors import ExperimentError, RequestError
from emergectl.store.origins import link_out

DEFAULT_BPE_VOCAB = 8192

# Published vocabularies have gaps of some thousands of ids at most.
HIGHEST_ID_PER_TOKEN, MOST_GAPS = 10, 100_000

_PAD, _EOS, _UNK, _CLS, _SEP, _MASK = "<pad>", "<eos>", "<unk>", "[CLS]", "[SEP]", "[MASK]"
# Where text may be cut so that the tokens on both sides stay as they are: after a single line end
# between two lines, or behind a letter or digit that white space follows. `border_finder` proves
# it for each tokenizer on a probe.
_BORDER = re.compile(r"\S\n(?=\S)|[^\W_](?=\s)")
_PROBE = (
    "First Citizen:\nBefore we proceed, hear me.\n\nAll: speak!  \n x_1 = 12345;\n\tdef f(a):\n"
    "其一。\n水调歌头\n明月几时有，把酒问青天。\n\n不知天上 宫阙 7 年\r\nIt's naïve — e.g. 3.14\n…"
)


def build_tokenizer(
    spec: TokenizerSpec, texts: Iterable[str], *, for_mlm: bool
) -> PreTrainedTokenizerFast:
    """Make the tokenizer that `spec.kind` names (None: byte); char and bpe learn it from `texts`.

    `texts` may be pieces of documents; it is read once, and for byte not at all.
    """
    kind = spec.kind or "byte"
    specials = [_PAD, _EOS] + ([_UNK] if kind == "char" else [])
    if for_mlm:
        specials += [_CLS, _SEP, _MASK]
    if kind == "byte":
        backend = byte_backend(specials)
    elif kind == "char":
        backend = char_backend(specials, texts)
    else:
        backend = bpe_backend(specials, texts, spec.vocab_size or DEFAULT_BPE_VOCAB)
    if for_mlm:
        ids = backend.get_vocab()
        backend.post_processor = processors.BertProcessing((_SEP, ids[_SEP]), (_CLS, ids[_CLS]))
    named = {"pad_token": _PAD, "eos_token": _EOS}
    named |= {"unk_token": _UNK} if kind == "char" else {}
    named |= {"cls_token": _CLS, "sep_token": _SEP, "mask_token": _MASK} if for_mlm else {}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, clean_up_tokenization_spaces=False, **named
    )


def load_tokenizer(name: str | Path, *, key: str = "tokenizer.from") -> PreTrainedTokenizerFast:
    """The tokenizer of a directory or of a model on the hub; never runs code that came with it.

    A directory may hold tokenizer.json, or the bare vocabulary files of GPT-2 (vocab.json and
    merges.txt) or BERT (vocab.txt). Raises ExperimentError under `key` where there is none, where
    a file is a link to somewhere else (what a run is made of could change behind its back), where
    a pattern runs away, and where a token's number is far beyond the size of the vocabulary.
    """
    from transformers import AutoTokenizer, BertTokenizer, GPT2Tokenizer

    folder = Path(name).expanduser()
    described = (folder / "tokenizer.json", folder / "tokenizer_config.json")
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if (target := link_out(path, folder)) is not None:
            raise ExperimentError(
                key,
                f"{path} is a link out of its directory, to {target}: put the file itself there",
            )
    try:
        if folder.is_dir() and not any(path.is_file() for path in described):
            if (folder / "vocab.txt").is_file():
                return _sound(BertTokenizer(vocab=str(folder / "vocab.txt")), name, key)
            if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
                loaded = GPT2Tokenizer(
                    vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt")
                )
                return _sound(loaded, name, key)
            raise ExperimentError(key, f"{name} holds no tokenizer (tokenizer.json, vocab.txt …)")
        if not folder.is_dir():
            folder = _fetched(str(name), key)
        loaded = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    except ExperimentError:
        raise
    except Exception as error:  # the library raises bare Exceptions for files it cannot read
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ExperimentError(key, f"no tokenizer can be had from {name}: {reason}") from error
    return _sound(loaded, name, key)


def _sound(loaded: Any, name: str | Path, key: str) -> PreTrainedTokenizerFast:
    """A tokenizer that can be worked with. Raises ExperimentError for one that cannot."""
    if not isinstance(loaded, PreTrainedTokenizerFast):
        raise ExperimentError(
            key, f"{name} has no tokenizer of the `tokenizers` library ({type(loaded).__name__})"
        )
    token, number = max(loaded.get_vocab().items(), key=lambda entry: entry[1], default=("", -1))
    if number > HIGHEST_ID_PER_TOKEN * len(loaded) + MOST_GAPS:
        raise ExperimentError(
            key,
            f"{name}: the token {token!r} has the id {number:,} in a vocabulary of {len(loaded):,} "
            "tokens; a model needs a row of weights for every id up to it",
        )
    runaway = find_runaway(loaded.backend_tokenizer.to_str())
    if runaway is not None:
        raise ExperimentError(
            key,
            f"{name}: the pattern {runaway!r} of its tokenizer.json runs away: on a long run of "
            "equal characters it never comes to an end; take another tokenizer",
        )
    return loaded


def _fetched(name: str, key: str) -> Path:
    """The tokenizer's files of a hub name, in the hub's own cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = ["config.json", "tokenizer*", "special_tokens_map.json", "added_tokens.json"]
    patterns += ["vocab*", "merges.txt", "*.model"]
    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    except HFValidationError as error:
        raise ExperimentError(key, f"{name}: no run, directory or hub name") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ExperimentError(
            key,
            f"{name}: no run or directory of that name, and the hub cannot be asked or has none; "
            "give a directory, or fetch it beforehand with `hf download`",
        ) from error


def ensure_pad(tokenizer: PreTrainedTokenizerFast) -> bool:
    """Give the tokenizer a pad token of its own where it has none or shares it with eos.

    True if one was added: the vocabulary has then grown by one.
    """
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id != tokenizer.eos_token_id:
        return False
    tokenizer.add_special_tokens({"pad_token": _PAD})
    return True


def end_of_document(tokenizer: PreTrainedTokenizerFast) -> int:
    """The id that ends a document: eos, else the separator."""
    for found in (tokenizer.eos_token_id, tokenizer.sep_token_id):
        if found is not None:
            return int(found)
    raise RequestError("the tokenizer has neither an eos nor a sep token to end documents with")


def tokenizer_hash_source(tokenizer: PreTrainedTokenizerFast) -> str:
    """Everything that decides which ids a text gets, as one string."""
    return f"{tokenizer.backend_tokenizer.to_str()} {tokenizer.special_tokens_map}"


def text_backend(tokenizer: PreTrainedTokenizerFast) -> Tokenizer:
    """A copy of the backend for which a text that spells a special token is only text."""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.encode_special_tokens = True
    backend.no_truncation()
    backend.no_padding()
    return backend


def text_encoder(tokenizer: PreTrainedTokenizerFast) -> Callable[[list[str]], list[Tokens]]:
    """A function from texts to their token ids, without special tokens.

    Char and byte tokenizers of ours are a table, some fifty times as fast as the library.
    """
    backend = text_backend(tokenizer)
    dtype = np.uint16 if len(tokenizer) <= 2**16 else np.uint32
    layout = json.loads(backend.to_str())
    if is_byte_layout(layout):
        return lambda texts: [np.frombuffer(t.encode(), np.uint8).astype(dtype) for t in texts]
    if is_char_layout(layout):
        table = char_table(layout["model"], dtype)
        return lambda texts: [table[code_points(text)] for text in texts]

    def encode(texts: list[str]) -> list[Tokens]:
        with panics_told():
            encodings = backend.encode_batch_fast(texts, add_special_tokens=False)
        return [np.array(encoding.ids, dtype) for encoding in encodings]

    return encode


def splits_anywhere(tokenizer: PreTrainedTokenizerFast) -> bool:
    """Whether the tokens of a text are those of its parts, wherever it is cut: char and byte."""
    backend = tokenizer.backend_tokenizer
    if backend.get_vocab_size() > 1000 and not isinstance(backend.model, models.WordLevel):
        return False  # neither of the two, and long to read
    layout = json.loads(backend.to_str())
    return is_byte_layout(layout) or is_char_layout(layout)


def writes_bytes(tokenizer: PreTrainedTokenizerFast) -> bool:
    """Whether any text has tokens, since the vocabulary holds every byte (as GPT-2's)."""
    vocab = tokenizer.get_vocab()
    byte_level = '"ByteLevel"' in tokenizer.backend_tokenizer.to_str()
    names = [byte_character(b) if byte_level else f"<0x{b:02X}>" for b in range(256)]
    return all(name in vocab for name in names)


def span_backend(tokenizer: PreTrainedTokenizerFast) -> Tokenizer:
    """`text_backend` with the characters that each token stands for, blanks included, which some
    post-processors would leave out."""
    backend = text_backend(tokenizer)
    backend.post_processor = processors.TemplateProcessing(
        single="$A", pair="$A $B", special_tokens=[]
    )
    return backend


def unknown_id(tokenizer: PreTrainedTokenizerFast) -> int | None:
    """The id that stands for what the vocabulary lacks; None where there is none.

    What a tokenizer calls its unknown token may be another one, which it never writes (GPT-2).
    """
    model = tokenizer.backend_tokenizer.model
    if isinstance(model, models.Unigram):
        number: int | None = json.loads(model.__getstate__())["unk_id"]
        return number
    name = model.unk_token
    return None if name is None else tokenizer.backend_tokenizer.token_to_id(name)


def border_finder(tokenizer: PreTrainedTokenizerFast) -> Callable[[str, int], int] | None:
    """Where a document may be cut without changing its tokens: f(text, start) ≥ start, or -1.

    None where cutting at white space would change them (tokenizers that mark the beginning of a
    text, such as SentencePiece's): then a document has to be tokenised whole.
    """
    layout = json.loads(tokenizer.backend_tokenizer.to_str())
    if is_byte_layout(layout) or is_char_layout(layout):
        return lambda _, start: start
    cuts = [0, *(match.end() for match in _BORDER.finditer(_PROBE)), len(_PROBE)]
    parts = [_PROBE[a:b] for a, b in itertools.pairwise(cuts)]
    encode = text_encoder(tokenizer)
    whole = encode([_PROBE])[0]
    if not np.array_equal(whole, np.concatenate(encode(parts))):
        return None

    def next_border(text: str, start: int) -> int:
        match = _BORDER.search(text, start)
        return match.end() if match else -1

    return next_border


def token_bytes(tokenizer: PreTrainedTokenizerFast) -> np.ndarray[Any, np.dtype[np.int64]]:
    """How many bytes of text each id stands for, [highest id + 1], if the tokenizer loses nothing.

    Special tokens stand for none. For a tokenizer that does lose something (lower-casing,
    WordPiece) the numbers do not add up to the text, which whoever uses them has to check.
    """
    byte_level = '"ByteLevel"' in tokenizer.backend_tokenizer.to_str()
    special = set(tokenizer.all_special_ids)
    vocabulary = tokenizer.get_vocab()
    sizes = np.zeros(max(len(vocabulary), 1 + max(vocabulary.values(), default=0)), np.int64)
    for token, number in vocabulary.items():
        if number not in special:
            # Byte-level vocabularies spell one byte as one character.
            sizes[number] = len(token) if byte_level else len(token.encode())
    return sizes


def token_texts(tokenizer: PreTrainedTokenizerFast) -> dict[int, str | bytes]:
    """What each ordinary id stands for: text, or bytes where they are no whole characters."""
    byte_level = '"ByteLevel"' in tokenizer.backend_tokenizer.to_str()
    byte_of = {byte_character(byte): byte for byte in range(256)} if byte_level else {}
    special = set(tokenizer.all_special_ids)
    texts: dict[int, str | bytes] = {}
    for token, number in tokenizer.get_vocab().items():
        if number in special:
            continue
        texts[number] = token
        if byte_level and all(character in byte_of for character in token):
            spelled = bytes(byte_of[character] for character in token)
            try:
                texts[number] = spelled.decode()
            except UnicodeDecodeError:
                texts[number] = spelled
    return texts
