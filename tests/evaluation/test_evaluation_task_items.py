"""Tasks put before a model: questions out, records back, each item once."""

import json
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from asked_models import small_model
from reference_model import ReferenceModel

from emergectl.errors import AlreadyRunningError, DataError, RequestError
from emergectl.evaluation.item_files import open_items, read_items, write_items
from emergectl.evaluation.metrics.definition import Metric
from emergectl.evaluation.records import ItemRecord, record_from_json, record_to_json
from emergectl.evaluation.results import Measured, measure_records, metrics_to_take
from emergectl.evaluation.task_items import (
    NO_TOKENS,
    Asking,
    PreparedTask,
    ask_items,
    in_item_order,
    prepare_task,
)
from emergectl.inference.loading import LanguageModel
from emergectl.inference.requests import Cut, Question, Scored, TooLong, Writing
from emergectl.runtime.place import Place
from emergectl.store.measurements import Measurement
from emergectl.tasks.question_answering import GenerativeQA
from emergectl.tasks.task import Ask, Item, Split, Template, TextTask

ALONE = Place(device=torch.device("cpu"), autocast=nullcontext)


def values_of(
    records: Sequence[ItemRecord],
    metrics: Sequence[Metric],
    *,
    by: Sequence[str] = (),
    chance: dict[str, float] | None = None,
) -> list[Measurement]:
    of = Measured("t", "eval", None, {}, None, chance or {})
    return measure_records(records, metrics, of, by=by)


class Letters(TextTask):
    """What comes after a letter."""

    name: ClassVar[str] = "letters"
    template: ClassVar[Template] = Template(question="Q: {prompt}", before_answer=" A:")
    max_tokens: ClassVar[int] = 4

    count: int = 12
    train_count: int = 8

    def items(self, split: Split, *, seed: int) -> Iterator[Item]:  # noqa: ARG002
        count = self.count if split == "test" else self.train_count
        for number in range(count):
            letter = chr(ord("a" if split == "test" else "A") + number)
            yield self._item(letter, number)

    def _item(self, letter: str, number: int) -> Item:
        facts = {"even": number % 2 == 0, "place": number}
        return Item(letter, letter * (1 + number % 3), target=f" {letter}!", facts=facts)


class Choosing(Letters):
    """Which of three it is."""

    name: ClassVar[str] = "choosing"
    ask: ClassVar[Ask] = "choice"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "brier")

    def _item(self, letter: str, number: int) -> Item:
        choices = (" one", " two!", " three")
        return Item(letter, letter, choices=choices, right=(number % 3,))


class Telling(Letters):
    """Say anything."""

    name: ClassVar[str] = "telling"
    ask: ClassVar[Ask] = "generate"
    metrics: ClassVar[tuple[str, ...]] = ("exact_match", "edit_distance", "logprob")

    def extract(self, text: str) -> str:
        return text[:1]

    def is_right(self, item: Item, prediction: str) -> bool:  # noqa: ARG002
        return prediction != ""


def prepared(task: TextTask, **asking: object) -> PreparedTask:
    return prepare_task(task, task.name, Asking(**asking))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def quick() -> LanguageModel:
    return small_model("gpt2", seq_len=64)


@pytest.fixture
def slow(quick: LanguageModel) -> ReferenceModel:
    return ReferenceModel(quick.model, quick.coder.tokenizer)


@pytest.mark.parametrize("task", [Letters(), Choosing(), Telling()])
@pytest.mark.parametrize("ends", [False, True])
def test_the_quick_model_answers_as_the_slow_one(
    task: TextTask, ends: bool, quick: LanguageModel, slow: ReferenceModel
) -> None:
    asked = prepared(task, shots=1)
    ours = in_item_order(asked, list(ask_items(quick, asked, ends=ends)))
    theirs = in_item_order(asked, list(ask_items(slow, asked, ends=ends)))
    for one, other in zip(ours, theirs, strict=True):
        assert (one.prediction, one.correct, one.written, one.prompt_hash) == (
            other.prediction,
            other.correct,
            other.written,
            other.prompt_hash,
        )
        scores = [*one.choice_scores, *filter(None, [one.target_score])]
        others = [*other.choice_scores, *filter(None, [other.target_score])]
        assert [s.logprob for s in scores] == pytest.approx([s.logprob for s in others], abs=1e-4)
        assert [s.tokens for s in scores] == [s.tokens for s in others]


def test_a_context_is_shots_and_question(slow: ReferenceModel) -> None:
    asked = prepared(Letters(count=1), shots=2)
    assert len(list(ask_items(slow, asked))) == 1
    question = slow.asked[0]
    assert isinstance(question, Question)
    *shots, last = question.context.split("\n")
    assert last == "Q: a A:"
    assert len(shots) == 2
    assert all(shot.startswith("Q: ") and shot.endswith("!") for shot in shots)
    assert question.continuations == (" a!",)


