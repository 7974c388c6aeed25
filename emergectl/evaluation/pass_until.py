"""How often a model passes: pass@k from counts, and sampling until k passes for what is rare.

A rate of one in ten thousand is not seen in a hundred samples, and how many it takes is not known
beforehand. So samples are drawn until `k` of them pass: with the k-th pass at sample n,
(k - 1) / (n - 1) is an unbiased estimate of the rate (Haldane 1945), where k / n is not. Where a
limit of samples ends it first, with c passes, c / n is unbiased in its place (Girshick, Mosteller
& Savage 1946, for any such boundary). The intervals are exact in the sense of Clopper & Pearson:
they hold the true rate at least as often as they say, at every rate.

Samples are numbered, and each is the same however many are drawn with it: rounds only decide how
fast it goes. A round takes what fills it from the items that were begun first, so that few are
under way at once and an interruption costs little; how many samples an item still needs is guessed
from what it has shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from emergectl.errors import RequestError
from emergectl.inference.requests import Cut, Model, TooLong, Writing

SAMPLES_AT_ONCE = 4096
"""samples of a round, over all items that are under way"""

_SAMPLES_OF_A_WRITING = 256
"""what the generator draws of one context together; progress is told after each"""

_ALWAYS_DRAWN = 16
"""fewer samples of an item are not worth a round"""


@dataclass(frozen=True)
class PassRate:
    """An estimated rate of passing.

    `reached`: whether the passes asked for came before the limit of samples; `samples` then ends
    with the last of them. `low` and `high` are the ends of the exact interval.
    """

    rate: float
    low: float
    high: float
    passes: int
    samples: int
    reached: bool


def pass_at_k(n: int, c: int, k: int) -> float:
    """The chance that at least one of k samples passes, from c passes among n.

    1 - C(n - c, k) / C(n, k), unbiased (Chen et al. 2021, equation 1), as a product that does not
    overflow. Raises ValueError unless 0 ≤ c ≤ n and 1 ≤ k ≤ n.
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"pass@{k} of {c} passes among {n} samples is not defined")
    if n - c < k:
        return 1.0
    all_fail = 1.0
    for place in range(n - c + 1, n + 1):
        all_fail *= 1.0 - k / place
    return 1.0 - all_fail


def estimate_pass_rate(
    passes: int, samples: int, *, reached: bool, confidence: float = 0.95
) -> PassRate:
    """The rate after `samples`, of which `passes` passed; `reached`: the last one ended it.

    Raises ValueError for counts that cannot be: reached without a pass, more passes than samples.
    """
    if not (0 <= passes <= samples and samples >= 1) or (reached and passes < 1):
        raise ValueError(f"{passes} passes in {samples} samples cannot be")
    from scipy.stats import beta

    tail = (1 - confidence) / 2
    # P(as many passes as soon) = P(Binomial(samples) ≥ passes), whatever ended it. The other
    # tail: where the last sample was bound to pass, only those before it could have gone wrong.
    others = samples - passes
    low = beta.ppf(tail, passes, others + 1) if passes else 0.0
    if reached:
        rate = (passes - 1) / (samples - 1) if samples > 1 else 1.0
        high = beta.ppf(1 - tail, passes, others) if others else 1.0
    else:
        rate = passes / samples
        high = beta.ppf(1 - tail, passes + 1, others) if others else 1.0
    return PassRate(rate, float(low), float(high), passes, samples, reached)


def mean_rate_interval(rates: Sequence[PassRate]) -> tuple[float, float] | None:
    """The exact 95% interval of the mean rate of some items, where it can be had.

    Of one item it is that item's own. Of several it is the interval of all their samples taken
    together where none of these passed, or all did: with n samples of each of m items, all fail
    with probability Π(1 - pᵢ)ⁿ, which no rates of the same mean make larger than equal ones
    (geometric and arithmetic mean), so what Clopper and Pearson say of n·m samples of one item
    holds. It is about these items; None in all other cases, where drawing items again tells more.
    """
    if len(rates) == 1:
        return rates[0].low, rates[0].high
    passes, samples = sum(rate.passes for rate in rates), sum(rate.samples for rate in rates)
    if not samples or passes not in (0, samples) or len({rate.samples for rate in rates}) > 1:
        return None
    together = estimate_pass_rate(passes, samples, reached=False)
    return together.low, together.high


