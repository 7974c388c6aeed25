"""The supervised kinds: which item a row becomes, and when an answer to it is right."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from file_rows import items, make, write_rows

from emergectl.errors import DataError
from emergectl.tasks.ranking import random_order
from emergectl.tasks.task import Item, TextTask, put


def over(folder: Path, name: str, rows: Sequence[dict[str, Any]], **parameters: Any) -> TextTask:
    """A task all of whose rows are tested."""
    path = write_rows(folder / "rows.jsonl", list(rows))
    return make(name, **{"path": path, "held_out": 1.0, **parameters})


def only(folder: Path, name: str, row: dict[str, Any], **parameters: Any) -> Item:
    (item,) = items(over(folder, name, [row], **parameters))
    return item


def test_every_label_is_a_choice_of_a_text_under_its_own_words(tmp_path) -> None:
    row = {"text": "Fine.", "label": 1}
    item = only(tmp_path, "classification", row, choices={"0": "bad", "1": "good"})
    assert (item.prompt, item.choices, item.right) == ("Fine.\nLabel:", ("bad", "good"), (1,))


def test_a_pair_puts_both_texts(tmp_path) -> None:
    row = {"premise": "It rains.", "hypothesis": "It is wet.", "label": "entailment"}
    columns = {"text": "premise", "text_pair": "hypothesis"}
    prompt = "{text} => {text_pair}"
    task = over(tmp_path, "pairs", [row], columns=columns, prompt=prompt, choices=["entailment"])
    assert items(task)[0].prompt == "It rains. => It is wet."


def test_several_labels_are_a_question_each(tmp_path) -> None:
    rows = [{"text": "a", "labels": "x|z"}, {"text": "b", "labels": []}]
    found = items(over(tmp_path, "multilabel", rows, choices=["x", "y", "z"]))
    asked = {(item.prompt[0], item.facts["label"]): item.right for item in found}
    assert asked == {
        ("a", "x"): (1,), ("a", "y"): (0,), ("a", "z"): (1,),
        ("b", "x"): (0,), ("b", "y"): (0,), ("b", "z"): (0,),
    }  # fmt: skip
    assert {item.choices for item in found} == {("no", "yes")}
    assert len({item.id for item in found}) == 6


def test_options_stand_under_letters_where_the_prompt_lists_them(tmp_path) -> None:
    row = {"question": "Which?", "choices": ["red", "blue"], "answer": "blue"}
    item = only(tmp_path, "multiple_choice", row)
    assert item.prompt == "Which?\nA. red\nB. blue\nAnswer:"
    assert (item.choices, item.right) == (("A", "B"), (1,))
    by_text = only(tmp_path, "multiple_choice", row, prompt="{question}")
    assert (by_text.choices, by_text.right) == (("red", "blue"), (1,))


@pytest.mark.parametrize(
    ("answer", "answer_is"),
    [("blue", "text"), ("B", "letter"), ("(b)", "letter"), (1, "index"), ("2", "index from 1")],
)
def test_the_answer_may_be_told_in_several_ways(tmp_path, answer, answer_is: str) -> None:
    row = {"question": "?", "choices": ["red", "blue", "green"], "answer": answer}
    assert only(tmp_path, "multiple_choice", row, answer_is=answer_is).right == (1,)


def test_options_may_stand_in_columns_of_their_own_or_in_arcs_object(tmp_path) -> None:
    row = {"question": "?", "a": "red", "b": "blue", "answer": "A"}
    columns = {"choice_columns": ["a", "b"], "answer_is": "letter"}
    assert only(tmp_path, "multiple_choice", row, **columns).right == (0,)
    arc = {"text": ["red", "blue"], "label": ["A", "B"]}
    row = {"question": "?", "choices": arc, "answer": "B"}
    assert only(tmp_path, "multiple_choice", row, answer_is="letter").right == (1,)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"choices": ["a", "b"], "answer": "c"}, "'c' is none of the 2 options"),
        ({"choices": ["a"], "answer": "a"}, "1 options; there must be 2 to 26"),
        ({"choices": "a,b", "answer": "a"}, "expected a list of options"),
    ],
)
def test_options_that_cannot_be_asked_are_named(tmp_path, row, reason: str) -> None:
    with pytest.raises(DataError, match=rf"rows\.jsonl:1: .*{reason}"):
        only(tmp_path, "multiple_choice", {"question": "?", **row})


def test_a_passage_is_answered_right_as_the_official_scripts_say(tmp_path) -> None:
    row = {"context": "c", "question": "q", "answers": ["the Denver Broncos", "Broncos"]}
    task = over(tmp_path, "extractive_qa", [row])
    (item,) = items(task)
    assert item.prompt == "c\nQuestion: q\nAnswer:"
    assert task.is_right(item, "Denver Broncos.")
    assert not task.is_right(item, "Denver")
    assert task.grades(item, "Denver") == {"f1": pytest.approx(2 / 3)}
    row = {"context": "c", "question": "q", "answers": ["《泡泡堂》", "泡泡堂游戏"]}
    task = over(tmp_path, "extractive_qa", [row])
    (item,) = items(task)
    assert task.is_right(item, "泡泡堂")
    assert task.grades(item, "泡泡") == {"f1": pytest.approx(0.8)}


def test_a_worked_answer_counts_by_what_follows_its_mark(tmp_path) -> None:
    row = {"question": "How many?", "answers": "Two and two is 4.\n#### 1,004"}
    task = over(tmp_path, "generative_qa", [row], answer_after="####", same="number")
    (item,) = items(task)
    assert task.extract("2+2 = 4\n#### 1004\nQuestion: next") == "1004"
    assert task.is_right(item, task.extract("I think\n#### $1004.00"))
    assert not task.is_right(item, task.extract("#### 1005"))
    assert not task.is_right(item, task.extract("no idea"))


def test_a_worked_answer_without_its_mark_or_number_is_a_bad_row(tmp_path) -> None:
    for answer, reason in (
        ("4", "holds no '####'"),
        ("#### four", "'four' is not a number"),
        ("#### 1,5", "'1,5' is not a number"),
        ("#### 1/2/2024", "'1/2/2024' is not a number"),
    ):
        row = {"question": "q", "answers": answer}
        with pytest.raises(DataError, match=reason):
            only(tmp_path, "generative_qa", row, answer_after="####", same="number")


def test_a_text_for_a_text_goes_into_the_template_of_training_and_asking(tmp_path) -> None:
    rows = [{"en": "Hi.", "zh": "嗨。"}, {"en": "No.", "zh": ["不。", "否。"]}]
    columns = {"source": "en", "target": "zh"}
    task = over(tmp_path, "text_to_text", rows, columns=columns, prompt="{source} =>")
    first, second = sorted(items(task), key=lambda item: item.prompt)
    assert put(task.template, second, shots=[first]) == "Hi. => 嗨。\n\nNo. => "
    assert second.references == ("否。",)


def test_writing_goes_on_to_all_lines_of_its_text(tmp_path) -> None:
    row = {"title": "T", "lines": ["one", "two"]}
    parameters = {"columns": {"target": "lines"}, "prompt": "{title}\n"}
    assert only(tmp_path, "generation", row, **parameters).target == "one\ntwo"


def test_each_turn_of_those_who_answer_is_asked_with_all_before_it(tmp_path) -> None:
    turns = [("user", "Hi."), ("assistant", "Hello."), ("user", "Bye."), ("assistant", "So long.")]
    row = {"turns": [{"role": who, "content": what} for who, what in turns]}
    found = sorted(items(over(tmp_path, "dialogue", [row])), key=lambda item: len(item.prompt))
    assert [(item.prompt, item.target) for item in found] == [
        ("User: Hi.\nAssistant:", "Hello."),
        ("User: Hi.\nAssistant: Hello.\nUser: Bye.\nAssistant:", "So long."),
    ]
    with pytest.raises(DataError, match="turn 0: expected `role` and `content`"):
        only(tmp_path, "dialogue", {"turns": [{"who": "user"}]})


def test_a_dialogue_is_wholly_learnt_or_wholly_tested(tmp_path) -> None:
    turns = [{"role": "assistant" if n % 2 else "user", "content": ""} for n in range(6)]
    rows = [
        {"turns": [{**turn, "content": f"{d} says {n}"} for n, turn in enumerate(turns)]}
        for d in range(60)
    ]
    task = over(tmp_path, "dialogue", rows, held_out=0.5)
    tested = {item.prompt.split()[1] for item in items(task)}
    learnt = {item.prompt.split()[1] for item in items(task, "train")}
    assert tested
    assert learnt
    assert not tested & learnt


def test_ranking_knows_which_candidates_are_relevant(tmp_path) -> None:
    row = {"history": ["a", "b"], "candidates": ["c", "d", "e"], "relevant": ["e", "c"]}
    item = only(tmp_path, "ranking", row)
    assert (item.prompt, item.choices, item.right) == ("a\nb\nNext:", ("c", "d", "e"), (0, 2))
    with pytest.raises(DataError, match="'x' is relevant but no candidate"):
        only(tmp_path, "ranking", {**row, "relevant": "x"})


def test_items_of_a_group_stand_for_a_history_and_what_comes_next(tmp_path) -> None:
    rows = [{"item": f"{group}{n}", "group": group} for n in range(4) for group in "abcdef"]
    task = over(tmp_path, "grouped_ranking", rows, history=2, candidates=5)
    found = {item.choices[item.right[0]][0]: item for item in items(task)}
    assert sorted(found) == list("abcdef")
    for group, item in found.items():
        assert item.prompt == f"{group}1\n{group}2\nNext:"
        assert item.choices[item.right[0]] == f"{group}3"
        assert sum(choice.startswith(group) for choice in item.choices) == 1
        assert len(set(item.choices)) == 5
    assert len({item.right for item in found.values()}) > 1  # the place tells nothing
    with pytest.raises(DataError, match="no 99 items of other groups"):
        items(over(tmp_path, "grouped_ranking", rows, candidates=100))


def test_chance_of_a_ranking_is_that_of_random_orders() -> None:
    draw = random.Random(0)
    places = [draw.sample(range(10), 10).index(0) + 1 for _ in range(40_000)]
    chance = random_order(10, 1)
    assert chance["mrr"] == pytest.approx(sum(1 / p for p in places) / len(places), abs=0.005)
    assert chance["recall@5"] == pytest.approx(sum(p <= 5 for p in places) / len(places), abs=0.01)


def test_chance_of_options_is_that_of_blind_guesses(tmp_path) -> None:
    rows = [
        {"question": str(n), "choices": list("abcde")[: 2 + n % 4], "answer": "a"}
        for n in range(200)
    ]
    task = over(tmp_path, "multiple_choice", rows)
    draw = random.Random(0)
    asked = items(task) * 200
    hits = sum(draw.randrange(len(item.choices)) in item.right for item in asked)
    assert task.chance["accuracy"] == pytest.approx(hits / len(asked), abs=0.01)
