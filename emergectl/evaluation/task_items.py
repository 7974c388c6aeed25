"""A task put before a model, item by item: questions out, records back.

`prepare` settles everything that needs no model, so that a wrong request costs no loading: items,
shots, metrics, groups. `ask` then asks what is not answered yet and hands records on as they come,
in whatever order the model works best.

The k shots are solved items of the train split, drawn once from the seed and put before every
question, so that a model runs that stretch of text once; an item that is itself among them gets
the next one drawn instead.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from emergectl.errors import RequestError
from emergectl.evaluation.metrics.definition import Metric
from emergectl.evaluation.pass_until import Sampled, pass_until
from emergectl.evaluation.records import ItemRecord
from emergectl.evaluation.results import metrics_to_take
from emergectl.inference.requests import Cut, Model, Question, Scored, TooLong, Writing
from emergectl.tasks.task import Item, TextTask, hash_of_prompt, parted, put

SHOT_POOL = 1000
"""shots are drawn from so many training items at most: the train split may be endless"""

_MORE = ("0", "a", " 0", " a", "\n0", "\na")
"""how a text may go on: the same word or number, another one, another line"""

NO_TOKENS = "the model's tokenizer has no tokens for its answer"


@dataclass(frozen=True, kw_only=True)
class Asking:
    """How a task is asked."""

    shots: int = 0
    limit: int | None = None
    """so many items at most, the first ones of the test split"""
    seed: int = 0
    """of items, shots and sampling"""
    samples: int = 1
    """texts written for each item, where the task is one of writing"""
    temperature: float = 0.0
    """0: greedy"""
    until_passes: int | None = None
    """instead of `samples`: texts are written for each item until so many are right"""
    most_samples: int = 10_000
    """of an item, where it is sampled until it passes"""
    metrics: tuple[str, ...] = ()
    """beside the task's own"""
    by: tuple[str, ...] = ()
    """facts to group by"""
    allow_code: bool = False
    """whether files of lm-evaluation-harness may run the Python code that came with them"""


@dataclass(frozen=True)
class PreparedTask:
    """A task ready to be asked: its items, and the text that stands before each answer."""

    label: str
    """the task with its parameters, as results call it"""
    task: TextTask
    asking: Asking
    items: tuple[Item, ...]
    contexts: tuple[str, ...]
    metrics: tuple[Metric, ...]

    @property
    def writes(self) -> bool:
        """Whether the model has to write, rather than only to judge."""
        return self.task.ask == "generate" or any(metric.needs_text for metric in self.metrics)

    @property
    def fingerprint(self) -> str:
        """sha256 of all that the model reads and of what is right: equal, if asked the same."""
        digest = hashlib.sha256()
        for item, context in zip(self.items, self.contexts, strict=True):
            digest.update(repr((context, item)).encode(errors="surrogatepass"))
        return digest.hexdigest()


def prepare_task(task: TextTask, label: str, asking: Asking) -> PreparedTask:
    """Everything about a task that needs no model.

    Raises RequestError for an unknown metric, a test split without items, shots where there is
    nothing to draw them from, and a fact to group by that no item has; DataError for bad rows.
    """
    sampled = ("pass_rate",) if asking.until_passes else ()
    metrics = tuple(metrics_to_take(task.metrics, (*sampled, *asking.metrics)))
    _check_samples(task, label, asking, metrics)
    items = tuple(islice(task.items("test", seed=asking.seed), asking.limit))
    if not items:
        raise RequestError(f"task `{label}` has no test items: there is nothing to ask")
    shots = _draw_shots(task, label, asking)
    contexts = tuple(
        put(task.template, item, shots=_not_itself(shots, item, asking.shots)) for item in items
    )
    return PreparedTask(label, task, asking, items, contexts, metrics)


def check_groups(tasks: Sequence[PreparedTask], by: Sequence[str]) -> None:
    """Raise RequestError for a fact to group by that no item of any task has."""
    known = sorted({fact for task in tasks for item in task.items for fact in item.facts})
    for fact in by:
        if fact not in known:
            raise RequestError(
                f"no item has the fact `{fact}` to group by; "
                + (f"there are: {', '.join(known)}" if known else "these items have none")
            )


