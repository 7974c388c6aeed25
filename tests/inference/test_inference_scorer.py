"""Scores are those of one plain forward pass a continuation, however they were come by."""

import threading
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from asked_models import OTHERS, made_questions, plain_scores, small_model

from emergectl.errors import EmergectlError
from emergectl.inference.loading import LanguageModel
from emergectl.inference.requests import Question, Scored, TooLong
from emergectl.inference.scorer import score_questions
from emergectl.models.families import FAMILIES
from emergectl.runtime.place import Place

CAUSAL = [name for name, family in FAMILIES.items() if family.kind == "causal"]


def scored(
    asked: LanguageModel, questions: list[Question], **options: Any
) -> list[tuple[Scored, ...]]:
    options = {"place": asked.place} | options
    found = dict(score_questions(asked.model, asked.coder, asked.ways, questions, **options))
    return [found[index] for index in range(len(questions))]  # type: ignore[misc]


def counted_tokens(asked: LanguageModel) -> list[int]:
    """Grows by the tokens of each forward pass from here on."""
    seen: list[int] = []
    embedding = asked.model.get_input_embeddings()
    embedding.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].numel()))
    return seen


@pytest.mark.parametrize("family", [*CAUSAL, *OTHERS])
def test_scores_are_those_of_a_plain_forward_pass(family: str) -> None:
    asked = small_model(family)
    questions = made_questions(9)
    for question, scores in zip(questions, scored(asked, questions), strict=True):
        for score, (logprob, greedy) in zip(scores, plain_scores(asked, question), strict=True):
            assert score.logprob == pytest.approx(logprob, abs=1e-4)
            assert score.greedy == greedy


@pytest.mark.parametrize(
    ("family", "trees"), [*((f, True) for f in CAUSAL), *((f, False) for f in OTHERS)]
)
def test_a_model_is_asked_along_trees_only_if_it_attends_along_them(
    family: str, trees: bool
) -> None:
    ways = small_model(family).ways
    assert ways is not None
    assert ways.trees is trees


def test_scores_do_not_depend_on_what_else_is_in_a_batch() -> None:
    asked = small_model()
    questions = made_questions(40)
    together = scored(asked, questions, budget=4096)
    for budget in (1, 300):
        assert_near(scored(asked, questions, budget=budget), together)
    assert_near(scored(asked, questions[::-1], budget=700)[::-1], together)
    assert_near([scored(asked, [question])[0] for question in questions], together)


def test_what_greedy_decoding_would_write_is_known_as_such() -> None:
    asked = small_model()
    for context in "abcdefghijklmnopqrstuvwxyz":
        with torch.no_grad():
            likeliest = int(asked.model(torch.tensor([[ord(context)]])).logits[0, -1].argmax())
        if likeliest < 128:
            break
    right = chr(likeliest)
    (first, second) = scored(asked, [Question(context, (right, chr(likeliest ^ 1)))])[0]
    assert (first.greedy, second.greedy) == (True, False)


def test_a_context_is_run_once_for_all_of_its_continuations() -> None:
    asked = small_model()
    seen = counted_tokens(asked)
    scored(asked, [Question("x" * 60, ("A", "B", "C", "D"))])
    assert sum(seen) == 60  # The last token of a continuation is looked up, not run.


def test_shots_that_questions_share_are_run_once() -> None:
    asked = small_model(seq_len=512)
    shots = "2+2=4\n3+5=8\n" * 20
    questions = [Question(f"{shots}{n}+{n}=", ("4", "18")) for n in range(20)]
    seen = counted_tokens(asked)
    found = scored(asked, questions)
    assert sum(seen) < 2 * len(shots)
    for question, scores in zip(questions, found, strict=True):
        expected = [value for value, _ in plain_scores(asked, question)]
        assert [score.logprob for score in scores] == pytest.approx(expected, abs=1e-4)


def test_a_question_that_does_not_fit_is_refused_with_its_length_and_never_cut() -> None:
    asked = small_model(seq_len=16)
    fits, too_long = Question("a" * 14, ("bcd", "b")), Question("a" * 14, ("b", "bcde"))
    found = dict(asked.score([too_long, fits]))
    assert isinstance(found[0], TooLong)
    assert str(found[0]) == "17 tokens, and the model reaches 16"
    assert [score.logprob for score in found[1]] == pytest.approx(  # type: ignore[union-attr]
        [value for value, _ in plain_scores(asked, fits)], abs=1e-4
    )


