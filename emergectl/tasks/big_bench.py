"""Task files of BIG-bench and BIG-Bench-Hard, as they stand.

A `task.json` says how its questions are put (prefixes, the choices appended to the input, what
stands between shots), and its defaults are those of BIG-bench's documentation of the format
(Srivastava et al. 2022, docs/doc.md); a file of BIG-Bench-Hard holds `examples` alone and gets the
same. Examples with `target_scores` are asked by likelihood among them, the others by writing.
BIG-Bench-Hard writes its options into the input; with `ask_for: choice` they are found there, which
gives small models an ability with a chance level and a smooth metric instead of zeros.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from emergectl.data.documents import read_json_document
from emergectl.data.readers import Tally
from emergectl.data.sources import note_bad_row
from emergectl.errors import DataError, RequestError
from emergectl.tasks.file_task import (
    disagreeing,
    hashed,
    in_seeds_order,
    merged_items,
    question_id,
    reading_notes,
)
from emergectl.tasks.task import Ask, Item, Split, Template, TextTask

MAX_CLASSES = 20
_OPTION = re.compile(r"^\s*(\([A-Z]\)|- )", re.MULTILINE)
_WRITTEN = ("exact_match", "logprob", "logprob_per_token")
_CHOSEN = ("accuracy", "logprob", "brier", "margin", "ece")
# BIG-bench's names for metrics → ours; the others (rouge, bleurt …) are left to other tools.
_METRICS = {
    "exact_str_match": "exact_match",
    "multiple_choice_grade": "accuracy",
    "bleu": "bleu",
    "expected_calibration_error": "ece",
    "multiple_choice_brier_score": "brier",
    "log_likelihood": "logprob",
    "normalized_aggregate_score": "",
}


class BigBench(TextTask):
    """The examples of one BIG-bench or BIG-Bench-Hard file."""

    name: ClassVar[str] = "bigbench"

    path: str
    """the task's JSON file"""
    ask_for: Literal["auto", "choice", "writing"] = "auto"
    """auto: choice where the file has target_scores; choice needs them, or options in the input,
    or at most 20 different targets in all"""
    held_out: Annotated[float, Field(gt=0, le=1)] = 1.0
    """share of the questions that is tested on; shots are drawn from the others"""
    bad_rows: Literal["error", "skip"] = "error"
    """an example that cannot be asked: stop and name it, or leave it out and count it"""
    published_items: Annotated[int, Field(gt=0)] | dict[str, int] | None = None
    """the number of items that the file was published with (or file → number), told beside ours"""
    shots_path: str | None = None
    """a text that stands before every question, such as a chain-of-thought prompt of BBH: what
    follows its line of dashes"""
    answer_after: str = ""
    """the answer is what follows the last of these words (BBH's chains: `the answer is`)"""
    tokens: Annotated[int, Field(gt=0)] = 64
    """tokens of writing at most"""

    @property
    def title(self) -> str:
        """What results call the task."""
        if self.called:
            return self.called
        path = Path(self.path)
        return path.parent.name if path.name == "task.json" else path.stem

    @property
    def ask(self) -> Ask:  # type: ignore[override]
        """How the file is asked."""
        if self.ask_for == "auto":
            return "choice" if self._has_scores else "generate"
        return "choice" if self.ask_for == "choice" else "generate"

    @property
    def metrics(self) -> tuple[str, ...]:  # type: ignore[override]
        """The file's own metrics as far as they are known here, then ours of its kind."""
        ours = _CHOSEN if self.ask == "choice" else _WRITTEN
        other = _WRITTEN if self.ask == "choice" else _CHOSEN
        named = self.document.get("metrics", [])
        own = [
            _METRICS.get(str(name), "") for name in ([named] if isinstance(named, str) else named)
        ]
        fitting = [name for name in own if name and (name in ours or name not in other)]
        return tuple(dict.fromkeys([*fitting, *ours]))

    @property
    def template(self) -> Template:  # type: ignore[override]
        """As the file says; the prefixes stand in the prompts."""
        between = self._text("few_shot_example_separator", "\n")
        return Template(between=between, instruction=self._text("task_prefix", "") + self._shots)

    @property
    def stop(self) -> tuple[str, ...]:  # type: ignore[override]
        """The file's own, or the beginning of a next example."""
        given = self._text("stop_string", "")
        if given:
            return (given,)
        return ("\n\n", "\nQ:") if self.answer_after else ("\n",)

    @property
    def max_tokens(self) -> int:  # type: ignore[override]
        """Tokens of free writing at most."""
        return self.tokens

    @property
    def chance(self) -> Mapping[str, float]:
        """The mean over the questions of one in the number of choices."""
        if self.ask != "choice":
            return {}
        shares = [1 / len(item.choices) for item in self.read if item.choices]
        return {"accuracy": sum(shares) / len(shares)}

    def items(self, split: Split, *, seed: int) -> Iterator[Item]:
        """The questions of a split, in an order drawn from the seed."""
        limit = self.held_out * 2**64
        found = [i for i in self.read if (hashed(i.id) < limit) == (split == "test")]
        if not found:
            raise RequestError(
                f"{self.title}: no question is left for the {split} split with "
                f"`held_out: {self.held_out}`"
                + ("; with less, the others serve as shots" if split == "train" else "")
            )
        yield from in_seeds_order(found, seed)

    def extract(self, text: str) -> str:
        """The answer in what a model wrote: after the words that announce it, without a dot."""
        if not self.answer_after:
            return text.strip()
        _, announced, after = text.rpartition(self.answer_after)
        return after.strip().removesuffix(".").strip() if announced else text.strip()

    @property
    def bytes_to_read(self) -> int | None:
        """The size of its file."""
        return _file(self.path, self.title).stat().st_size

    @property
    def notes(self) -> tuple[str, ...]:
        """Examples that were skipped, questions that were merged, and the published n."""
        found = self.report
        published = self.published_items
        if isinstance(published, dict):
            published = published.get(Path(self.path).stem)
        return reading_notes(
            self.title,
            test=found["questions"],
            published=published,
            skipped=found["skipped"],
            rows=len(self.document["examples"]),
            first_skipped=found["first_skipped"],
            doubled=found["doubled"],
            disagreeing=found["disagreeing"],
        )

    @property
    def report(self) -> Mapping[str, Any]:
        """What reading came upon, and the file's metrics that are not computed here."""
        named = self.document.get("metrics", [])
        names = [named] if isinstance(named, str) else list(named)
        items, tally = self._asked
        return {
            "questions": len(self.read),
            "doubled": len(items) - len(self.read),
            "disagreeing": disagreeing(items),
            "skipped": tally.skipped,
            "first_skipped": tally.first_skipped,
            "metrics_left_out": [str(n) for n in names if str(n) not in _METRICS],
        }

    @cached_property
    def document(self) -> dict[str, Any]:
        """The file. Raises DataError for what is no task file."""
        document = read_json_document(_file(self.path, self.title))
        if not isinstance(document, dict) or not isinstance(document.get("examples"), list):
            raise DataError(f"{self.path}:1: not a BIG-bench task: expected `examples`, a list")
        if not document["examples"]:
            raise DataError(f"{self.path}:1: `examples` is empty")
        return document

    @cached_property
    def read(self) -> tuple[Item, ...]:
        """All items, each question once: the answers of its further examples become references.

        Raises DataError for a bad example, unless they are skipped, and where none is left.
        """
        items, tally = self._asked
        if not items:
            raise DataError(
                f"{self.path}: no usable example ({tally.skipped} bad; the first: "
                f"{tally.first_skipped[0]})"
            )
        return tuple(merged_items(items))

    @cached_property
    def _asked(self) -> tuple[list[Item], Tally]:
        """An item for each example that can be asked, and what was skipped."""
        items, tally = [], Tally()
        for index, example in enumerate(self.document["examples"]):
            try:
                items.append(self._item(example))
            except ValueError as error:
                note_bad_row(self.bad_rows, f"{self.path}: examples[{index}]: {error}", tally)
        return items, tally

    def _item(self, example: Any) -> Item:
        if not isinstance(example, dict) or not isinstance(example.get("input"), str):
            raise ValueError("expected an object with `input`, a text")
        targets = _targets(example)
        scores = example.get("target_scores")
        if scores is not None:
            _check_scores(scores)
        if self.ask != "choice":
            if not targets and scores is not None:
                targets = [name for name, value in scores.items() if value == max(scores.values())]
            if not targets:
                raise ValueError("neither `target` nor `target_scores`")
            item = Item(
                "", self._prompt(example["input"]), targets[0], references=tuple(targets[1:])
            )
        elif scores is not None:
            item = self._scored(example["input"], scores)
        else:
            item = self._among_options(example["input"], targets)
        return Item(**{**vars(item), "id": question_id(item)})

    def _scored(self, question: str, scores: dict[str, float]) -> Item:
        """An item among `target_scores`: its choices in an order of their own."""
        best = max(scores.values())
        choices = sorted(scores)
        # Many files put the right choice first, and its position would give it away.
        random.Random(hashlib.sha256(question.encode()).digest()).shuffle(choices)
        appended = ""
        if self.document.get("append_choices_to_input", True):
            prefix = self._text("choice_prefix", "\n  choice: ")
            appended = "".join(prefix + choice for choice in choices)
        return Item(
            "",
            self._prompt(question + appended),
            choices=tuple(choices),
            right=tuple(n for n, choice in enumerate(choices) if scores[choice] == best),
            choice_scores=tuple(float(scores[choice]) for choice in choices),
            facts={"options": len(choices)},
        )

    def _among_options(self, question: str, targets: Sequence[str]) -> Item:
        """An item whose options stand in its input, or are all the targets of the file."""
        if not targets:
            raise ValueError("neither `target` nor `target_scores`")
        options = _options_in(question) or self._classes
        right = tuple(options.index(target) for target in targets if target in options)
        if not right:
            raise ValueError(f"the target is none of the options {', '.join(options)}")
        facts = {"options": len(options)}
        return Item("", self._prompt(question), choices=tuple(options), right=right, facts=facts)

    @cached_property
    def _classes(self) -> list[str]:
        """All targets of the file, where they are few."""
        found = sorted({t for e in self.document["examples"] for t in _targets_or_none(e)})
        if len(found) > MAX_CLASSES:
            raise RequestError(
                f"{self.title}: {len(found)} different targets and no options in the input: "
                "this task can only be asked with `ask_for: writing`"
            )
        return found

    @cached_property
    def _has_scores(self) -> bool:
        """Whether examples have scores wherever they have anything to be right."""
        examples = [e for e in self.document["examples"] if isinstance(e, dict)]
        judged = [e for e in examples if "target_scores" in e or _targets_or_none(e)]
        return bool(judged) and all("target_scores" in e for e in judged)

    @cached_property
    def _shots(self) -> str:
        if self.shots_path is None:
            return ""
        text = _file(self.shots_path, self.title).read_text(encoding="utf-8")
        return re.split(r"^-{3,}\s*$", text, maxsplit=1, flags=re.MULTILINE)[-1].strip() + "\n"

    def _prompt(self, question: str) -> str:
        before = self._text("example_input_prefix", "\nQ: ")
        return before + question + self._text("example_output_prefix", "\nA: ")

    def _text(self, key: str, default: str) -> str:
        value = self.document.get(key, default)
        if not isinstance(value, str):
            raise DataError(f"{self.path}: `{key}`: expected text")
        return value


