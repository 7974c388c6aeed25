"""What is kept of each item that a model was asked: the one truth that every metric is made of.

A record holds what the model did with one item, never a judgement over many. `items.jsonl` is
these records, one a line, so that a metric thought of later needs no model. Its fields, in this
order; what an item does not have is left out:

    task           the task as it was asked for, with its parameters: `addition:digits=4`
    item           the item's id; equal questions have equal ids
    facts          name → value: what results can be grouped by (digits, hops, label …)
    prompt_hash    the first 16 hex digits of the sha256 of the text put before the model
    shots          solved items in that text
    target         the right answer, where it is a text to write
    choices        the options, or the candidates to be ranked
    right          places (from 0) of the right or relevant ones among `choices`
    worth          what each choice is worth, where that is graded
    references     further right answers
    target_score   how likely the target is:
                   {logprob: nats, summed over its tokens; tokens; bytes: in UTF-8;
                   greedy: whether each of its tokens is the likeliest one at its place}
    choice_scores  the same of every choice, in order
    written        what the model wrote freely, one text a sample
    prediction     the answer taken from that: the likeliest choice; the places of the candidates,
                   best first; or what the task finds in the first text written
    correct        whether that is right by the task's own rule; for an item with only a target,
                   whether greedy decoding would write it
    chosen         places of the choices taken, where any number of them may be right, none too
                   (labels that a text bears): the log-probability of each is then that of yes
    skipped        why the item could not be asked (too long …): then there are no scores, and it
                   counts in no metric
    extra          samples_right: how many of several samples are right; passes, samples, reached:
                   where texts were sampled until enough of them pass, how many did, among how
                   many, and whether that was enough (`written` then holds the first one alone);
                   cut: how many of the texts written did not end within the tokens that they had;
                   what the task grades besides (f1); right_tokens: of held-out rows, tokens of the
                   target that greedy prediction gets right, given those before; contaminated:
                   whether the item stands in the training text, where that was asked

Log-probabilities that are not finite stand there as the strings "-inf", "nan".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from emergectl.errors import DataError
from emergectl.inference.requests import Scored
from emergectl.store.atomic import json_floats
from emergectl.store.measurements import Fact


@dataclass(frozen=True)
class ItemRecord:
    """One item and what a model did with it.

    `target`, `choices`, `references` and `right` are the item's own. `target_score` is of the
    target, `choice_scores` of every choice, in order. `written`: what the model wrote freely, one
    text a sample. `prediction` and `correct` follow from these by the task's own rule. `skipped`
    says why an item could not be asked; then it has no scores and counts in no metric.
    """

    task: str
    item: str
    facts: Mapping[str, Fact]
    prompt_hash: str
    shots: int
    target: str | None = None
    choices: tuple[str, ...] = ()
    right: tuple[int, ...] = ()
    worth: tuple[float, ...] = ()
    references: tuple[str, ...] = ()
    target_score: Scored | None = None
    choice_scores: tuple[Scored, ...] = ()
    written: tuple[str, ...] = ()
    prediction: Any = None
    correct: bool | None = None
    chosen: tuple[int, ...] | None = None
    skipped: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


_ALWAYS = ("task", "item", "facts", "prompt_hash", "shots")


def record_to_json(record: ItemRecord) -> dict[str, Any]:
    """The record as an object of items.jsonl."""
    return {
        name: value
        for name, value in asdict(record).items()
        if name in _ALWAYS or not (value is None or (value in ((), {}) and name != "chosen"))
    }


def record_from_json(values: Mapping[str, Any], where: str) -> ItemRecord:
    """The record of an object of items.jsonl; DataError beginning with `where` if it is none."""
    known = {one.name for one in fields(ItemRecord)}
    unknown = next((name for name in values if name not in known), None)
    if unknown is not None:
        raise DataError(f"{where}: a record has no field {unknown!r}")
    try:
        kept: dict[str, Any] = dict(values)
        for name in ("choices", "right", "worth", "references", "written"):
            kept[name] = tuple(kept.get(name, ()))
        if "chosen" in kept:
            kept["chosen"] = tuple(kept["chosen"])
        if "target_score" in kept:
            kept["target_score"] = _scored(kept["target_score"])
        kept["choice_scores"] = tuple(map(_scored, kept.get("choice_scores", ())))
        return ItemRecord(**kept)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: not a record ({error})") from None


def _scored(values: Mapping[str, Any]) -> Scored:
    return Scored(**json_floats(dict(values)))