def test_the_end_of_the_text_belongs_to_a_continuation_when_asked() -> None:
    asked = small_model()
    plain, ended = scored(asked, [Question("ab", ("cd",)), Question("ab", ("cd",), ends=True)])
    with torch.no_grad():
        logits = asked.model(torch.tensor([list(b"abcd")])).logits[0, -1]
    end = float(logits.log_softmax(-1)[asked.coder.end])
    assert ended[0].tokens == plain[0].tokens + 1
    assert ended[0].bytes == plain[0].bytes
    assert ended[0].logprob == pytest.approx(plain[0].logprob + end, abs=1e-4)


def test_an_empty_context_is_the_end_of_the_text_before() -> None:
    asked = small_model()
    (score,) = scored(asked, [Question("", ("a",))])[0]
    with torch.no_grad():
        logits = asked.model(torch.tensor([[asked.coder.end]])).logits[0, -1]
    assert score.logprob == pytest.approx(float(logits.log_softmax(-1)[ord("a")]), abs=1e-4)


def test_an_empty_continuation_is_certain_and_no_continuations_are_an_answer() -> None:
    found = dict(small_model().score([Question("a", ("", "b")), Question("a", ())]))
    assert found[0][0] == Scored(0.0, tokens=0, bytes=0, greedy=True)  # type: ignore[index]
    assert found[1] == ()


def test_a_batch_that_memory_refuses_is_halved() -> None:
    asked = small_model()
    questions = made_questions(30)
    expected = scored(asked, questions)
    refused = refuse_batches_over(asked, 400)
    assert_near(scored(asked, questions, budget=4000), expected)
    assert 0 < len(refused) < 6  # Later batches are no larger than what was found to fit.


def test_an_item_that_memory_refuses_ends_with_advice() -> None:
    asked = small_model()
    refuse_batches_over(asked, 20)
    with pytest.raises(EmergectlError, match=r"one item of \d+ tokens: take a smaller model"):
        scored(asked, made_questions(3))


def test_ranks_share_the_batches_and_all_of_them_get_all_answers() -> None:
    questions = made_questions(30)
    expected = scored(small_model(), questions)
    barrier, values = threading.Barrier(2), {}
    found: dict[int, list[tuple[Scored, ...]]] = {}
    tokens: dict[int, int] = {}
    models = [small_model(), small_model()]

    def run(rank: int) -> None:
        def gather(value: Any) -> list[Any]:
            values[rank] = value
            barrier.wait()
            both = [values[0], values[1]]
            barrier.wait()
            return both

        asked = models[rank]
        seen = counted_tokens(asked)
        place = Place(torch.device("cpu"), nullcontext, rank=rank, world=2, gather=gather)
        found[rank] = scored(asked, questions, place=place, budget=300)
        tokens[rank] = sum(seen)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert_near(found[0], expected)
    assert_near(found[1], expected)
    assert 0.5 < tokens[0] / tokens[1] < 2


def test_bf16_is_near_and_fp32_comes_back_with_the_next_weights() -> None:
    asked = small_model()
    questions = made_questions(5)
    expected = scored(asked, questions)
    coarse = LanguageModel(asked.model, asked.coder.tokenizer, asked.weights, bf16=True)
    assert coarse.model.dtype == torch.bfloat16
    assert coarse.ways == small_model().ways
    for scores, exact in zip(scored(coarse, questions), expected, strict=True):
        for score, other in zip(scores, exact, strict=True):
            assert score.logprob == pytest.approx(other.logprob, rel=0.1, abs=0.5)


def refuse_batches_over(asked: LanguageModel, tokens: int) -> list[int]:
    """Let the model run out of memory for more tokens; the sizes that it refused."""
    refused: list[int] = []

    def refuse(_: Any, inputs: tuple[torch.Tensor]) -> None:
        if inputs[0].numel() > tokens:
            refused.append(inputs[0].numel())
            raise torch.OutOfMemoryError("CUDA out of memory")

    asked.model.get_input_embeddings().register_forward_pre_hook(refuse)
    return refused


def assert_near(found: list[tuple[Scored, ...]], expected: list[tuple[Scored, ...]]) -> None:
    for scores, others in zip(found, expected, strict=True):
        assert [s.logprob for s in scores] == pytest.approx([o.logprob for o in others], abs=1e-4)
        assert [s.greedy for s in scores] == [o.greedy for o in others]
