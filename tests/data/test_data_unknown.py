"""What a vocabulary lacks is counted by the character, whatever token it is read as."""

import os
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from emergectl.config.schema import TokenizerSpec
from emergectl.data.tokenizers import build_tokenizer, load_tokenizer
from emergectl.data.unknown import UnknownCounter, carries
from emergectl.inference.encoding import Coder
from emergectl.inference.requests import NotCarried, Question, TooLong

GPT2 = Path(os.environ.get("EMERGECTL_DATA", "")) / "gpt2_tokenizer"
CHAR = build_tokenizer(TokenizerSpec(kind="char"), ["abc =\n<eos>"], for_mlm=False)


def wrapped(backend: Tokenizer, **named: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, clean_up_tokenization_spaces=False, **named
    )


def fused() -> PreTrainedTokenizerFast:
    """Runs of unknown characters are one token, which ends texts as well."""
    vocab = {"<end>": 0, "a": 1, "b": 2, " ": 3}
    backend = Tokenizer(models.BPE(vocab, [], unk_token="<end>", fuse_unk=True))
    backend.decoder = decoders.Fuse()
    return wrapped(backend, eos_token="<end>", unk_token="<end>")


def dropping() -> PreTrainedTokenizerFast:
    """What is unknown gets no token at all."""
    backend = Tokenizer(models.BPE({"<eos>": 0, "a": 1, "b": 2, " ": 3}, []))
    return wrapped(backend, eos_token="<eos>")


def words() -> PreTrainedTokenizerFast:
    """A word with one unknown character is unknown as a whole."""
    vocab = {"[UNK]": 0, "[SEP]": 1, "a": 2, "##b": 3, "尧": 4}
    backend = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    return wrapped(backend, sep_token="[SEP]", unk_token="[UNK]")


@pytest.mark.parametrize(
    ("tokenizer", "text", "characters", "unknown"),
    [
        (CHAR, "abc尧舜", 5, 2),
        (CHAR, "a<eos>c", 7, 0),
        (fused(), "a尧舜禹 b", 6, 3),
        (fused(), "ab a", 4, 0),
        (dropping(), "a尧b🙂", 4, 2),
        (dropping(), "ab", 2, 0),
        (words(), "ab 尧 abz", 8, 3),
        (words(), "AB 尧\u200b", 5, 0),
        (build_tokenizer(TokenizerSpec(kind="byte"), (), for_mlm=False), "尧🙂", 2, 0),
    ],
)
def test_unknown_characters_are_counted(
    tokenizer: PreTrainedTokenizerFast, text: str, characters: int, unknown: int
) -> None:
    found = UnknownCounter(tokenizer).in_texts([text, text])
    assert (found.characters, found.unknown) == (2 * characters, 2 * unknown)


@pytest.mark.skipif(not GPT2.is_dir(), reason="no gpt2_tokenizer: set EMERGECTL_DATA")
def test_nothing_is_unknown_to_a_tokenizer_of_bytes_whose_unknown_token_is_its_end() -> None:
    tokenizer = load_tokenizer(GPT2)
    assert tokenizer.unk_token_id == tokenizer.eos_token_id
    assert UnknownCounter(tokenizer).in_texts(["尧舜 <|endoftext|>"]).unknown == 0
    assert carries(tokenizer, "尧舜 <|endoftext|>\n 5 − 3")


def test_a_text_is_carried_where_it_can_be_had_back() -> None:
    assert carries(CHAR, "a = b\n")
    assert not carries(CHAR, "a = d\n")
    assert not carries(words(), "AB")
    assert carries(fused(), "ab a")


@pytest.mark.parametrize(
    ("tokenizer", "choices", "reason"),
    [
        (CHAR, ("a", "尧"), "knows no character of '尧'"),
        (fused(), ("尧舜", "ab"), "knows no character of '尧舜'"),
        (dropping(), ("a", "尧"), "knows no character of '尧'"),
        (CHAR, ("a尧", "a舜"), "has the same for 'a尧' and 'a舜'"),
        (words(), ("AB", "ab"), "has the same for 'AB' and 'ab'"),
    ],
)
def test_choices_that_tokens_do_not_tell_apart_are_not_asked(
    tokenizer: PreTrainedTokenizerFast, choices: tuple[str, ...], reason: str
) -> None:
    for lead in ("", " "):
        coder = Coder(tokenizer, reach=None)
        asked, other = coder.pairs([Question("a", choices, lead=lead), Question("a", ("a", "a"))])
        assert isinstance(asked, NotCarried)
        assert reason in str(asked)
        assert not isinstance(other, NotCarried)


@pytest.mark.parametrize(
    ("tokenizer", "answer", "size"),
    [
        (CHAR, "ab", 2),
        (CHAR, "a尧", None),
        (fused(), "ab尧", None),
        (dropping(), "ab尧", None),  # no token tells of it
        (dropping(), "ab", 2),
        (words(), "ab", 2),
        (words(), "AB", None),  # it would read `ab`
        (build_tokenizer(TokenizerSpec(kind="byte"), (), for_mlm=False), "a尧", 4),
    ],
)
def test_an_answer_has_bytes_only_where_its_tokens_carry_it(
    tokenizer: PreTrainedTokenizerFast, answer: str, size: int | None
) -> None:
    coder = Coder(tokenizer, reach=None)
    for lead in ("", " "):
        (pairs,) = coder.pairs([Question("a", (answer,), lead=lead)])
        assert not isinstance(pairs, TooLong)
        assert coder.bytes_of(answer, pairs[0].continuation) == size
