"""Addition, subtraction and multiplication of whole numbers, digit by digit.

Three ways of writing the answer, as in Lee et al. 2023 (arXiv:2307.03381): plain, most significant
digit first, so that the first digit written may hang on a carry through all the others; reversed,
where each digit needs the carry before it alone; and with a scratchpad, where every step is
written down before the answer. The question, and with it what is held out, is the same for all.

Numbers have exactly as many digits as each other: `digits`, or evenly between `min_digits` and
`digits`. In subtraction the larger one stands first. Chance is that of guessing evenly among the
numbers from the smallest to the largest possible answer (with a scratchpad: among all that can be
written, one text for each pair).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from emergectl.store.measurements import Fact
from emergectl.tasks.synthetic import MadeTask, span, work
from emergectl.tasks.task import Answering, Item

if TYPE_CHECKING:
    import numpy as np


class ArithmeticTask(MadeTask):
    """Two numbers and a sign; a subclass says what is to be done with them."""

    sign: ClassVar[str]

    digits: Annotated[int, Field(ge=1, le=18)] = 3
    """digits of either number"""
    min_digits: Annotated[int, Field(ge=1, le=18)] | None = None
    """fewest digits; null: all numbers have `digits`"""
    format: Literal["plain", "reversed", "scratchpad"] = "plain"
    """how the answer is written: 579; 975; or its steps and then the answer"""

    @property
    def alphabet(self) -> str:
        """Digits and signs."""
        return "0123456789=;+" + ("" if self.sign == "+" else self.sign)

    @property
    def chance(self) -> Mapping[str, float]:
        """Guessing evenly among the possible answers."""
        answers = self._texts() if self.format == "scratchpad" else self._answers()
        return {"exact_match": 1 / answers}

    @property
    def shortcuts(self) -> Mapping[str, Answering]:
        """Writing a number of the question, as answers are written; of a scratchpad none."""
        if self.format == "scratchpad":
            return {}
        way = -1 if self.format == "reversed" else 1

        def number(item: Item, index: int) -> list[str]:
            return [item.prompt.removesuffix("=").split(self.sign)[index][::way]]

        return {
            "writing the first number": lambda item: number(item, 0),
            "writing the second number": lambda item: number(item, 1),
        }

    def make(self, rng: np.random.Generator, count: int) -> Iterator[Item]:
        """Pairs of numbers, evenly among those with as many digits."""
        import numpy as np

        sizes = rng.integers(self.min_digits or self.digits, self.digits + 1, size=count)
        low = np.where(sizes == 1, 0, 10 ** (sizes - 1))
        first, second = rng.integers(low, 10**sizes, size=(2, count))
        if self.sign == "-":
            first, second = np.maximum(first, second), np.minimum(first, second)
        facts = self.facts(first, second, sizes)
        for a, b, size, known in zip(
            first.tolist(), second.tolist(), sizes.tolist(), facts, strict=True
        ):
            answer = str(self.result(a, b))
            if self.format == "reversed":
                answer = answer[::-1]
            elif self.format == "scratchpad":
                answer = ";".join([*self.scratchpad(a, b), answer])
            question = f"{a}{self.sign}{b}"
            yield Item(question, f"{question}=", answer, facts={"digits": size, **known})

    def extract(self, text: str) -> str:
        """What stands behind the last step of a scratchpad; elsewhere the whole text."""
        return text.strip().rpartition(";")[2] if self.format == "scratchpad" else text.strip()

    def is_right(self, item: Item, prediction: str) -> bool:
        """Whether the answer itself is right, whatever steps led to it."""
        assert item.target is not None
        return prediction == self.extract(item.target)

    def _answers(self) -> int:
        raise NotImplementedError

    def _texts(self) -> int:
        return sum(_numbers(size) ** 2 for size in span(self.min_digits, self.digits))

    def result(self, a: int, b: int) -> int:
        """The number asked for."""
        raise NotImplementedError

    def scratchpad(self, a: int, b: int) -> list[str]:
        """The steps to it, in order."""
        raise NotImplementedError

    def facts(
        self, first: np.ndarray, second: np.ndarray, sizes: np.ndarray
    ) -> Iterator[dict[str, Fact]]:
        """The least work of each pair, and what else is to be known of it; arrays are [count]."""
        raise NotImplementedError


class Addition(ArithmeticTask):
    """Add two whole numbers."""

    name: ClassVar[str] = "addition"
    sign: ClassVar[str] = "+"
    least_work: ClassVar[str] = (
        "one addition for each pair of digits, a chain as long as a carry runs; memory: the carry, "
        "but the whole sum where it is written from its first digit on"
    )

    def result(self, a: int, b: int) -> int:
        """The sum."""
        return a + b

    def scratchpad(self, a: int, b: int) -> list[str]:
        """Digits and carry from the last place on: 7+8+0=15, 1+2+1=4."""
        steps, carry = [], 0
        for one, other in _digit_pairs(a, b):
            steps.append(f"{one}+{other}+{carry}={one + other + carry}")
            carry = (one + other + carry) // 10
        return steps

    def facts(
        self, first: np.ndarray, second: np.ndarray, sizes: np.ndarray
    ) -> Iterator[dict[str, Fact]]:
        """Carries and the longest run of them."""
        carries, longest = _carried(first, second, self.digits, borrows=False)
        for size, count, run in zip(sizes.tolist(), carries, longest, strict=True):
            held = size + 1 if self.format == "plain" else 1
            yield {"carries": count, **work(operations=size, steps=run + 1, memory=held)}

    def _answers(self) -> int:
        return sum(2 * _numbers(size) - 1 for size in span(self.min_digits, self.digits))


class Subtraction(ArithmeticTask):
    """Subtract the smaller of two whole numbers from the larger."""

    name: ClassVar[str] = "subtraction"
    sign: ClassVar[str] = "-"
    least_work: ClassVar[str] = (
        "one subtraction for each pair of digits, a chain as long as a borrow runs; memory: the "
        "borrow, but the whole difference where it is written from its first digit on"
    )

    def result(self, a: int, b: int) -> int:
        """The difference."""
        return a - b

    def scratchpad(self, a: int, b: int) -> list[str]:
        """Digits and borrow from the last place on, ten added where one is borrowed: 12-5-0=7."""
        steps, borrow = [], 0
        for one, other in _digit_pairs(a, b):
            lent = 10 if one - other - borrow < 0 else 0
            steps.append(f"{one + lent}-{other}-{borrow}={one + lent - other - borrow}")
            borrow = int(lent > 0)
        return steps

    def facts(
        self, first: np.ndarray, second: np.ndarray, sizes: np.ndarray
    ) -> Iterator[dict[str, Fact]]:
        """Borrows and the longest run of them."""
        borrows, longest = _carried(first, second, self.digits, borrows=True)
        for size, count, run in zip(sizes.tolist(), borrows, longest, strict=True):
            held = size if self.format == "plain" else 1
            yield {"borrows": count, **work(operations=size, steps=run + 1, memory=held)}

    def _answers(self) -> int:
        return _numbers(self.digits)

    def _texts(self) -> int:
        sizes = (_numbers(size) for size in span(self.min_digits, self.digits))
        return sum(numbers * (numbers + 1) // 2 for numbers in sizes)


class Multiplication(ArithmeticTask):
    """Multiply two whole numbers."""

    name: ClassVar[str] = "multiplication"
    sign: ClassVar[str] = "*"
    least_work: ClassVar[str] = (
        "the school's way: digits² products and almost as many additions, one column after the "
        "other; memory: the carry, but the whole product where it is written from its first digit "
        "on, and a running sum in a scratchpad"
    )

    def result(self, a: int, b: int) -> int:
        """The product."""
        return a * b

    def scratchpad(self, a: int, b: int) -> list[str]:
        """The product with each digit in its place, and the running sum."""
        steps: list[str] = []
        total = 0
        for place, digit in enumerate(reversed(str(b))):
            factor = int(digit) * 10**place
            steps.append(f"{a}*{factor}={a * factor}")
            if place:
                steps.append(f"{total}+{a * factor}={total + a * factor}")
            total += a * factor
        return steps

    def facts(
        self,
        first: np.ndarray,  # noqa: ARG002 — all numbers with as many digits take the same work
        second: np.ndarray,  # noqa: ARG002
        sizes: np.ndarray,
    ) -> Iterator[dict[str, Fact]]:
        """The work of the school's way."""
        for size in sizes.tolist():
            held = 1 if self.format == "reversed" else 2 * size
            operations = size * size + size * (size - 1)
            yield work(operations=operations, steps=2 * size - 1, memory=held)

    def _answers(self) -> int:
        sizes = span(self.min_digits, self.digits)
        return sum((10**size - 1) ** 2 - _smallest(size) ** 2 + 1 for size in sizes)


def _smallest(size: int) -> int:
    return 0 if size == 1 else 10 ** (size - 1)


def _numbers(size: int) -> int:
    """How many numbers have `size` digits."""
    return int(10**size - _smallest(size))


def _digit_pairs(a: int, b: int) -> Iterator[tuple[int, int]]:
    """The digits of two numbers of the same length, from the last on."""
    for one, other in zip(reversed(str(a)), reversed(str(b)), strict=True):
        yield int(one), int(other)


def _carried(
    first: np.ndarray, second: np.ndarray, digits: int, *, borrows: bool
) -> tuple[list[int], list[int]]:
    """For each pair how many places carry (or borrow), and the longest run of such places."""
    import numpy as np

    carry, run, count, longest = np.zeros((4, len(first)), np.int64)
    for place in range(digits):
        one, other = first // 10**place % 10, second // 10**place % 10
        carries = one < other + carry if borrows else one + other + carry > 9
        carry = carries.astype(np.int64)
        run = (run + 1) * carry
        count = count + carry
        longest = np.maximum(longest, run)
    return count.tolist(), longest.tolist()
