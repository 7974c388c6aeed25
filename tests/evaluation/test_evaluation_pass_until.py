"""Rates are found without bias, with intervals that hold, down to one in a hundred thousand."""

import itertools
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from asked_models import small_model

from emergectl.errors import RequestError
from emergectl.evaluation.pass_until import (
    PassRate,
    Sampled,
    SampleTally,
    estimate_pass_rate,
    mean_rate_interval,
    pass_at_k,
    pass_until,
)
from emergectl.inference.requests import Question, TooLong, Writing

RATES = [1e-1, 1e-2, 1e-3, 1e-4, 1e-5]


@pytest.mark.parametrize(("n", "c", "k"), [(10, 3, 1), (10, 3, 5), (7, 0, 3), (7, 7, 1), (6, 4, 3)])
def test_pass_at_k_is_the_share_of_draws_with_a_pass(n: int, c: int, k: int) -> None:
    draws = list(itertools.combinations([True] * c + [False] * (n - c), k))
    expected = Fraction(sum(any(draw) for draw in draws), len(draws))
    assert pass_at_k(n, c, k) == pytest.approx(float(expected))


def test_pass_at_k_of_many_samples_does_not_overflow() -> None:
    # 1 - C(199, 100) / C(200, 100) = 1/2 exactly: half of the draws hold the one that passed.
    assert pass_at_k(200, 1, 100) == pytest.approx(0.5)
    assert pass_at_k(10_000, 10_000, 100) == 1.0


@pytest.mark.parametrize(("n", "c", "k"), [(5, 6, 1), (5, 1, 6), (5, 1, 0), (5, -1, 1)])
def test_pass_at_k_of_impossible_counts_is_refused(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match="not defined"):
        pass_at_k(n, c, k)


@pytest.mark.parametrize("true", RATES)
@pytest.mark.parametrize("passes", [2, 10])
def test_known_rates_are_found_without_bias_and_intervals_hold(true: float, passes: int) -> None:
    rng = np.random.default_rng(0)
    repeats = 4000
    samples = passes + rng.negative_binomial(passes, true, size=repeats)
    found = [estimate_pass_rate(passes, int(n), reached=True) for n in samples]
    rates = np.array([rate.rate for rate in found])
    standard_error = rates.std() / repeats**0.5
    assert rates.mean() == pytest.approx(true, abs=4 * standard_error)
    held = np.mean([rate.low <= true <= rate.high for rate in found])
    assert 0.94 < held < 0.985


@pytest.mark.parametrize(("true", "most"), [(1e-1, 30), (1e-2, 500), (1e-3, 1000)])
def test_a_limit_of_samples_leaves_the_estimate_unbiased_and_the_interval_right(
    true: float, most: int
) -> None:
    rng = np.random.default_rng(1)
    found = []
    for _ in range(2000):
        passed = rng.random(most) < true
        found.append(counted(passed, passes=4, most_samples=most))
    assert {rate.reached for rate in found} == {True, False}
    rates = np.array([rate.rate for rate in found])
    assert rates.mean() == pytest.approx(true, abs=4 * rates.std() / 2000**0.5)
    assert np.mean([rate.low <= true <= rate.high for rate in found]) > 0.94


@pytest.mark.parametrize("part", [1, 7, 64, 5000])
def test_the_parts_that_samples_come_in_change_nothing(part: int) -> None:
    passed = np.random.default_rng(2).random(5000) < 0.01
    tally = SampleTally(5, 5000)
    for first in range(0, 5000, part):
        tally.add(passed[first : first + part])
    fifth = int(np.flatnonzero(passed)[4]) + 1
    assert (tally.passes, tally.samples, tally.reached) == (5, fifth, True)
    assert estimate_pass_rate(5, fifth, reached=True).rate == pytest.approx(4 / (fifth - 1))


@pytest.mark.parametrize("true", [0.9, 1e-1, 1e-2, 1e-3])
def test_little_more_is_drawn_than_is_needed(true: float) -> None:
    rng = np.random.default_rng(3)
    drawn = needed = rounds = 0
    for _ in range(50):
        tally = SampleTally(10, 100_000)
        while not tally.is_done:
            count = tally.next_count(4096)
            tally.add(rng.random(count) < true)
            drawn += count
            rounds += 1
        needed += tally.samples
    assert drawn < 1.2 * needed + 50 * 16
    assert rounds < 50 * 15