def ask_items(
    model: Model,
    prepared: PreparedTask,
    *,
    known: Sequence[ItemRecord] = (),
    ends: bool = False,
    drawn: Callable[[int], None] = lambda _: None,
) -> Iterator[ItemRecord]:
    """The records of all items that are not `known` yet, as the model comes to them.

    `ends`: the model has learnt to end after its answer, so a right answer ends there.
    `drawn(count)` is told of samples as they come where items are sampled until they pass.
    """
    places = _unanswered(prepared, known)
    for place in places:
        reason = _why_not(prepared.items[place])
        if reason is not None:
            yield _record(prepared, place, skipped=reason)
    places = [place for place in places if _why_not(prepared.items[place]) is None]
    scored: dict[int, tuple[Scored, ...]] = {}
    not_asked: set[int] = set()
    questions = {place: _question(prepared, place, ends) for place in places}
    asked = [place for place in places if questions[place].continuations]
    for number, scores in model.score([questions[place] for place in asked]):
        place = asked[number]
        if isinstance(scores, TooLong):
            not_asked.add(place)
            yield _record(prepared, place, skipped=str(scores))
        elif any(scored.bytes and not scored.tokens for scored in scores):
            not_asked.add(place)  # of no tokens at all, any text would be certain
            yield _record(prepared, place, skipped=NO_TOKENS)
        elif prepared.writes:
            scored[place] = scores
        else:
            yield _judged(prepared, place, scores, ())
    if prepared.writes:
        places = [place for place in places if place not in not_asked]
        for place, written in _written(model, prepared, places, drawn):
            if isinstance(written, TooLong):
                yield _record(prepared, place, skipped=str(written))
            else:
                yield _judged(prepared, place, scored.get(place, ()), written)


def _written(
    model: Model, prepared: PreparedTask, places: Sequence[int], drawn: Callable[[int], None]
) -> Iterator[tuple[int, tuple[str, ...] | Sampled | TooLong]]:
    """What the model writes to the items of these places, each once, in any order."""
    task, asking = prepared.task, prepared.asking
    writings = [_writing(prepared, place) for place in places]

    def is_right(number: int, text: str) -> bool:
        return _is_right(task, prepared.items[places[number]], text)

    found: Iterator[tuple[int, tuple[str, ...] | Sampled | TooLong]]
    if asking.until_passes is None:
        found = model.write(writings)
    else:
        found = pass_until(
            model,
            writings,
            is_right,
            passes=asking.until_passes,
            most_samples=asking.most_samples,
            drawn=drawn,
        )
    for number, written in found:
        yield places[number], written


def in_item_order(prepared: PreparedTask, records: Sequence[ItemRecord]) -> list[ItemRecord]:
    """Records in the order of the items."""
    waiting: dict[str, list[ItemRecord]] = {}
    for record in records:
        waiting.setdefault(record.item, []).append(record)
    return [waiting[item.id].pop(0) for item in prepared.items]


def _check_samples(task: TextTask, label: str, asking: Asking, metrics: Sequence[Metric]) -> None:
    """Raise RequestError for samples that cannot be drawn, or not be judged, as they are asked."""
    for metric in metrics:
        stem, _, k = metric.name.partition("@")
        if stem == "pass" and int(k) > asking.samples:
            raise RequestError(
                f"`{metric.name}` needs {k} samples of each item, not {asking.samples}"
            )
    if asking.until_passes is not None and task.ask in ("choice", "rank"):
        raise RequestError(
            f"task `{label}` asks for one of several choices: there are no texts to write until "
            "enough of them pass"
        )


def _draw_shots(task: TextTask, label: str, asking: Asking) -> list[Item]:
    """The shots and one to spare, for an item that is one of them."""
    if not asking.shots:
        return []
    pool = list(islice(task.items("train", seed=asking.seed), SHOT_POOL))
    if len(pool) < asking.shots:
        raise RequestError(
            f"task `{label}` has {len(pool)} training items to show, not {asking.shots}"
        )
    return random.Random(asking.seed).sample(pool, min(len(pool), asking.shots + 1))


def _not_itself(shots: Sequence[Item], item: Item, count: int) -> list[Item]:
    return [shot for shot in shots if shot.id != item.id][:count]


def _unanswered(prepared: PreparedTask, known: Sequence[ItemRecord]) -> list[int]:
    """Places of the items that no record is known of; an item that comes twice is asked twice."""
    answered = Counter(record.item for record in known)
    places = []
    for place, item in enumerate(prepared.items):
        if answered[item.id]:
            answered[item.id] -= 1
        else:
            places.append(place)
    return places