def _targets(example: Any) -> list[str]:
    """The right texts of an example: one, or a list of them."""
    value = example.get("target") if isinstance(example, dict) else None
    values = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(target, str) for target in values):
        raise ValueError("`target`: expected text, or a list of texts")
    return values


def _targets_or_none(example: Any) -> list[str]:
    """The right texts of an example; none of a bad one, which is told where it is asked."""
    try:
        return _targets(example)
    except ValueError:
        return []


def _check_scores(scores: Any) -> None:
    good = isinstance(scores, dict) and len(scores) > 1
    if not good or not all(isinstance(value, int | float) for value in scores.values()):
        raise ValueError("`target_scores`: expected two or more choices, each with a number")


def _options_in(question: str) -> list[str]:
    """The options that BIG-Bench-Hard lists after `Options:`, as its targets name them."""
    _, announced, listed = question.partition("Options:")
    if not announced:
        return []
    letters = [match[1] for match in _OPTION.finditer(listed)]
    if all(mark == "- " for mark in letters):
        return [line.strip()[2:] for line in listed.splitlines() if line.strip().startswith("- ")]
    return [mark for mark in letters if mark != "- "]


def _file(path: str, title: str) -> Path:
    file = Path(path).expanduser()
    if not file.is_file():
        raise RequestError(f"{title}: no such file: {path}")
    return file