def test_shots_follow_from_the_seed_and_stand_before_every_item_alike() -> None:
    contexts = prepared(Letters(), shots=3, seed=1).contexts
    assert contexts == prepared(Letters(), shots=3, seed=1).contexts
    assert contexts != prepared(Letters(), shots=3, seed=2).contexts
    assert len({context.rpartition("\n")[0] for context in contexts}) == 1


class Leaky(Letters):
    """Training items that are asked as well: what a careless file might hold."""

    name: ClassVar[str] = "leaky"

    def items(self, split: Split, *, seed: int) -> Iterator[Item]:  # noqa: ARG002
        yield from super().items("test", seed=seed)


def test_an_item_is_never_its_own_shot() -> None:
    asked = prepared(Leaky(), shots=4)
    for item, context in zip(asked.items, asked.contexts, strict=True):
        assert f" {item.id}!" not in context
        assert context.count("\n") == 4


def test_too_few_items_to_show_are_told() -> None:
    with pytest.raises(RequestError, match="`letters` has 8 training items to show, not 9"):
        prepared(Letters(), shots=9)


def test_an_empty_test_set_is_told() -> None:
    with pytest.raises(RequestError, match="`letters` has no test items"):
        prepared(Letters(count=0))


def test_what_is_too_long_is_skipped_counted_and_in_no_metric(slow: ReferenceModel) -> None:
    asked = prepared(Telling(count=3), shots=2)
    slow.reach = len(asked.contexts[0]) + 2  # the other questions are longer
    records = in_item_order(asked, list(ask_items(slow, asked)))
    assert [record.skipped is None for record in records] == [True, False, False]
    assert "the model reaches" in str(records[1].skipped)
    assert records[1].correct is None
    assert {value.n for value in values_of(records, asked.metrics)} == {1}


class Odd(Choosing):
    """Items without a right choice among others."""

    name: ClassVar[str] = "odd"

    def items(self, split: Split, *, seed: int) -> Iterator[Item]:  # noqa: ARG002
        yield Item("a", "a", choices=(" x", " y"), right=(1,))
        yield Item("b", "b", choices=(" x", " y"), right=())
        yield Item("c", "c", choices=(" x", " y"), right=(2,))
        yield Item("d", "d")


def test_an_item_that_cannot_be_judged_is_skipped_with_the_reason(slow: ReferenceModel) -> None:
    asked = prepared(Odd())
    records = in_item_order(asked, list(ask_items(slow, asked)))
    assert [record.skipped for record in records] == [
        None,
        "none of its choices is right",
        "its right answer is not among the choices",
        "it has no right answer",
    ]
    assert len(slow.asked) == 1


class Mute(ReferenceModel):
    """A tokenizer that leaves out what it does not know, and knows nothing."""

    def score(self, questions: Sequence[Question]) -> Iterator[tuple[int, tuple[Scored, ...]]]:
        for index, question in enumerate(questions):
            yield index, tuple(Scored(0.0, 0, len(c), True) for c in question.continuations)


@pytest.mark.parametrize("task", [Letters(), Choosing(), Telling()])
def test_an_answer_that_has_no_tokens_is_not_taken_for_certain(
    task: TextTask, slow: ReferenceModel
) -> None:
    records = list(ask_items(Mute(slow.model, slow.tokenizer), prepared(task)))
    assert len(records) == 12
    assert {record.skipped for record in records} == {NO_TOKENS}


def test_a_task_of_judging_writes_only_where_a_metric_needs_it(slow: ReferenceModel) -> None:
    list(ask_items(slow, prepared(Letters(count=2))))
    assert not any(isinstance(one, Writing) for one in slow.asked)
    asked = prepared(Letters(count=2), metrics=("edit_distance",))
    (record, _) = ask_items(slow, asked)
    assert record.written
    assert record.target_score is not None
    assert record.correct == record.target_score.greedy


def test_samples_are_counted_for_pass_at_k(slow: ReferenceModel) -> None:
    asked = prepared(Telling(count=2), samples=3, metrics=("pass@2",))
    records = list(ask_items(slow, asked))
    assert [record.extra["samples_right"] for record in records] == [
        3 if record.prediction else 0 for record in records
    ]
    with pytest.raises(RequestError, match="`pass@4` needs 4 samples"):
        prepared(Telling(), samples=3, metrics=("pass@4",))