@dataclass
class SampleTally:
    """Samples of one item, counted until `wanted` of them passed or `most_samples` were drawn.

    What comes after the last pass that was needed is left out, or the estimate would not be
    unbiased. RequestError for less than two passes: with one the estimate is always 0 or 1.
    """

    wanted: int
    most_samples: int
    passes: int = 0
    samples: int = 0

    def __post_init__(self) -> None:
        if self.wanted < 2 or self.most_samples < 1:
            raise RequestError("pass-until needs at least 2 passes and room for a sample")

    @property
    def reached(self) -> bool:
        """Whether as many passed as were wanted."""
        return self.passes == self.wanted

    @property
    def is_done(self) -> bool:
        """Whether nothing more has to be drawn."""
        return self.reached or self.samples == self.most_samples

    def add(self, passed: Iterable[bool]) -> None:
        """Count the next samples, in their order."""
        for one in passed:
            if self.is_done:
                return
            self.samples += 1
            self.passes += bool(one)

    def next_count(self, most: int) -> int:
        """How many samples to draw next, `most` at most: as many as it seems to need, and never
        more than there were, so that some tenth of what is drawn is not needed."""
        needed = 1 + (self.wanted - self.passes) * self.samples // (self.passes + 1)
        count = max(min(needed, self.samples), self.wanted, _ALWAYS_DRAWN)
        return min(count, most, self.most_samples - self.samples)


@dataclass(frozen=True)
class Sampled:
    """What came of the samples of one item; `first` is the text of the first one, `cut` how many
    did not end."""

    first: str
    passes: int
    samples: int
    reached: bool
    cut: int = 0


def pass_until(
    model: Model,
    writings: Sequence[Writing],
    is_right: Callable[[int, str], bool],
    *,
    passes: int = 10,
    most_samples: int = 10_000,
    at_once: int = SAMPLES_AT_ONCE,
    drawn: Callable[[int], None] = lambda _: None,
) -> Iterator[tuple[int, Sampled | TooLong]]:
    """(index of the writing, what its samples came to), each once, as they are done.

    Samples are drawn until `passes` of them are right by `is_right(index, text)`, or there are
    `most_samples`, `at_once` a round. With 10 passes a rate is known to about a third.
    `drawn(count)` is told of samples as they come, and may raise to end it.

    Raises RequestError where a temperature is 0: all samples would be the same.
    """
    if any(writing.temperature <= 0 for writing in writings):
        raise RequestError("pass-until samples: it needs a temperature above 0")
    tallies = [SampleTally(passes, most_samples) for _ in writings]
    first = [""] * len(writings)
    cut = [0] * len(writings)
    waiting = list(range(len(writings)))
    while waiting:
        places, asked = _round(waiting, writings, tallies, at_once)
        outcomes: dict[int, list[tuple[bool, bool]]] = {}
        too_long: dict[int, TooLong] = {}
        for number, texts in model.write(asked):
            if isinstance(texts, TooLong):
                too_long[places[number]] = texts
                continue
            outcomes[number] = [
                (is_right(places[number], text), isinstance(text, Cut)) for text in texts
            ]
            if asked[number].first == 0:
                first[places[number]] = texts[0]
            drawn(len(texts))
        for number in sorted(outcomes):
            tally, before = tallies[places[number]], tallies[places[number]].samples
            tally.add(passed for passed, _ in outcomes[number])
            counted = outcomes[number][: tally.samples - before]
            cut[places[number]] += sum(is_cut for _, is_cut in counted)
        for place in dict.fromkeys(places):
            tally = tallies[place]
            if place in too_long:
                yield place, too_long[place]
            elif tally.is_done:
                counts = tally.passes, tally.samples, tally.reached, cut[place]
                yield place, Sampled(first[place], *counts)
        waiting = [p for p in waiting if p not in too_long and not tallies[p].is_done]


def _round(
    waiting: Sequence[int],
    writings: Sequence[Writing],
    tallies: Sequence[SampleTally],
    at_once: int,
) -> tuple[list[int], list[Writing]]:
    """What to write next, sample after sample of each item, and whose it is."""
    places, asked, room = [], [], at_once
    for place in waiting:
        if room <= 0:
            break
        begin = tallies[place].samples
        count = tallies[place].next_count(at_once)
        room -= count
        for first in range(begin, begin + count, _SAMPLES_OF_A_WRITING):
            samples = min(_SAMPLES_OF_A_WRITING, begin + count - first)
            places.append(place)
            asked.append(replace(writings[place], first=first, samples=samples))
    return places, asked
