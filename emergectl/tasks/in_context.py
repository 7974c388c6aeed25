"""Learning within a context: linear functions, and classes under labels that change.

`in_context_regression` shows points of a linear function with whole coefficients, another one in
every item, and asks for its value at a new point (Garg et al. 2022, arXiv:2208.01066, with numbers
that can be written). The points shown always determine the function. `in_context_labels` shows
members of classes under labels given out anew in every item, and asks for the label of another
member (after Wei et al. 2023, arXiv:2303.03846): which members belong together can be learnt by
heart, what they are called has to be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import Field, model_validator

from emergectl.store.measurements import Fact
from emergectl.tasks.shortcuts import most_frequent
from emergectl.tasks.synthetic import MadeTask, work
from emergectl.tasks.task import Answering, Ask, Item, Template

if TYPE_CHECKING:
    import numpy as np

_LABELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class InContextRegression(MadeTask):
    """Say what a linear function shown by points gives at another point."""

    name: ClassVar[str] = "in_context_regression"
    least_work: ClassVar[str] = (
        "elimination: dimensions³ / 3 multiplications and as many again as a product takes, in "
        "2 · dimensions steps; memory: dimensions² + dimensions numbers"
    )

    dimensions: Annotated[int, Field(ge=1, le=8)] = 2
    """arguments of the function"""
    points: Annotated[int, Field(ge=1, le=64)] = 4
    """points shown"""
    coefficient: Annotated[int, Field(ge=1, le=99)] = 3
    """coefficients are −coefficient … coefficient"""
    argument: Annotated[int, Field(ge=1, le=99)] = 5
    """arguments are −argument … argument"""

    @model_validator(mode="after")
    def _determined(self) -> Self:
        if self.points < self.dimensions:
            raise ValueError(
                f"{self.points} `points` do not determine a function of {self.dimensions} arguments"
            )
        return self

    @property
    def alphabet(self) -> str:
        """Digits and signs."""
        return "0123456789-,=; "

    @property
    def chance(self) -> Mapping[str, float]:
        """Guessing evenly among all values the function could have."""
        largest = self.dimensions * self.coefficient * self.argument
        return {"exact_match": 1 / (2 * largest + 1)}

    @property
    def shortcuts(self) -> Mapping[str, Answering]:
        """Naming a value of a point that is shown."""
        return {
            "naming the most frequent value shown": lambda item: most_frequent(_shown(item)),
            "naming the value shown last": lambda item: _shown(item)[-1:],
        }

    def make(self, rng: np.random.Generator, count: int) -> Iterator[Item]:
        """Random coefficients and points, drawn again until they determine the function."""
        import numpy as np

        shape = (count, self.points, self.dimensions)
        limit, size = self.argument, self.coefficient
        shown = rng.integers(-limit, limit + 1, size=shape)
        while (poor := np.linalg.matrix_rank(shown) < self.dimensions).any():
            shown[poor] = rng.integers(-limit, limit + 1, size=(int(poor.sum()), *shape[1:]))
        weights = rng.integers(-size, size + 1, size=(count, self.dimensions))
        asked = rng.integers(-limit, limit + 1, size=(count, self.dimensions))
        values = np.einsum("npd,nd->np", shown, weights)
        answers = (asked * weights).sum(axis=1).tolist()
        rows = zip(shown.tolist(), values.tolist(), asked.tolist(), answers, strict=True)
        for points, results, new, answer in rows:
            told = [f"{_point(p)}={y}" for p, y in zip(points, results, strict=True)]
            question = "; ".join([*told, f"{_point(new)}="])
            yield Item(id=question, prompt=question, target=str(answer), facts=self._facts())

    def _facts(self) -> dict[str, Fact]:
        width = self.dimensions
        least = work(
            operations=-(-(width**3) // 3) + width**2 + width,
            steps=2 * width,
            memory=width**2 + width,
        )
        return {"dimensions": width, "points": self.points, **least}


class InContextLabels(MadeTask):
    """Say which label the class of a word was given this time."""

    name: ClassVar[str] = "in_context_labels"
    ask: ClassVar[Ask] = "choice"
    template: ClassVar[Template] = Template(before_answer=" ")
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "logprob", "brier", "margin")
    ends: ClassVar[bool] = False
    least_work: ClassVar[str] = (
        "looking up the class of the word asked (by heart), then a member of it in the context; "
        "memory: one label for each class"
    )

    classes: Annotated[int, Field(ge=2, le=26)] = 4
    """classes of words"""
    members: Annotated[int, Field(ge=2, le=256)] = 8
    """words in a class"""
    shown: Annotated[int, Field(ge=1, le=64)] = 1
    """members of each class that stand in the context"""

    @model_validator(mode="after")
    def _one_is_left(self) -> Self:
        if self.shown >= self.members:
            raise ValueError(f"{self.shown} `shown` of {self.members} `members` leave none to ask")
        return self

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Words, labels and signs."""
        words = [f"w{number}" for number in range(self.classes * self.members)]
        return (*words, *_LABELS[: self.classes], ",", ":")

    @property
    def chance(self) -> Mapping[str, float]:
        """Guessing evenly among the labels."""
        return {"accuracy": 1 / self.classes, "exact_match": 1 / self.classes}

    @property
    def shortcuts(self) -> Mapping[str, Answering]:
        """Naming the label of a word that is shown, whatever its class."""
        return {"naming the label shown last": lambda item: item.prompt.split()[-4:-3]}

    def make(self, rng: np.random.Generator, count: int) -> Iterator[Item]:
        """Random members under random labels, in random order."""
        classes, members = self.classes, self.members
        labels = rng.random((count, classes)).argsort(axis=1).tolist()
        places = rng.random((count, classes, members)).argsort(axis=2)[:, :, : self.shown + 1]
        orders = rng.random((count, classes * self.shown)).argsort(axis=1).tolist()
        asked = rng.integers(0, classes, size=count).tolist()
        for names, rows, order, one in zip(labels, places.tolist(), orders, asked, strict=True):
            told = [
                f"w{number * members + place} : {_LABELS[names[number]]}"
                for number, row in enumerate(rows)
                for place in row[: self.shown]
            ]
            word = f"w{one * members + rows[one][self.shown]}"
            question = " , ".join([*(told[place] for place in order), f"{word} :"])
            yield Item(
                id=question,
                prompt=question,
                target=_LABELS[names[one]],
                choices=tuple(_LABELS[:classes]),
                right=(names[one],),
                facts={
                    "classes": classes,
                    "shown": self.shown,
                    **work(operations=2, steps=2, memory=classes),
                },
            )


def _point(numbers: list[int]) -> str:
    return ",".join(map(str, numbers))


def _shown(item: Item) -> list[str]:
    """The values of the points that are shown, in order."""
    return [point.partition("=")[2] for point in item.prompt.split("; ")[:-1]]