def run_into(folder: Path, asked: PreparedTask, model: ReferenceModel, *, stop_after: int) -> int:
    """Ask into a folder, going on with what is there; returns how many were answered anew."""
    answered = 0
    with open_items(folder, {"task": asked.label}, resume=True, place=ALONE) as file:
        for record in ask_items(model, asked, known=tuple(file.records)):
            file.append(record)
            answered += 1
            if answered == stop_after:
                return answered
        records = in_item_order(asked, file.records)
        file.finish(records, {"done": True}, run=folder, measured=())
    return answered


def test_what_was_stopped_goes_on_item_by_item_to_the_same_file(
    tmp_path: Path, slow: ReferenceModel
) -> None:
    asked = prepared(Telling())
    assert run_into(tmp_path / "whole", asked, slow, stop_after=99) == 12
    assert run_into(tmp_path / "parts", asked, slow, stop_after=5) == 5
    half = tmp_path / "parts" / "items.jsonl"
    with half.open("ab") as file:
        file.write(b'{"task": "telling", "item": "torn')  # what a kill leaves
    assert run_into(tmp_path / "parts", asked, slow, stop_after=3) == 3
    assert not (tmp_path / "parts" / "results.json").exists()
    assert run_into(tmp_path / "parts", asked, slow, stop_after=99) == 4
    assert half.read_bytes() == (tmp_path / "whole" / "items.jsonl").read_bytes()
    assert [record.item for record in read_items(half)] == [item.id for item in asked.items]


def test_items_with_one_id_are_each_asked(tmp_path: Path, slow: ReferenceModel) -> None:
    class Doubled(Telling):
        def items(self, split: Split, *, seed: int) -> Iterator[Item]:
            yield from super().items(split, seed=seed)
            yield from super().items(split, seed=seed)

    asked = prepared(Doubled(count=2))
    assert run_into(tmp_path, asked, slow, stop_after=3) == 3
    assert run_into(tmp_path, asked, slow, stop_after=99) == 1
    assert [record.item for record in read_items(tmp_path / "items.jsonl")] == ["a", "b", "a", "b"]


def test_what_was_asked_otherwise_is_not_gone_on_with(tmp_path: Path) -> None:
    with open_items(tmp_path, {"shots": 0}, resume=False, place=ALONE):
        pass
    with (
        pytest.raises(RequestError, match="was asked with shots 0, not 5"),
        open_items(tmp_path, {"shots": 5}, resume=True, place=ALONE),
    ):
        pass
    with open_items(tmp_path, {"shots": 5}, resume=False, place=ALONE) as file:
        assert file.records == []


def test_two_evaluations_never_write_one_file(tmp_path: Path) -> None:
    with (
        open_items(tmp_path, {}, resume=False, place=ALONE),
        pytest.raises(AlreadyRunningError, match="another evaluation"),
        open_items(tmp_path, {}, resume=True, place=ALONE),
    ):
        pass
    assert not (tmp_path / "run.lock").exists()


def test_a_record_reads_back_equal(tmp_path: Path, slow: ReferenceModel) -> None:
    records = [
        *ask_items(slow, prepared(Telling(count=2), samples=2)),
        *ask_items(slow, prepared(Choosing(count=2))),
        *ask_items(slow, prepared(Odd())),
    ]
    write_items(tmp_path / "items.jsonl", records)
    assert list(read_items(tmp_path / "items.jsonl")) == records
    lines = (tmp_path / "items.jsonl").read_text().splitlines()
    assert all(json.loads(line)["task"] for line in lines)


def test_items_are_sampled_until_they_pass_and_the_rate_is_what_the_model_says(
    quick: LanguageModel,
) -> None:
    asked = prepared(Letters(count=6), until_passes=6, most_samples=2000, temperature=1.0)
    drawn: list[int] = []
    records = in_item_order(asked, list(ask_items(quick, asked, ends=True, drawn=drawn.append)))
    counts = {"passes", "samples", "reached"}
    assert all(set(record.extra) - {"cut"} == counts for record in records)
    assert all(record.extra.get("cut", 0) <= record.extra["samples"] for record in records)
    assert all(len(record.written) == 1 and record.target_score for record in records)
    assert sum(drawn) >= sum(record.extra["samples"] for record in records)
    values = {value.metric: value for value in values_of(records, asked.metrics)}
    assert list(values) == ["exact_match", "logprob", "logprob_per_token", "pass_rate"]
    assert values["pass_rate"].n == 6


def test_sampling_until_passes_is_for_tasks_of_writing() -> None:
    with pytest.raises(RequestError, match="`choosing` asks for one of several choices"):
        prepared(Choosing(), until_passes=5, temperature=1.0)


