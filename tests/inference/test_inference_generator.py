"""What is written is what transformers would write, sample by sample, whatever the batch."""

import math
from collections import Counter
from copy import deepcopy

import pytest
import torch
from asked_models import OTHERS, small_model
from scipy.stats import chisquare

from emergectl.inference.generator import write_texts
from emergectl.inference.loading import LanguageModel
from emergectl.inference.requests import Cut, TooLong, Writing

FAMILIES = ["gpt2", "llama", "attention_only", *OTHERS]


def written(asked: LanguageModel, writings: list[Writing], **options: int) -> list[tuple[str, ...]]:
    found = dict(
        write_texts(asked.model, asked.coder, asked.ways, writings, place=asked.place, **options)
    )
    return [found[index] for index in range(len(writings))]  # type: ignore[misc]


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_texts_are_those_of_transformers_generate(family: str) -> None:
    asked = small_model(family)
    contexts = ["The sum of", "It", "Once upon a time there was"]
    found = written(asked, [Writing(context, (), 12) for context in contexts])
    for context, texts in zip(contexts, found, strict=True):
        ids = torch.tensor([list(context.encode())])
        with torch.no_grad():
            expected = asked.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=12,
                do_sample=False,
                eos_token_id=asked.coder.end,
                pad_token_id=256,
            )[0, ids.shape[1] :]
        assert texts == (asked.coder.tokenizer.decode(expected, skip_special_tokens=True),)


@pytest.mark.parametrize("family", ["llama", "mamba"])
def test_samples_do_not_depend_on_the_batch_nor_on_how_many_are_asked_for(family: str) -> None:
    asked = small_model(family)
    writings = [Writing(c, ("e",), 8, samples=5, temperature=1.0, seed=3) for c in ("a", "bcd")]
    together = written(asked, writings)
    assert written(asked, writings, budget=1) == together
    assert written(asked, writings[::-1])[::-1] == together
    more = written(asked, [Writing("a", ("e",), 8, samples=300, temperature=1.0, seed=3)])
    assert more[0][:5] == together[0]
    assert len(set(more[0])) > 250


def test_other_seeds_and_other_contexts_draw_other_samples() -> None:
    asked = small_model()
    first = written(asked, [Writing("a", (), 8, samples=4, temperature=1.0, seed=0)])[0]
    other = written(asked, [Writing("a", (), 8, samples=4, temperature=1.0, seed=1)])[0]
    assert not set(first) & set(other)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_drawn_as_often_as_the_model_says(temperature: float) -> None:
    asked = small_model()
    asked.model.get_output_embeddings().weight.data[128:] = 0  # so that letters are common
    with torch.no_grad():
        logits = asked.model(torch.tensor([[ord("a")]])).logits[0, -1].double()
    likely = (logits / temperature).softmax(-1)
    count = 4000
    texts = written(asked, [Writing("a", (), 1, samples=count, temperature=temperature)])[0]
    seen = Counter(texts)
    common = [token for token in range(32, 127) if likely[token] * count > 8]
    assert len(common) > 5
    observed = [seen[chr(token)] for token in common]
    expected = [float(likely[token]) * count for token in common]
    rest = count - sum(observed), count - sum(expected)
    assert chisquare([*observed, rest[0]], [*expected, rest[1]]).pvalue > 1e-4


def test_a_text_ends_before_the_first_of_its_stop_strings() -> None:
    asked = small_model()
    whole = written(asked, [Writing("ab", (), 40, samples=20, temperature=1.0)])[0]
    stopped = written(asked, [Writing("ab", ("q", "7", "xy"), 40, samples=20, temperature=1.0)])[0]
    assert any("q" in text or "7" in text for text in whole)
    for text, cut in zip(whole, stopped, strict=True):
        ends = [text.index(stop) for stop in ("q", "7", "xy") if stop in text]
        assert cut == text[: min(ends, default=len(text))]


def test_a_text_ends_at_the_end_of_text_token_and_rows_leave_one_by_one() -> None:
    asked = small_model()
    sizes: list[int] = []
    asked.model.get_input_embeddings().register_forward_pre_hook(
        lambda _, inputs: sizes.append(len(inputs[0]))
    )
    head = asked.model.get_output_embeddings()
    head.register_forward_hook(lambda _, __, logits: _likely_end(logits, asked.coder.end))
    texts = written(asked, [Writing("ab", (), 30, samples=50, temperature=1.0)])[0]
    lengths = [len(text) for text in texts]
    assert max(lengths) > min(lengths)
    assert sizes[0] == 1  # One context, whatever the number of its samples.
    assert sizes[1:] == sorted(sizes[1:], reverse=True)
    assert sizes[-1] < 25


def test_several_greedy_samples_are_run_once() -> None:
    (texts,) = written(small_model(), [Writing("ab", (), 5, samples=3)])
    assert len(texts) == 3
    assert len(set(texts)) == 1


def test_a_text_goes_no_further_than_the_model_reaches() -> None:
    asked = small_model(seq_len=8)
    found = dict(asked.write([Writing("a" * 5, (), 30, temperature=1.0), Writing("a" * 9, (), 1)]))
    tokens = asked.coder.tokenizer(found[0][0], add_special_tokens=False)  # type: ignore[index]
    assert 1 <= len(tokens["input_ids"]) <= 3 * 4  # four tokens; what is no text is written �
    assert isinstance(found[1], TooLong)
    assert str(found[1]) == "9 tokens, and the model reaches 8"


def _likely_end(logits: torch.Tensor, end: int | None) -> torch.Tensor:
    """The end of the text at every tenth token."""
    logits = logits.clone()
    logits[..., end] = logits.logsumexp(-1) - math.log(9)
    return logits


def test_a_text_is_cut_unless_it_ends_where_it_has_to() -> None:
    asked = deepcopy(small_model("llama"))
    weights = asked.model.get_output_embeddings().weight.data
    weights[:32], weights[127:] = 0, 0  # it writes characters of one byte
    ((text,),) = written(asked, [Writing("The sum of", (), 40)])
    assert isinstance(text, Cut)
    assert (len(text), text.isascii()) == (40, True)
    count = next(n for n in range(2, 40) if text[n] not in text[:n])
    all_stops: list[tuple[str, ...]] = [
        (),
        (text[count],),
        ("never",),
        (text[count - 1 : count + 1],),
    ]
    found = written(asked, [Writing("The sum of", stops, count) for stops in all_stops])
    texts = [one for (one,) in found]
    assert texts == [text[:count]] * 3 + [text[: count - 1]]
    assert [isinstance(one, Cut) for one in texts] == [True, False, True, False]

    # The end token right behind the limit ends a text too; the model's last position does not.
    asked.model.generation_config.eos_token_id = ord(text[count])
    ((ended,),) = written(asked, [Writing("The sum of", (), count)])
    assert (ended, isinstance(ended, Cut)) == (text[:count], False)
    asked.coder.reach = len("The sum of") + count - 1
    ((ended,),) = written(asked, [Writing("The sum of", (), count)])
    assert (ended, isinstance(ended, Cut)) == (text[:count], True)
