"""What items come to without the ability that they ask for, and at best: shortcuts and ceiling.

A shortcut answers an item without being able to do what is asked: it says what is right most
often, takes the longest choice, copies the question, names any value out of those that are listed.
What the best of them scores needs no ability, and neither does blind guessing; onset is above
both. Each is scored on the very items that a model is asked, where a constant answer has exactly
the share that it has, so there is nothing to estimate. Some hold for every task and stand here; a
task adds its own (`TextTask.shortcuts`), and one of the same name takes the place of that which
stands here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from emergectl.store.measurements import Fact
from emergectl.tasks.task import Answering, Ask, Item, TextTask, answer_of

MOST_FREQUENT = "giving the most frequent answer"
BY_POSITION = "choosing by position alone"
LONGEST = "choosing the longest choice"
SHORTEST = "choosing the shortest choice"
COPYING = "copying the question"
LAST_WORD = "repeating the question's last word"

IsRight = Callable[[Item, str], bool]


@dataclass(frozen=True)
class Bounds:
    """What items come to without the ability, and at best, by metric.

    `shortcuts`: metric → shortcut → its score; `ceiling`: metric → the best that can be reached.
    """

    shortcuts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    ceiling: Mapping[str, float] = field(default_factory=dict)

    def best(self, metric: str) -> tuple[float, str] | tuple[None, None]:
        """The score and the name of the best shortcut; None twice where none is known."""
        scores = self.shortcuts.get(metric)
        if not scores:
            return None, None
        name = max(scores, key=lambda each: scores[each])
        return scores[name], name

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        shortcuts = {metric: dict(scores) for metric, scores in self.shortcuts.items()}
        return {"shortcuts": shortcuts, "ceiling": dict(self.ceiling)}


GroupBounds = Mapping[tuple[str, Fact] | None, Bounds]
"""(fact, its value) → the bounds of the items that have it; None → those of all"""


def bounds_of(task: TextTask, items: Sequence[Item], *, as_learnt: bool = False) -> Bounds:
    """What `items` of a task come to without its ability, and at best.

    `as_learnt`: as the training loop measures, where right is what is written as the answer stands.
    """
    written: IsRight = _as_it_stands
    extract: Callable[[str], str] = str
    if task.ask == "generate" and not as_learnt:
        written, extract = task.is_right, task.extract
    return bounds_of_items(
        items,
        ask=task.ask,
        own=task.shortcuts,
        ceiling=task.ceiling,
        is_right=written,
        extract=extract,
    )


def bounds_by_group(
    task: TextTask, items: Sequence[Item], facts: Sequence[Mapping[str, Fact]], by: Sequence[str]
) -> GroupBounds:
    """The bounds of all items and of every group by each fact of `by`; `facts`: of each item."""
    found: dict[tuple[str, Fact] | None, Bounds] = {None: bounds_of(task, items)}
    for fact in by:
        groups: dict[Fact, list[Item]] = {}
        for item, own in zip(items, facts, strict=True):
            if fact in own:
                groups.setdefault(own[fact], []).append(item)
        found |= {(fact, value): bounds_of(task, group) for value, group in groups.items()}
    return found


def group_bounds_to_json(bounds: GroupBounds) -> list[dict[str, Any]]:
    """Plain data, as results.json has it."""
    return [
        {"group": None if group is None else dict([group]), **one.to_json()}
        for group, one in bounds.items()
    ]


def group_bounds_from_json(data: Iterable[Mapping[str, Any]]) -> GroupBounds:
    """The inverse of `group_bounds_to_json`."""
    found: dict[tuple[str, Fact] | None, Bounds] = {}
    for one in data:
        group = None if one["group"] is None else next(iter(one["group"].items()))
        found[group] = Bounds(one["shortcuts"], one["ceiling"])
    return found


def bounds_of_items(
    items: Iterable[Item],
    *,
    ask: Ask,
    own: Mapping[str, Answering] | None = None,
    ceiling: Mapping[str, float] | None = None,
    is_right: IsRight | None = None,
    extract: Callable[[str], str] = str,
) -> Bounds:
    """The bounds of items that are asked so; `own` shortcuts beside those that hold for all.

    `is_right` judges a written answer (default: as it stands), `extract` takes it out of a target.
    Items without a right answer count in none. The metrics are shares of items, and `recall@1`.
    """
    asked = [item for item in items if item.right or item.target is not None]
    if not asked:
        return Bounds()
    judged: dict[str, Callable[[Item, Sequence[str]], float]] = {}
    if ask != "rank":
        right = is_right or _as_it_stands
        judged["exact_match"] = lambda item, answers: _share(right(item, a) for a in answers)
    if all(item.choices and item.right for item in asked):
        if ask == "rank":
            judged["recall@1"] = _found_first
        elif ask == "choice":
            judged |= dict.fromkeys(("accuracy", "accuracy_per_byte"), _chosen)
    own = own or {}
    every = {**own, **{n: s for n, s in _common(asked, extract).items() if n not in own}}
    answers = {name: [shortcut(item) for item in asked] for name, shortcut in every.items()}
    scores = {
        judge: {
            name: sum(judge(item, a) for item, a in zip(asked, given, strict=True)) / len(asked)
            for name, given in answers.items()
        }
        for judge in dict.fromkeys(judged.values())
    }
    return Bounds(
        shortcuts={metric: scores[judge] for metric, judge in judged.items()},
        ceiling={**dict.fromkeys(judged, _ceiling(asked, ask)), **(ceiling or {})},
    )


def most_frequent(values: Sequence[str]) -> tuple[str, ...]:
    """The values that come most often; several where they come equally often."""
    times = Counter(values)
    most = max(times.values(), default=0)
    return tuple(value for value, count in times.items() if count == most)


def _common(items: Sequence[Item], extract: Callable[[str], str]) -> dict[str, Answering]:
    """The shortcuts that every task has, for these items."""
    ((answer, _),) = Counter(extract(answer_of(item)) for item in items).most_common(1)
    found: dict[str, Answering] = {}
    if all(item.choices for item in items):
        place = _best_position(items)
        # An item that lacks the answer is guessed at.
        found[MOST_FREQUENT] = lambda item: (answer,) if answer in item.choices else ()
        found[BY_POSITION] = lambda item: (item.choices[min(place, len(item.choices) - 1)],)
        found[LONGEST] = lambda item: _of_length(item.choices, max)
        found[SHORTEST] = lambda item: _of_length(item.choices, min)
        return found
    found[MOST_FREQUENT] = lambda _: (answer,)
    found[COPYING] = lambda item: (item.prompt.strip(),)
    found[LAST_WORD] = lambda item: item.prompt.split()[-1:]
    return found


def _best_position(items: Sequence[Item]) -> int:
    most = max(len(item.choices) for item in items)
    times = Counter(
        place
        for item in items
        for place in range(most)
        if min(place, len(item.choices) - 1) in item.right
    )
    return times.most_common(1)[0][0] if times else 0


def _of_length(choices: Sequence[str], which: Callable[[Iterable[int]], int]) -> tuple[str, ...]:
    wanted = which(map(len, choices))
    return tuple(choice for choice in choices if len(choice) == wanted)


def _as_it_stands(item: Item, text: str) -> bool:
    return text == answer_of(item)


def _chosen(item: Item, answers: Sequence[str]) -> float:
    if not answers:
        return len(item.right) / len(item.choices)
    right = {item.choices[place] for place in item.right}
    return _share(answer in right for answer in answers)


def _found_first(item: Item, answers: Sequence[str]) -> float:
    """The share of the relevant ones that stands first, where one of `answers` is put there."""
    return _chosen(item, answers) / len(item.right)


def _share(right: Iterable[bool]) -> float:
    given = list(right)
    return sum(given) / len(given) if given else 0.0


def _ceiling(items: Sequence[Item], ask: Ask) -> float:
    """What is reached at best: questions that are asked alike get one answer, and of several
    relevant candidates one alone stands first."""
    if ask == "rank":
        return sum(1 / len(item.right) for item in items if item.right) / len(items)
    answers: dict[tuple[object, ...], Counter[str]] = {}
    for item in items:
        # Where the question is not known (records of the harness), the item stands for it.
        asked = (item.prompt, item.choices) if item.prompt else (item.id,)
        answers.setdefault(asked, Counter()).update([answer_of(item)])
    return sum(max(times.values()) for times in answers.values()) / len(items)
