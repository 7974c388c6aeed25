"""Tokenizers: what is built loads elsewhere, and text may be cut where it is said it may."""

import itertools
import json
import random
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from emergectl.config.schema import TokenizerSpec
from emergectl.data.tokenizers import (
    border_finder,
    build_tokenizer,
    end_of_document,
    ensure_pad,
    load_tokenizer,
    text_encoder,
    token_bytes,
)
from emergectl.errors import ExperimentError, RequestError

TEXT = (
    "First Citizen:\nBefore we proceed any further, hear me speak. 12345 <eos> <pad>\n\n"
    "水调歌头\n明月几时有？把酒问青天。\n不知天上宫阙，今夕是何年。\n\n\tif x_1 == 3:  # naïve\r\n"
) * 20
KINDS = ["char", "byte", "bpe"]


def built(kind, *, for_mlm=False, text=TEXT):
    vocab_size = 600 if kind == "bpe" else None
    return build_tokenizer(TokenizerSpec(kind=kind, vocab_size=vocab_size), [text], for_mlm=for_mlm)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("for_mlm", [False, True])
def test_a_built_tokenizer_gives_the_same_ids_when_loaded_elsewhere(kind, for_mlm, tmp_path):
    tokenizer = built(kind, for_mlm=for_mlm)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded(TEXT)["input_ids"] == tokenizer(TEXT)["input_ids"]
    assert loaded.special_tokens_map == tokenizer.special_tokens_map
    assert len(loaded) == len(tokenizer)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_lost_there_and_back(kind):
    tokenizer = built(kind)
    text = TEXT.replace("<eos>", "").replace("<pad>", "")
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("kind", KINDS)
def test_building_twice_gives_the_same_tokenizer(kind):
    first, second = built(kind), built(kind)
    assert first.backend_tokenizer.to_str() == second.backend_tokenizer.to_str()


def test_ids_of_the_byte_tokenizer_are_the_bytes():
    tokenizer = built("byte")
    assert tokenizer.encode("é\n") == [0xC3, 0xA9, 0x0A]
    assert (len(tokenizer), tokenizer.pad_token_id, tokenizer.eos_token_id) == (258, 256, 257)


def test_a_character_never_seen_becomes_unk():
    tokenizer = built("char", text="ab")
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode("aé😀b")) == [
        "a",
        "<unk>",
        "<unk>",
        "b",
    ]


def test_bpe_keeps_to_the_size_that_was_asked_for():
    words = " ".join(f"{number:x}" for number in range(0, 60_000, 7))
    assert len(built("bpe", text=words * 3)) == 600


def test_masked_modelling_gets_its_tokens_and_frames_pairs():
    tokenizer = built("bpe", for_mlm=True)
    encoded = tokenizer("first", "second")
    tokens = tokenizer.convert_ids_to_tokens(encoded["input_ids"])
    assert tokens[0] == "[CLS]"
    assert tokens.count("[SEP]") == 2
    assert encoded.encodings[0].type_ids == [0] * 6 + [1] * (len(tokens) - 6)
    assert tokenizer.mask_token == "[MASK]"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("for_mlm", [False, True])
def test_the_encoder_agrees_with_the_tokenizer_on_text(kind, for_mlm):
    tokenizer = built(kind, for_mlm=for_mlm)
    texts = [TEXT, "", "x", "😀 [MASK] new"]
    for text, ids in zip(texts, text_encoder(tokenizer)(texts), strict=True):
        expected = tokenizer(text, add_special_tokens=False, split_special_tokens=True)
        assert ids.tolist() == expected["input_ids"]


@pytest.mark.parametrize("kind", KINDS)
def test_text_that_spells_a_special_token_stays_text(kind):
    tokenizer = built(kind)
    ids = text_encoder(tokenizer)(["<eos>"])[0]
    assert tokenizer.eos_token_id not in ids
    assert tokenizer.decode(ids) == "<eos>"


@pytest.mark.parametrize("kind", KINDS)
def test_cutting_at_every_border_leaves_the_tokens_as_they_are(kind):
    tokenizer = built(kind)
    chance = random.Random(7)
    for _ in range(20):
        text = "".join(
            chance.choices(["\n", " ", "\t", "a", "B", "7", "_", ".", "'s", "月", "。"], k=400)
        )
        next_border, cuts = border_finder(tokenizer), [0]
        while 0 < (cut := next_border(text, cuts[-1] + 1)) < len(text):
            cuts.append(cut)
        assert len(cuts) > 20
        encode = text_encoder(tokenizer)
        parts = encode([text[a:b] for a, b in itertools.pairwise([*cuts, len(text)])])
        assert np.array_equal(np.concatenate(parts), encode([text])[0])


def test_a_tokenizer_that_marks_the_beginning_of_texts_is_never_cut():
    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.Prepend("▁")
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.train_from_iterator(
        [TEXT], trainers.UnigramTrainer(vocab_size=300, unk_token="<unk>", show_progress=False)
    )
    assert border_finder(PreTrainedTokenizerFast(tokenizer_object=backend)) is None


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_of_the_tokens_add_up_to_the_bytes_of_the_text(kind):
    tokenizer = built(kind)
    ids = text_encoder(tokenizer)([TEXT])[0]
    assert token_bytes(tokenizer)[ids].sum() == len(TEXT.encode())