def _why_not(item: Item) -> str | None:
    """Why an item cannot be judged, whatever a model says to it."""
    if item.choices and not item.right:
        return "none of its choices is right"
    if any(not 0 <= place < len(item.choices) for place in item.right):
        return "its right answer is not among the choices"
    if not item.choices and item.target is None and not item.references:
        return "it has no right answer"
    return None


def _question(prepared: PreparedTask, place: int, ends: bool) -> Question:
    item = prepared.items[place]
    if prepared.task.ask in ("choice", "rank"):
        continuations = item.choices
    else:
        continuations = () if item.target is None else (item.target,)
    context, lead = parted(prepared.contexts[place])
    return Question(context, continuations, ends=ends, lead=lead)


def _writing(prepared: PreparedTask, place: int) -> Writing:
    task, asking = prepared.task, prepared.asking
    context, lead = parted(prepared.contexts[place])
    return Writing(
        context,
        stop=task.stop,
        max_tokens=task.max_tokens + len(lead),
        samples=asking.samples,
        temperature=asking.temperature,
        seed=_seed_of(asking.seed, prepared.items[place].id),
    )


def _seed_of(seed: int, item_id: str) -> int:
    """A seed for the samples of one item, whatever is asked beside it."""
    digest = hashlib.sha256(f"{seed}\0{item_id}".encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:4], "little") >> 1


def _judged(
    prepared: PreparedTask,
    place: int,
    scores: tuple[Scored, ...],
    written: tuple[str, ...] | Sampled,
) -> ItemRecord:
    """What came of an item: scores, texts, and what follows from them by the task's rule."""
    task, item = prepared.task, prepared.items[place]
    _, lead = parted(prepared.contexts[place])
    whole = (written.first,) if isinstance(written, Sampled) else written
    texts = tuple(_behind(lead, text) for text in whole)
    found: dict[str, Any] = {"written": texts}
    if task.ask in ("choice", "rank"):
        order = sorted(range(len(scores)), key=lambda choice: -scores[choice].logprob)
        found["choice_scores"] = scores
        found["prediction"] = item.choices[order[0]] if task.ask == "choice" else order
        found["correct"] = order[0] in item.right
        return _record(prepared, place, **found)
    if scores:
        found["target_score"] = scores[0]
        found["correct"] = scores[0].greedy
    if texts:
        answers = [task.extract(text) for text in texts]
        found["prediction"] = answers[0]
        found["extra"] = dict(task.grades(item, answers[0]))
        right = [_is_right(task, item, text) for text in texts]
        cut = written.cut if isinstance(written, Sampled) else sum(_is_cut(t) for t in texts)
        if cut:
            found["extra"]["cut"] = cut
        if task.ask == "generate":
            found["correct"] = right[0]
        if isinstance(written, Sampled):
            found["extra"] |= {
                "passes": written.passes,
                "samples": written.samples,
                "reached": written.reached,
            }
        elif len(texts) > 1:
            found["extra"]["samples_right"] = sum(right)
    return _record(prepared, place, **found)


def _is_right(task: TextTask, item: Item, text: str) -> bool:
    """Whether the answer in a written text is right; that of a cut one only where it had ended
    before the cut, so that nothing that might have come could have changed it."""
    if not task.is_right(item, task.extract(text)):
        return False
    more = _MORE if _is_cut(text) else ()
    return all(task.is_right(item, task.extract(text + one)) for one in more)


def _is_cut(text: str) -> bool:
    return isinstance(text, Cut)


def _behind(lead: str, text: str) -> str:
    """A written text without the blanks that belong to the question; cut, if it was."""
    left = text.removeprefix(lead)
    return Cut(left) if _is_cut(text) else left


def _record(prepared: PreparedTask, place: int, **found: Any) -> ItemRecord:
    item, context = prepared.items[place], prepared.contexts[place]
    return ItemRecord(
        task=prepared.label,
        item=item.id,
        facts=dict(item.facts),
        prompt_hash=hash_of_prompt(context),
        shots=prepared.asking.shots,
        target=item.target,
        choices=item.choices,
        right=item.right,
        worth=item.choice_scores,
        references=item.references,
        **found,
    )
