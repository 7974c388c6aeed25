"""Where a prompt and an answer meet: each character of the answer once, nothing of the prompt."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from emergectl.config.schema import TokenizerSpec
from emergectl.data.join import Joiner
from emergectl.data.tokenizers import build_tokenizer, load_tokenizer
from emergectl.inference.encoding import Coder
from emergectl.inference.requests import Question

PIECES = [
    "the", " cat", " sat", "Answer:", "=", "=-", "-", "−", "5", "12", "-3", " = ", "\n", "\n\n",
    "  ", " ", "尧", "舜", "尧舜", "明月几时有", "，", "。", "naïve", "é", "e\u0301", "🙂",
    "👩\u200d🚀", "<eos>", "</s>", "[SEP]", "'s", "(", ")", "x_1", "ﬁ", "５", "A", "B", "Ab", "\t",
    "::", "; ",
]  # fmt: skip
GPT2 = Path(os.environ.get("EMERGECTL_DATA", "")) / "gpt2_tokenizer"


def made_text(source: random.Random, pieces: int) -> str:
    return "".join(source.choice(PIECES) for _ in range(pieces))


def wrapped(backend: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<eos>", clean_up_tokenization_spaces=False
    )


def texts(source: random.Random) -> Iterator[str]:
    return (made_text(source, source.randint(1, 30)) for _ in range(400))


def byte_level(source: random.Random, *, words: bool, prefix: bool = False) -> Tokenizer:
    """As GPT-2's, or (`words` false) with tokens that join anything to anything; with the offsets
    that GPT-2's post-processor leaves."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=words)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.ByteLevel(trim_offsets=True)
    trainer = trainers.BpeTrainer(
        vocab_size=source.randint(500, 900),
        special_tokens=["<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts(source), trainer)
    return backend


def sentence_piece(source: random.Random, *, scheme: str) -> Tokenizer:
    """As Llama's: a mark for blanks, bytes for what is unknown."""
    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if scheme == "legacy":
        backend.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
    else:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=source.randint(600, 900),
        special_tokens=["<unk>", "<eos>", *(f"<0x{byte:02X}>" for byte in range(256))],
        limit_alphabet=30,
        show_progress=False,
    )
    backend.train_from_iterator(texts(source), trainer)
    return backend


def unigram(source: random.Random, *, scheme: str) -> Tokenizer:
    """As T5's, without its normalizer."""
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    trainer = trainers.UnigramTrainer(
        vocab_size=source.randint(100, 300),
        special_tokens=["<unk>", "<eos>"],
        unk_token="<unk>",
        show_progress=False,
    )
    backend.train_from_iterator(texts(source), trainer)
    return backend


def bare_bpe(source: random.Random) -> Tokenizer:
    """Characters and whatever they were joined to."""
    backend = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    backend.decoder = decoders.Fuse()
    trainer = trainers.BpeTrainer(
        vocab_size=source.randint(200, 400),
        special_tokens=["<unk>", "<eos>"],
        show_progress=False,
    )
    backend.train_from_iterator(texts(source), trainer)
    return backend


CARRIES_ALL = {
    "as GPT-2": lambda source: byte_level(source, words=True),
    "bytes, across words": lambda source: byte_level(source, words=False),
    "as RoBERTa, a blank first": lambda source: byte_level(source, words=True, prefix=True),
    "as Llama, legacy": lambda source: sentence_piece(source, scheme="legacy"),
    "as Llama": lambda source: sentence_piece(source, scheme="first"),
    "unigram, first": lambda source: unigram(source, scheme="first"),
    "unigram, never": lambda source: unigram(source, scheme="never"),
    "bare BPE": bare_bpe,
}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", CARRIES_ALL)
def test_each_character_of_an_answer_is_in_its_tokens_and_none_of_the_prompt(
    kind: str, seed: int
) -> None:
    source = random.Random(seed)
    tokenizer = wrapped(CARRIES_ALL[kind](source))
    coder = Coder(tokenizer, reach=None)
    backend = tokenizer.backend_tokenizer
    backend.encode_special_tokens = True
    straddled = 0
    for _ in range(100):
        prompt = made_text(source, source.choice([1, 3, 8, 90]))
        answers = list(dict.fromkeys(made_text(source, source.randint(1, 4)) for _ in range(6)))
        (pairs,) = coder.pairs([Question(prompt, tuple(answers))])
        (context,) = coder.contexts([prompt])
        read = tokenizer.decode(context)
        for answer, pair in zip(answers, pairs, strict=True):
            # Generation goes on from the same tokens, whatever is scored.
            assert pair.context == context
            written = tokenizer.decode([*context, *pair.continuation])
            assert written == read + answer, (prompt, answer)
            whole = backend.encode(prompt + answer, add_special_tokens=False)
            border = len(prompt)
            if any(start < border < stop for start, stop in whole.offsets):
                straddled += 1
        assert len({pair.continuation for pair in pairs}) == len(answers)
    assert straddled > 10


@pytest.mark.parametrize("kind", ["char", "byte"])
def test_with_a_token_a_character_the_tokens_are_those_of_the_parts(kind: str) -> None:
    source = random.Random(7)
    tokenizer = build_tokenizer(TokenizerSpec(kind=kind), PIECES, for_mlm=False)  # type: ignore[arg-type]
    for _ in range(100):
        prompt, answer = made_text(source, 4), made_text(source, 3)
        ((head, (tail,)),) = Joiner(tokenizer).join([prompt], [[answer]])
        assert tokenizer.decode(head) == prompt
        assert tokenizer.decode(tail) == answer
        assert len(tail) == len(answer if kind == "char" else answer.encode())


def word_piece() -> PreTrainedTokenizerFast:
    """As BERT's: lower case, accents and blanks are lost."""
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=250, special_tokens=["[UNK]", "[CLS]", "[SEP]"], show_progress=False
    )
    backend.train_from_iterator(texts(random.Random(2)), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


def test_of_what_a_tokenizer_keeps_of_an_answer_all_is_scored_once() -> None:
    source, tokenizer = random.Random(3), word_piece()
    joiner = Joiner(tokenizer)

    def kept(text: str) -> str:
        normal = tokenizer.backend_tokenizer.normalizer.normalize_str(text)
        return "".join(normal.split())

    def read(ids: tuple[int, ...]) -> str:
        return "".join(t.removeprefix("##") for t in tokenizer.convert_ids_to_tokens(list(ids)))

    joined = 0
    for _ in range(300):
        prompt, answer = made_text(source, 4), made_text(source, 2)
        ((head, (tail,)),) = joiner.join([prompt], [[answer]])
        assert head == joiner.ids([prompt])[0]
        if tokenizer.unk_token_id not in (*head, *tail):
            assert read(tail) == kept(answer), (prompt, answer)
        joined += joiner.ids([prompt + answer])[0] != (*head, *tail)
    assert joined > 10  # straddled


def test_where_no_token_straddles_the_scores_are_those_of_lm_evaluation_harness() -> None:
    """Its `_encode_pair`: tokens of the whole behind as many as the context has by itself."""
    source = random.Random(11)
    tokenizer = wrapped(byte_level(source, words=True))
    backend = tokenizer.backend_tokenizer
    backend.encode_special_tokens = True
    joiner, equal = Joiner(tokenizer), 0
    for _ in range(400):
        prompt = made_text(source, source.choice([5, 90])).rstrip()
        answer = made_text(source, 3)
        whole = backend.encode(prompt + answer, add_special_tokens=False)
        alone = backend.encode(prompt, add_special_tokens=False).ids
        ((head, (tail,)),) = joiner.join([prompt], [[answer]])
        assert list(head) == alone
        if whole.ids[: len(alone)] == alone:
            assert list(tail) == whole.ids[len(alone) :]
            equal += 1
    assert equal > 200


def test_an_unknown_character_of_the_answer_is_not_hidden_in_one_of_the_prompt() -> None:
    vocab = {"<unk>": 0, "<eos>": 1, "a": 2, "b": 3, "=": 4}
    fused = wrapped(Tokenizer(models.BPE(vocab, [], unk_token="<unk>", fuse_unk=True)))
    joiner = Joiner(fused)
    assert joiner.join(["a☃"], [["☂b", "b", "☂☂"]]) == [((2, 0), ((0, 3), (3,), (0,)))]
    pieces = [("<unk>", 0.0), ("<eos>", 0.0), ("a", -1.0), ("b", -1.0)]
    joiner = Joiner(wrapped(Tokenizer(models.Unigram(pieces, unk_id=0))))
    assert joiner.join(["a☃", "☃"], [["☂b"], ["a☂"]]) == [((2, 0), ((0, 3),)), ((0,), ((2, 0),))]


def test_an_empty_prompt_and_an_empty_answer_are_what_they_are() -> None:
    tokenizer = wrapped(byte_level(random.Random(5), words=True))
    joiner = Joiner(tokenizer)
    ((head, tails),) = joiner.join([""], [["the cat", ""]])
    assert (head, tails[1]) == ((), ())
    assert tokenizer.decode(tails[0]) == "the cat"
    assert joiner.framed(()) == (tokenizer.eos_token_id,)
    assert joiner.join(["the"], [[]]) == [(joiner.ids(["the"])[0], ())]


@pytest.mark.skipif(not GPT2.is_dir(), reason="no gpt2_tokenizer: set EMERGECTL_DATA")
@pytest.mark.parametrize(
    ("prompt", "answers", "expected"),
    [
        # `=-` is one token of GPT-2's, as are `:-`, `/-` and `(-`.
        ("3-8=", ["-5", "5"], [["-", "5"], ["5"]]),
        ("x:", ["-1", "1"], [["-", "1"], ["1"]]),
        ("f(", ["-2)", "2)"], [["-", "2", ")"], ["2", ")"]]),
        # A word goes on: `known` is one token, `unknown` another.
        ("un", ["known", " known"], [["known"], ["Ġknown"]]),
        ("20", ["24", "00"], [["24"], ["00"]]),
        ("A:", [" cat"], [["Ġcat"]]),
    ],
)
def test_with_the_tokenizer_of_gpt2(
    prompt: str, answers: list[str], expected: list[list[str]]
) -> None:
    tokenizer = load_tokenizer(GPT2)
    ((head, tails),) = Joiner(tokenizer).join([prompt], [answers])
    assert tokenizer.decode(head) == prompt
    assert [tokenizer.convert_ids_to_tokens(list(tail)) for tail in tails] == expected