def test_a_pad_token_of_its_own_is_added_only_where_there_is_none():
    tokenizer = built("bpe")
    assert not ensure_pad(tokenizer)
    tokenizer.pad_token = tokenizer.eos_token
    assert ensure_pad(tokenizer)
    assert tokenizer.pad_token_id != tokenizer.eos_token_id


def test_bare_vocabulary_files_load(tmp_path):
    vocabulary = {"a": 0, "b": 1, "ab": 2, "<|endoftext|>": 3}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n")
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.encode("aba") == [2, 0]
    assert end_of_document(tokenizer) == 3


def test_a_bare_wordpiece_vocabulary_loads(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "好", "play", "##ing"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.tokenize("Playing 好") == ["play", "##ing", "好"]


@pytest.mark.parametrize("content", [{}, {"tokenizer.json": "{"}, {"vocab.json": "{}"}])
def test_a_folder_without_a_tokenizer_is_an_error_of_its_key(content, tmp_path):
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ExperimentError) as error:
        load_tokenizer(tmp_path)
    assert error.value.key == "tokenizer.from"
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.txt"])
def test_a_tokenizer_that_links_out_of_its_directory_is_refused(tmp_path: Path, name: str) -> None:
    build_tokenizer(TokenizerSpec(kind="byte"), [], for_mlm=False).save_pretrained(tmp_path / "own")
    assert load_tokenizer(tmp_path / "own") is not None
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / name).symlink_to(tmp_path / "own" / "tokenizer.json")
    with pytest.raises(ExperimentError, match=f"{name} is a link out of its directory"):
        load_tokenizer(tmp_path / "linked")


def with_pattern(pattern: str, folder: Path) -> Path:
    """A byte tokenizer's directory whose texts are split by a pattern first."""
    own = build_tokenizer(TokenizerSpec(kind="byte"), [], for_mlm=False)
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    whole = own.backend_tokenizer.pre_tokenizer
    own.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, whole])
    own.save_pretrained(folder)
    return folder


RUNAWAYS = ["(a+)+$", "(?:x|xy|y)*!q[^p]", r"(\w+\s?)+$", "(do|d|o)+;", r"\d*\d*\d*\d*x"]


@pytest.mark.parametrize("pattern", RUNAWAYS)
def test_a_pattern_that_runs_away_is_refused_by_name(pattern: str, tmp_path: Path, capfd) -> None:
    with pytest.raises(ExperimentError) as error:
        load_tokenizer(with_pattern(pattern, tmp_path))
    assert repr(pattern) in str(error.value)
    assert "runs away" in str(error.value)
    assert "\n" not in str(error.value)
    assert "panicked" not in capfd.readouterr().err


PUBLISHED = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "llama3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "starcoder, with a repeated group": r"(?:\p{L}\p{M}*)+|\p{N}|\s+|[^\s]",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_patterns_load(name: str, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(with_pattern(PUBLISHED[name], tmp_path))
    assert text_encoder(tokenizer)(["ab 1"])[0].tolist() == [*b"ab 1"]


def test_a_panic_of_the_library_is_one_sentence() -> None:
    """The pattern was no suspect, or the text a worse one than those that were tried."""
    tokenizer = build_tokenizer(TokenizerSpec(kind="byte"), [], for_mlm=False)
    split = pre_tokenizers.Split(Regex("(a+)+$"), "isolated")
    tokenizer.backend_tokenizer.pre_tokenizer = split
    with pytest.raises(RequestError, match="one of its patterns runs away"):
        text_encoder(tokenizer)(["a" * 200 + "!"])


@pytest.mark.parametrize("number", [10**6, 10**9, 2**32 - 1, 2**32, 10**12])
def test_a_token_of_an_absurd_number_is_refused(number: int, tmp_path: Path) -> None:
    build_tokenizer(TokenizerSpec(kind="byte"), [], for_mlm=False).save_pretrained(tmp_path)
    layout = json.loads((tmp_path / "tokenizer.json").read_text())
    layout["model"]["vocab"]["zz"] = number
    (tmp_path / "tokenizer.json").write_text(json.dumps(layout))
    with pytest.raises(ExperimentError) as error:
        load_tokenizer(tmp_path)
    assert f"{number:,}" in str(error.value) or f"{number}" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_gap_in_the_numbers_is_no_reason_to_refuse(tmp_path: Path) -> None:
    build_tokenizer(TokenizerSpec(kind="byte"), [], for_mlm=False).save_pretrained(tmp_path)
    layout = json.loads((tmp_path / "tokenizer.json").read_text())
    layout["model"]["vocab"]["zz"] = 1000
    (tmp_path / "tokenizer.json").write_text(json.dumps(layout))
    tokenizer = load_tokenizer(tmp_path)
    assert token_bytes(tokenizer)[[97, 1000]].tolist() == [1, 2]