def test_all_passes_and_no_passes_have_their_intervals() -> None:
    assert estimate_pass_rate(3, 3, reached=True).high == 1.0
    none = estimate_pass_rate(0, 1000, reached=False)
    assert (none.rate, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(1 - 0.025 ** (1 / 1000))  # (1 - p)^1000 = 2.5%


def test_one_pass_is_too_few_to_ask_for() -> None:
    with pytest.raises(RequestError, match="at least 2 passes"):
        SampleTally(1, 3)


@pytest.mark.parametrize("rates", [(0.004, 0.0, 0.002, 0.002), (0.002,) * 4, (0.008, 0, 0, 0)])
def test_where_no_item_passed_the_bound_of_the_mean_rate_holds_however_rates_are_spread(
    rates: tuple[float, ...],
) -> None:
    # With the mean at the bound, no pass at all must come in at most one of forty cases.
    none = mean_rate_interval([estimate_pass_rate(0, 500, reached=False)] * len(rates))
    assert none is not None
    assert none == pytest.approx((0.0, 1 - 0.025 ** (1 / 2000)))
    scale = none[1] / np.mean(rates)
    assert math.prod((1 - scale * rate) ** 500 for rate in rates) <= 0.025 + 1e-9


def test_where_some_items_passed_items_are_drawn_again_instead() -> None:
    some = [estimate_pass_rate(0, 500, reached=False), estimate_pass_rate(10, 300, reached=True)]
    assert mean_rate_interval(some) is None
    assert mean_rate_interval(some[1:]) == (some[1].low, some[1].high)
    assert mean_rate_interval([estimate_pass_rate(10, 10, reached=True)] * 3) == pytest.approx(
        (0.025 ** (1 / 30), 1.0)
    )


CONTEXTS = ("ab", "b", "the end", "q")
TEXTS = ("x", "xy", "e", "zzz")


def writings() -> list[Writing]:
    return [
        Writing(context, (), max_tokens=len(text), temperature=1.0, seed=number)
        for number, (context, text) in enumerate(zip(CONTEXTS, TEXTS, strict=True))
    ]


def test_what_a_model_writes_as_often_as_it_says_is_found_at_that_rate() -> None:
    asked = small_model()
    questions = [Question(c, (t,)) for c, t in zip(CONTEXTS, TEXTS, strict=True)]
    likely = {
        index: math.exp(scores[0].logprob)  # type: ignore[union-attr, index]
        for index, scores in asked.score(questions)
    }
    told: list[int] = []
    found = dict(
        pass_until(
            asked,
            writings(),
            lambda index, text: text == TEXTS[index],
            passes=8,
            most_samples=30_000,
            drawn=told.append,
        )
    )
    for index, true in likely.items():
        one = found[index]
        assert isinstance(one, Sampled)
        rate = estimate_pass_rate(one.passes, one.samples, reached=one.reached)
        assert rate.low <= true <= rate.high
    assert sum(told) >= sum(one.samples for one in found.values())  # type: ignore[union-attr]
    assert {one.reached for one in found.values()} == {True, False}  # type: ignore[union-attr]


def test_what_is_found_depends_on_no_round_and_on_nothing_asked_beside_it() -> None:
    asked = small_model()

    def found(some: list[Writing], **options: int) -> list[Sampled]:
        passing = pass_until(
            asked,
            some,
            lambda _, text: text[:1] in "aeiouxyz",
            passes=4,
            most_samples=3000,
            **options,
        )
        return [one for _, one in sorted(passing, key=lambda pair: pair[0])]  # type: ignore[misc]

    together = found(writings())
    assert found(writings(), at_once=50) == together
    assert [found([writing])[0] for writing in writings()] == together


def test_the_samples_are_those_of_plain_sampling_in_their_order() -> None:
    asked = small_model()
    writing = replace(writings()[1], samples=2000)
    ((_, texts),) = asked.write([writing])
    passing = [place for place, text in enumerate(texts) if "e" in text]  # type: ignore[arg-type]
    ((_, one),) = pass_until(asked, [writing], lambda _, text: "e" in text, passes=5)
    assert isinstance(one, Sampled)
    assert (one.samples, one.first) == (passing[4] + 1, texts[0])  # type: ignore[index]


def test_pass_until_needs_samples_that_differ_and_a_context_that_fits() -> None:
    asked = small_model(seq_len=8)
    with pytest.raises(RequestError, match="temperature above 0"):
        list(pass_until(asked, [Writing("a", (), 1)], lambda *_: True))
    long, short = (Writing("a" * count, (), 1, temperature=1.0) for count in (20, 2))
    found = dict(pass_until(asked, [long, short], lambda *_: True, passes=2))
    assert isinstance(found[0], TooLong)
    sampled = found[1]
    assert isinstance(sampled, Sampled)
    assert sampled == Sampled(sampled.first, 2, 2, True, sampled.cut)
    assert sampled.cut <= 2


def counted(passed: np.ndarray, *, passes: int, most_samples: int) -> PassRate:
    """The rate that samples with these outcomes, in order, come to."""
    tally = SampleTally(passes, most_samples)
    tally.add(passed)
    return estimate_pass_rate(tally.passes, tally.samples, reached=tally.reached)
