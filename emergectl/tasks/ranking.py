"""Recommendation: which of several candidates goes with a history.

A model ranks the candidates by their likelihood after the history. Rows hold both (`ranking`), or
are items that share something, such as their author (`grouped_ranking`): then each group stands for
somebody who took its items in the order of the file, the last is what they take next, and the other
candidates are drawn from other groups. That is no user's behaviour, but it shows whether a model
knows what belongs together, from a table of items alone.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar

from pydantic import Field

from emergectl.data.sources import Converter, SourceRow, as_field, as_name
from emergectl.tasks.file_task import FileTask
from emergectl.tasks.task import Answering, Ask, Item

_METRICS = ("mrr", "ndcg", "recall@1", "recall@5", "logprob", "margin")


class Ranking(FileTask):
    """Rows with a history, candidates, and the relevant ones among them."""

    name: ClassVar[str] = "ranking"
    ask: ClassVar[Ask] = "rank"
    metrics: ClassVar[tuple[str, ...]] = _METRICS

    prompt: str = "{history}\nNext:"
    """the question; lists are joined by line ends"""

    @property
    def roles(self) -> dict[str, Converter]:
        """The prompt's columns, `candidates` (a list) and `relevant` (one of them, or a list)."""
        return {**super().roles, "candidates": as_texts, "relevant": as_texts}

    @property
    def chance(self) -> Mapping[str, float]:
        """Of a random order, where the candidates can be counted."""
        if not self.names_rows:
            return {}
        shapes = {(len(item.choices), len(item.right)) for item in self.read.test}
        return random_order(*shapes.pop()) if len(shapes) == 1 else {}

    @property
    def shortcuts(self) -> Mapping[str, Answering]:
        """What is relevant most often in the rows to learn from."""
        return _popular(name for row in self.rows.train for name in row.values["relevant"])

    def items_of(self, row: SourceRow) -> Iterator[Item]:
        """One item: the candidates are its choices, the relevant ones are right."""
        candidates, relevant = row.values["candidates"], row.values["relevant"]
        missing = [name for name in relevant if name not in candidates]
        if missing:
            raise ValueError(f"{missing[0]!r} is relevant but no candidate")
        if len(set(candidates)) < len(candidates):
            raise ValueError("two candidates are the same")
        right = tuple(sorted(candidates.index(name) for name in set(relevant)))
        yield Item("", self.rendered(row), choices=tuple(candidates), right=right)


class GroupedRanking(FileTask):
    """Rows are items; those of one group are a history and what comes next."""

    name: ClassVar[str] = "grouped_ranking"
    ask: ClassVar[Ask] = "rank"
    metrics: ClassVar[tuple[str, ...]] = _METRICS

    prompt: str = "{history}\nNext:"
    """the question; {history} is the items before, a line each"""
    history: Annotated[int, Field(ge=1)] = 3
    """items of a history at most; the latest are kept"""
    candidates: Annotated[int, Field(ge=2)] = 10
    """the next item and so many less one of other groups"""

    @property
    def made(self) -> tuple[str, ...]:
        """{history} is filled in from the group."""
        return ("history",)

    @property
    def roles(self) -> dict[str, Converter]:
        """`item` (its text) and `group` (what the items of one history share)."""
        return {**super().roles, "item": as_name, "group": as_name}

    @property
    def chance(self) -> Mapping[str, float]:
        """Of a random order of candidates, one of them right."""
        return random_order(self.candidates, 1)

    @property
    def shortcuts(self) -> Mapping[str, Answering]:
        """What most groups have."""
        return _popular(name for items in self.groups.values() for name in items)

    def key_of(self, row: SourceRow) -> str:
        """A whole group belongs to one split."""
        return str(row.values["group"])

    @cached_property
    def groups(self) -> dict[str, list[str]]:
        """Group → its items, each once, in the order of the rows of both splits."""
        found: dict[str, dict[str, None]] = {}
        for row in (*self.rows.train, *self.rows.test):
            found.setdefault(row.values["group"], {})[row.values["item"]] = None
        return {group: list(items) for group, items in found.items()}

    def items_of(self, row: SourceRow) -> Iterator[Item]:
        """One item at the last row of a group of two or more; none at the others."""
        group = row.values["group"]
        items = self.groups[group]
        if len(items) < 2 or row.values["item"] != items[-1]:
            return
        *before, last = items
        drawn = random.Random(f"{self.candidates}\0{group}")
        others = self._others(group, drawn)
        choices = [last, *others]
        drawn.shuffle(choices)
        yield Item(
            "",
            self.rendered(row, history="\n".join(before[-self.history :])),
            choices=tuple(choices),
            right=(choices.index(last),),
            facts={"history": min(len(before), self.history)},
        )

    def _others(self, group: str, drawn: random.Random) -> list[str]:
        own = set(self.groups[group])
        everything = self._everything
        if len(everything) < len(own) + self.candidates - 1:
            raise ValueError(f"there are no {self.candidates - 1} items of other groups to draw")
        others: dict[str, None] = {}
        while len(others) < self.candidates - 1:
            name = drawn.choice(everything)
            if name not in own:
                others[name] = None
        return list(others)

    @cached_property
    def _everything(self) -> list[str]:
        return sorted({name for items in self.groups.values() for name in items})


def _popular(names: Iterable[str]) -> dict[str, Answering]:
    times = Counter(names)

    def most_popular(item: Item) -> list[str]:
        most = max(times[name] for name in item.choices)
        return [name for name in item.choices if times[name] == most]

    return {"naming the most popular candidate": most_popular}


def random_order(candidates: int, relevant: int) -> dict[str, float]:
    """What a random order of candidates is worth in the mean, the relevant being alike.

    Recall at k is k in `candidates`; the reciprocal rank of one relevant among n is H(n)/n.
    """
    chance = {f"recall@{k}": min(1.0, k / candidates) for k in (1, 5)}
    if relevant == 1:
        chance["mrr"] = sum(1 / rank for rank in range(1, candidates + 1)) / candidates
    return chance


def as_texts(value: Any) -> list[str]:
    """A text or number, or a list of them."""
    values = value if isinstance(value, list) else [value]
    if not values:
        raise ValueError("is empty")
    return [as_field(part) for part in values]