def test_several_samples_give_a_pass_rate_as_well(quick: LanguageModel) -> None:
    asked = prepared(Telling(count=3), samples=40, temperature=1.0, metrics=("pass_rate", "pass@1"))
    values = {
        value.metric: value.value
        for value in values_of(list(ask_items(quick, asked)), asked.metrics)
    }
    assert values["pass_rate"] == pytest.approx(values["pass@1"])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"task": "t"}', "not a record"),
        ('{"tasks": "t"}', "no field 'tasks'"),
        ("[1]", "a list where an object"),
        ("{", "not JSON"),
    ],
)
def test_a_line_that_is_no_record_is_named(tmp_path: Path, line: str, reason: str) -> None:
    good = json.dumps(record_to_json(ItemRecord("t", "i", {}, "", 0)))
    (tmp_path / "items.jsonl").write_text(f"{good}\n{line}\n")
    with pytest.raises(DataError, match=rf"items.jsonl:2: .*{reason}"):
        list(read_items(tmp_path / "items.jsonl"))


def test_every_field_of_a_record_is_documented() -> None:
    import emergectl.evaluation.records as module

    described = {line.split()[0] for line in str(module.__doc__).splitlines() if line[4:5].strip()}
    assert set(ItemRecord.__dataclass_fields__) <= described


def test_infinite_log_probabilities_survive_the_file() -> None:
    values = record_to_json(ItemRecord("t", "i", {}, "", 0, target="x"))
    values["target_score"] = {"logprob": "-inf", "tokens": 1, "bytes": 1, "greedy": False}
    scored = record_from_json(values, "x:1").target_score
    assert scored is not None
    assert scored.logprob == float("-inf")


def test_groups_come_in_order_with_their_own_intervals(slow: ReferenceModel) -> None:
    asked = prepared(Letters())
    records = list(ask_items(slow, asked))
    metrics = metrics_to_take(("exact_match",))
    values = values_of(records, metrics, by=("place", "even"), chance={"exact_match": 0.1})
    places = [v.group[1] for v in values if v.group and v.group[0] == "place"]
    assert places == [place for place in range(12) for _ in range(2)]
    whole = [value for value in values if value.group is None]
    assert [(v.metric, v.chance, v.n) for v in whole] == [
        ("exact_match", 0.1, 12),
        ("logprob", None, 12),
    ]
    assert {v.n for v in values if v.group and v.group[0] == "even"} == {6}
    assert all(v.chance is None for v in values if v.group)


def test_right_or_wrong_never_stands_alone() -> None:
    assert [m.name for m in metrics_to_take(("accuracy",))] == ["accuracy", "logprob"]
    assert [m.name for m in metrics_to_take(("accuracy",), ("brier",))] == ["accuracy", "brier"]


class Scripted(ReferenceModel):
    """Writes what it is told to."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts

    def score(
        self, questions: Sequence[Question]
    ) -> Iterator[tuple[int, tuple[Scored, ...] | TooLong]]:
        for index, _ in enumerate(questions):
            yield index, (Scored(-1.0, 1, 1, greedy=True),)

    def write(self, writings: Sequence[Writing]) -> Iterator[tuple[int, tuple[str, ...] | TooLong]]:
        for index, _ in enumerate(writings):
            yield index, self.texts


@pytest.mark.parametrize(
    ("asked", "text", "whole", "cut"),
    [
        ({}, "12", True, False),
        ({}, "12 ", True, False),
        ({"same": "number"}, "it is 12", True, False),
        ({"same": "number"}, "it is 12.", True, False),
        ({"same": "number"}, "it is 12 and then", True, False),
        ({"same": "number", "answer_after": "####"}, "6 + 6 #### 12", True, False),
        ({"same": "number", "answer_after": "####"}, "6 + 6 #### 12\nQuestion: 5", True, True),
        ({"answer_after": "####"}, "#### 12\n", True, True),
        ({"same": "squad"}, "the 12", True, False),
        ({"answer_after": "####"}, "#### 13\n", False, False),
    ],
)
def test_a_cut_text_is_right_only_where_its_answer_had_ended_before(
    asked: dict[str, Any], text: str, whole: bool, cut: bool, tmp_path: Path
) -> None:
    target = "#### 12" if "answer_after" in asked else "12"
    (tmp_path / "rows.jsonl").write_text(json.dumps({"question": "6 + 6?", "answers": target}))
    task = GenerativeQA(test_path=str(tmp_path / "rows.jsonl"), **asked)
    prepared = prepare_task(task, "t", Asking())
    for written, right, count in ((text, whole, None), (Cut(text), cut, 1)):
        (record,) = ask_items(Scripted(written), prepared)
        assert (record.correct, record.extra.get("cut")) == (right, count)
        assert record_from_json(json.loads(json.dumps(record_to_json(record))), "here") == record
    (record,) = ask_items(Scripted(text, Cut(text)), prepare_task(task, "t", Asking(samples=2)))
    assert record.extra["samples_right"] == whole + cut
