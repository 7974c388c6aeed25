"""Tasks whose items are read: what every supervised kind shares.

A kind is a subclass that says which columns a row has to fill and what items a row gives; reading,
splitting, naming and ordering are done here. All rows of a task are held in memory, which is what
lets both splits be kept apart: a question belongs to the split that the hash of its text says, or,
where test rows come from a source of their own, to the test split whenever it stands there, and is
then left out of the rows to learn from. In a test split a question stands once: the answers of
its further rows become references. Items come in an order drawn from the seed, so that the first
hundred are a fair sample even of a file that is sorted.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from emergectl.config.schema import FileSource
from emergectl.data.files import cache_root, source_files
from emergectl.data.readers import Tally
from emergectl.data.sources import Converter, SourceRow, as_field, iter_rows, note_bad_row
from emergectl.data.templates import render, template_fields
from emergectl.errors import ExperimentError, RequestError
from emergectl.store.measurements import Fact
from emergectl.tasks.task import Item, Split, Template, TextTask


@dataclass(frozen=True)
class ReadRows:
    """The rows of both splits, and what reading them came upon."""

    train: tuple[SourceRow, ...]
    test: tuple[SourceRow, ...]
    train_tally: Tally
    test_tally: Tally
    total: int
    """rows of the files, those that were skipped among them"""


@dataclass(frozen=True)
class ReadItems:
    """The items of both splits, and what reading came upon."""

    train: tuple[Item, ...]
    test: tuple[Item, ...]
    report: Mapping[str, Any] = field(default_factory=dict)


class FileTask(TextTask):
    """Items out of rows of files, or of a hub data set; a subclass says what a row is."""

    path: str | None = None
    """rows to learn from and to draw shots from: a file, a folder, a glob or an https URL"""
    test_path: str | None = None
    """rows to test on; null: `held_out` of the questions of `path`"""
    hub: str | None = None
    """a data set's name on the hub; paths win over it"""
    config: str | None = None
    """the hub data set's configuration (subset)"""
    split: str = "train"
    """the hub data set's split to learn from"""
    test_split: str | None = None
    """the hub data set's split to test on; null: `held_out` of the questions of `split`"""
    held_out: Annotated[float, Field(gt=0, le=1)] = 0.1
    """share of the questions that is tested on where the test rows have no source of their own"""
    format: Literal["auto", "jsonl", "csv", "tsv", "parquet", "json", "squad", "c3", "chid"] = (
        "auto"
    )
    """how to read the files, as in a data source"""
    header: list[str] = []  # noqa: RUF012 — pydantic copies it
    """the columns of csv or tsv files whose first line is a row already"""
    columns: dict[str, str] = {}  # noqa: RUF012
    """role → column; a dot leads into an object: {word: target.span1_text}"""
    facts: dict[str, str] = {}  # noqa: RUF012
    """fact → column: what results can be grouped by"""
    join: str = "\n"
    """what stands between the parts of a list in a column where one text is wanted"""
    bad_rows: Literal["error", "skip"] = "error"
    """a row that cannot be used: stop and name it, or leave it out and count it"""
    published_items: Annotated[int, Field(gt=0)] | None = None
    """the number of test items that the data set was published with, told beside ours"""
    prompt: str = "{text}"
    """the question; {…} is any role or column"""
    before_answer: str = " "
    """what stands between question and answer"""
    instruction: str = ""
    """what stands once before everything"""
    between: str = "\n\n"
    """what stands between shots"""

    fields_of: ClassVar[tuple[str, ...]] = ("prompt",)
    """the parameters that are templates over a row"""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.hub is None and (self.config is not None or self.test_split is not None):
            raise ValueError("`config` and `test_split` belong to `hub`")
        for name in self.fields_of:
            _checked_template(getattr(self, name), name)
        known = [*self.roles, "id"]
        for role in self.columns:
            if role not in known:
                near = difflib.get_close_matches(role, known, n=1)
                hint = f"did you mean `{near[0]}`?" if near else f"it reads {', '.join(known)}"
                raise ValueError(f"`columns`: no role `{role}`; {hint}")
        return self

    @field_validator("facts", mode="before")
    @classmethod
    def _names_are_columns(cls, value: Any) -> Any:
        is_names = isinstance(value, list) and all(isinstance(name, str) for name in value)
        return {name: name for name in value} if is_names else value

    @property
    def template(self) -> Template:  # type: ignore[override]
        """How a question is put, of the task's own parameters."""
        return Template(
            before_answer=self.before_answer,
            between=self.between,
            instruction=self.instruction,
        )

    @property
    def names_rows(self) -> bool:
        """Whether there is anything to read."""
        return (self.path or self.test_path or self.hub) is not None

    @property
    def from_hub(self) -> bool:
        """Whether rows come from the hub: where no path says otherwise."""
        return self.hub is not None and self.path is None and self.test_path is None

    @property
    def roles(self) -> dict[str, Converter]:
        """The roles that a row has to fill, and how each value is checked."""
        return dict.fromkeys(self.template_roles, as_field)

    @property
    def template_roles(self) -> list[str]:
        """The columns that the prompt (or another template over a row) names."""
        named = [role for name in self.fields_of for role in _fields(getattr(self, name))]
        return [role for role in dict.fromkeys(named) if role not in self.made]

    @property
    def made(self) -> tuple[str, ...]:
        """Fields of the templates that the kind fills in itself."""
        return ()

    def items_of(self, row: SourceRow) -> Iterable[Item]:
        """The items of a row, without id. Raises ValueError saying what is wrong with the row."""
        raise NotImplementedError

    def key_of(self, row: SourceRow) -> str:
        """What must not stand in both splits: the question's text."""
        return self.rendered(row)

    def rendered(self, row: SourceRow, **made: str) -> str:
        """The question of a row."""
        return render(self.prompt, {**row.values, **dict.fromkeys(self.made, ""), **made})

    def items(self, split: Split, *, seed: int) -> Iterator[Item]:
        """The items of a split, in an order drawn from the seed.

        Raises DataError (`file:line: reason`) for a bad row and RequestError where the task names
        no source for this split.
        """
        found = getattr(self.read, split)
        if not found:
            raise RequestError(f"{self.title}: {self._why_empty(split)}")
        yield from in_seeds_order(found, seed)

    @property
    def bytes_to_read(self) -> int | None:
        """The size of its files; None for the hub's and others from elsewhere."""
        size = 0
        for source in filter(None, self._sources()):
            if source.path is None or source.path.startswith(("https://", "http://")):
                return None
            try:
                found = source_files(source, key=self.title, cache=cache_root())
            except ExperimentError:
                continue  # reading it says what is wrong
            size += sum(path.stat().st_size for path, _ in found)
        return size

    @property
    def report(self) -> Mapping[str, Any]:
        """What reading came upon: rows, items, doubled questions, skipped rows and the first."""
        return self.read.report

    @property
    def notes(self) -> tuple[str, ...]:
        """Rows that were skipped, questions that were merged or left out, and the published n."""
        found = self.report
        return reading_notes(
            self.title,
            test=found["test"],
            published=self.published_items,
            skipped=found["skipped"],
            rows=found["rows"],
            first_skipped=found["first_skipped"],
            doubled=found["doubled_in_test"],
            disagreeing=found["disagreeing_in_test"],
            left_out_of_train=found["left_out_of_train"],
        )

    @cached_property
    def read(self) -> ReadItems:
        """Both splits, read once."""
        rows = self.rows
        tested = list(self._made(rows.test, rows.test_tally))
        questions = {item.id for item in tested}
        learnt = list(self._made(rows.train, rows.train_tally))
        kept = tuple(item for item in learnt if item.id not in questions)
        merged = tuple(merged_items(tested))
        first = [*rows.test_tally.first_skipped, *rows.train_tally.first_skipped]
        report = {
            "rows": rows.total,
            "train": len(kept),
            "test": len(merged),
            "doubled_in_test": len(tested) - len(merged),
            "disagreeing_in_test": disagreeing(tested),
            "left_out_of_train": len(learnt) - len(kept),
            "skipped": rows.train_tally.skipped + rows.test_tally.skipped,
            "first_skipped": first[:5],
        }
        return ReadItems(kept, merged, report)

    @cached_property
    def rows(self) -> ReadRows:
        """The rows of both splits, read once."""
        train_source, test_source = self._sources()
        train_tally, test_tally = Tally(), Tally()
        train = self._rows(train_source, "path", train_tally)
        test = self._rows(test_source, "test_path", test_tally)
        if test_source is None:
            inside = [hashed(self.key_of(row)) < self.held_out * 2**64 for row in train]
            test = [row for row, held in zip(train, inside, strict=True) if held]
            train = [row for row, held in zip(train, inside, strict=True) if not held]
        total = len(train) + len(test) + train_tally.skipped + test_tally.skipped
        return ReadRows(tuple(train), tuple(test), train_tally, test_tally, total)

    def _sources(self) -> tuple[FileSource | None, FileSource | None]:
        """The sources to learn from and to test on, as far as they are given."""
        common: dict[str, Any] = {
            "format": self.format,
            "header": self.header,
            "join": self.join,
            "columns": {**self.columns, **{_fact(n): c for n, c in self.facts.items()}},
            "bad_rows": self.bad_rows,
        }
        if self.from_hub:
            hub = {**common, "hub": self.hub, "config": self.config}
            test = None if self.test_split is None else FileSource(**hub, split=self.test_split)
            return FileSource(**hub, split=self.split), test
        if not self.names_rows:
            raise RequestError(f"{self.title}: give `path`, `test_path` or `hub`: what to read")
        train = None if self.path is None else FileSource(**common, path=self.path)
        test = None if self.test_path is None else FileSource(**common, path=self.test_path)
        return train, test

    def _rows(self, source: FileSource | None, key: str, tally: Tally) -> list[SourceRow]:
        if source is None:
            return []
        roles: dict[str, Converter] = {**self.roles}
        roles |= {_fact(name): as_fact for name in self.facts}
        cache = cache_root()
        try:
            return list(iter_rows(source, roles=roles, key=self.title, cache=cache, tally=tally))
        except ExperimentError as error:
            where = error.key.removeprefix(f"{self.title}.")
            key = where if where not in ("path", "hub") else "hub" if self.from_hub else key
            raise RequestError(f"{self.title}: `{key}`: {error.message}") from None

    def _made(self, rows: Iterable[SourceRow], tally: Tally) -> Iterator[Item]:
        for row in rows:
            try:
                items = list(self.items_of(row))
            except ValueError as error:
                note_bad_row(self.bad_rows, f"{row.where}: {error}", tally)
                continue
            facts = {name: row.values[_fact(name)] for name in self.facts}
            for item in items:
                yield replace(item, id=question_id(item), facts={**facts, **item.facts})

    def _why_empty(self, split: Split) -> str:
        skipped = self.read.report["skipped"]
        said = f" ({skipped} rows were skipped)" if skipped else ""
        if split == "test":
            return f"there is no item to test on{said}: give `test_path`, or raise `held_out`"
        if self.path is None and not self.from_hub:
            return "there are no rows to learn from: give `path`"
        return f"there is no item to learn from{said}: every row belongs to the test split"


def hashed(text: str) -> int:
    """A number below 2^64 that is the same everywhere."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "replace")).digest()[:8], "big")


def in_seeds_order(items: Iterable[Item], seed: int) -> list[Item]:
    """The items in an order that depends on the seed, and on no file's."""
    return sorted(items, key=lambda item: hashed(f"{seed}\0{item.id}\0{item.target}"))


def question_id(item: Item) -> str:
    """The name of a question: 16 hex digits of the hash of its text and choices."""
    text = json.dumps([item.prompt, sorted(item.choices)], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def as_fact(value: Any) -> Fact:
    """Something to group by: text, a number or true/false; numbers in text files become numbers."""
    if isinstance(value, (bool, int, float)):
        return value
    if not isinstance(value, str):
        raise ValueError("expected text or a number to group by")
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def reading_notes(
    title: str,
    *,
    test: int,
    published: int | None,
    skipped: int,
    rows: int,
    first_skipped: Sequence[str],
    doubled: int,
    disagreeing: int = 0,
    left_out_of_train: int = 0,
) -> tuple[str, ...]:
    """What came of reading a task's rows, a sentence for each thing that is to be known."""
    notes = []
    if published is not None:
        said = "as published" if published == test else f"where {published:,} are published"
        notes.append(f"{title}: {test:,} test items, {said}")
    if skipped:
        first = f"; the first: {first_skipped[0]}" if first_skipped else ""
        notes.append(f"{title}: {skipped:,} of {rows:,} rows skipped{first}")
    if doubled:
        other = f"; {disagreeing:,} of them have another right choice" if disagreeing else ""
        stands = ", and the first row's stands" if disagreeing else ""
        notes.append(
            f"{title}: {doubled:,} test rows ask a question again: merged into one item, their "
            f"answers as references{other}{stands}"
        )
    if left_out_of_train:
        notes.append(
            f"{title}: {left_out_of_train:,} training items left out: their questions stand in "
            "the test split"
        )
    return tuple(notes)


def disagreeing(items: Iterable[Item]) -> int:
    """How many items repeat a question with other right choices than its first one has."""
    first: dict[str, Item] = {}
    return sum(first.setdefault(item.id, item).right != item.right for item in items)


def merged_items(items: Iterable[Item]) -> Iterator[Item]:
    """Each question once: the answers of its further rows become references."""
    first: dict[str, Item] = {}
    for item in items:
        known = first.get(item.id)
        if known is None:
            first[item.id] = item
            continue
        answers = [a for a in (item.target, *item.references) if a is not None]
        new = tuple(a for a in answers if a not in (known.target, *known.references))
        first[item.id] = replace(known, references=(*known.references, *dict.fromkeys(new)))
    yield from first.values()


def _fact(name: str) -> str:
    """The role under which a fact's column is read, apart from the roles of the prompt."""
    return f"fact {name}"


def _fields(template: str) -> list[str]:
    return template_fields(template, key="")


def _checked_template(template: str, name: str) -> None:
    try:
        template_fields(template, key=name)
    except ExperimentError as error:
        raise ValueError(f"`{name}`: {error.message}") from None
