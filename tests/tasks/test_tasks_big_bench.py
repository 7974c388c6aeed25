"""Task files of BIG-bench and BIG-Bench-Hard: how their questions are put and what is right."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from file_rows import items, make

from emergectl.errors import DataError, RequestError
from emergectl.tasks.task import TextTask, put

CHOICES = {
    "name": "colours",
    "metrics": ["multiple_choice_grade", "rouge"],
    "examples": [
        {"input": "The sky is", "target_scores": {"blue": 1, "red": 0, "green": 0}},
        {"input": "Grass is", "target_scores": {"green": 1.0, "olive": 1.0, "red": 0.0}},
    ],
}


def task(folder: Path, document: Any, **parameters: Any) -> TextTask:
    path = folder / "colours.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return make("bigbench", path=str(path), **parameters)


def test_choices_are_asked_as_the_formats_defaults_say(tmp_path) -> None:
    found = sorted(items(task(tmp_path, CHOICES)), key=lambda item: item.prompt)
    grass, sky = found
    assert sky.prompt.startswith("\nQ: The sky is\n  choice: ")
    assert sky.prompt.endswith("\nA: ")
    listed = sky.prompt.split("\n  choice: ")[1:]
    assert [choice.removesuffix("\nA: ") for choice in listed] == list(sky.choices)
    assert [sky.choices[n] for n in sky.right] == ["blue"]
    assert {grass.choices[n] for n in grass.right} == {"green", "olive"}
    assert dict(zip(grass.choices, grass.choice_scores, strict=True))["olive"] == 1.0


def test_a_file_says_itself_how_it_is_put(tmp_path) -> None:
    document = {
        **CHOICES,
        "task_prefix": "Colours.\n",
        "example_input_prefix": "In: ",
        "example_output_prefix": " Out: ",
        "append_choices_to_input": False,
        "few_shot_example_separator": "\n##\n",
        "stop_string": "##",
    }
    made = task(tmp_path, document, held_out=1.0)
    grass, sky = sorted(items(made), key=lambda item: item.prompt)
    text = put(made.template, sky, shots=[grass])
    shown = grass.choices[grass.right[0]]
    assert text == f"Colours.\nIn: Grass is Out: {shown}\n##\nIn: The sky is Out: "
    assert made.stop == ("##",)


def test_the_place_of_a_choice_tells_nothing(tmp_path) -> None:
    examples = [{"input": str(n), "target_scores": {"a": 1, "b": 0}} for n in range(200)]
    found = items(task(tmp_path, {"examples": examples}))
    assert 60 < sum(item.right == (0,) for item in found) < 140


def test_metrics_of_the_file_come_first_and_unknown_ones_are_told(tmp_path) -> None:
    made = task(tmp_path, CHOICES)
    assert made.metrics[0] == "accuracy"
    assert made.report["metrics_left_out"] == ["rouge"]
    assert (made.title, made.ask) == ("colours", "choice")


def test_targets_are_written_and_several_are_all_right(tmp_path) -> None:
    made = task(tmp_path, {"examples": [{"input": "2+2", "target": ["4", "four"]}]})
    (item,) = items(made)
    assert (made.ask, item.target, item.references) == ("generate", "4", ("four",))
    assert made.is_right(item, made.extract(" four\n"))
    assert not made.is_right(item, "5")


def test_bbhs_options_are_found_in_the_input(tmp_path) -> None:
    examples = [
        {"input": "Which?\nOptions:\n(A) x\n(B) y\n(C) z", "target": "(B)"},
        {"input": "Is it?\nOptions:\n- Yes\n- No", "target": "No"},
    ]
    found = items(task(tmp_path, {"canary": "…", "examples": examples}, ask_for="choice"))
    chosen = {item.choices: item.choices[item.right[0]] for item in found}
    assert chosen == {("(A)", "(B)", "(C)"): "(B)", ("Yes", "No"): "No"}


def test_bbhs_few_classes_are_the_targets_of_the_file(tmp_path) -> None:
    examples = [{"input": f"not {n}", "target": str(n % 2 == 0)} for n in range(10)]
    made = task(tmp_path, {"examples": examples}, ask_for="choice")
    assert {item.choices for item in items(made)} == {("False", "True")}
    guesses = random.Random(0)
    asked = items(made) * 2000
    right = sum(guesses.randrange(2) in item.right for item in asked)
    assert made.chance["accuracy"] == pytest.approx(right / len(asked), abs=0.02)


def test_many_targets_cannot_be_asked_as_choices(tmp_path) -> None:
    examples = [{"input": str(n), "target": str(n)} for n in range(30)]
    with pytest.raises(RequestError, match=r"30 different targets.*`ask_for: writing`"):
        items(task(tmp_path, {"examples": examples}, ask_for="choice"))


def test_a_chain_of_thought_prompt_stands_before_and_its_answer_is_found(tmp_path) -> None:
    (tmp_path / "cot.txt").write_text("CANARY\n-----\nSort.\n\nQ: b a\nA: The answer is a b.\n")
    document = {"examples": [{"input": "d c", "target": "c d"}]}
    shots = str(tmp_path / "cot.txt")
    made = task(tmp_path, document, shots_path=shots, answer_after="answer is")
    (item,) = items(made)
    text = put(made.template, item)
    assert text == "Sort.\n\nQ: b a\nA: The answer is a b.\n\nQ: d c\nA: "
    assert made.is_right(item, made.extract("Let us see. So the answer is c d."))


def test_shots_are_drawn_from_what_is_not_held_out(tmp_path) -> None:
    examples = [{"input": str(n), "target": str(n)} for n in range(50)]
    made = task(tmp_path, {"examples": examples}, held_out=0.5)
    learnt, tested = items(made, "train"), items(made)
    assert len(learnt) + len(tested) == 50
    assert not {item.id for item in learnt} & {item.id for item in tested}
    with pytest.raises(RequestError, match="with less, the others serve as shots"):
        items(task(tmp_path, {"examples": examples}), "train")


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("{", r"colours\.json:1: cut off: not JSON"),
        ("[]", "not a BIG-bench task: expected `examples`"),
        ({"examples": []}, "`examples` is empty"),
        ({"examples": [{"input": 3}]}, r"examples\[0\]: expected an object with `input`"),
        ({"examples": [{"input": "a"}]}, r"examples\[0\]: neither `target` nor `target_scores`"),
        ({"examples": [{"input": "a", "target": 4}]}, r"examples\[0\]: `target`: expected text"),
        (
            {"examples": [{"input": "a", "target_scores": {"x": "1", "y": 0}}]},
            r"examples\[0\]: `target_scores`: expected two or more",
        ),
        (
            {"examples": [{"input": "a", "target": "b"}], "task_prefix": 3},
            "`task_prefix`: expected",
        ),
    ],
)
def test_a_malformed_task_file_is_named_with_its_place(tmp_path, document, reason: str) -> None:
    made = task(tmp_path, document)
    with pytest.raises(DataError, match=reason):
        [put(made.template, item) for item in items(made)]


GOOD = [{"input": f"{n} + 1", "target": str(n + 1)} for n in range(4)]
BAD_EXAMPLES = {
    "no input": ({"target": "4"}, "expected an object with `input`, a text"),
    "no object": (["2+2", "4"], "expected an object with `input`, a text"),
    "null": (None, "expected an object with `input`, a text"),
    "no target": ({"input": "2+2"}, "neither `target` nor `target_scores`"),
    "a number as target": ({"input": "2+2", "target": 4}, "`target`: expected text"),
    "a score that is text": (
        {"input": "2+2", "target": "4", "target_scores": {"4": "1", "5": 0}},
        "`target_scores`: expected two or more choices",
    ),
}


@pytest.mark.parametrize("kind", BAD_EXAMPLES)
def test_a_bad_example_is_named_or_skipped_and_told(tmp_path, kind: str) -> None:
    example, reason = BAD_EXAMPLES[kind]
    document = {"examples": [*GOOD[:2], example, *GOOD[2:]]}
    with pytest.raises(DataError, match=r"examples\[2\]") as error:
        items(task(tmp_path, document))
    assert reason in str(error.value)
    assert "`bad_rows: skip`" in str(error.value)
    made = task(tmp_path, document, bad_rows="skip")
    assert {item.target for item in items(made)} == {"1", "2", "3", "4"}
    (note,) = made.notes
    assert note.startswith("colours: 1 of 5 rows skipped; the first: ")
    assert reason in note


def test_a_bad_example_does_not_change_how_the_others_are_asked(tmp_path) -> None:
    document = {**CHOICES, "examples": [*CHOICES["examples"], {"input": "Snow is"}, 7]}
    made = task(tmp_path, document, bad_rows="skip")
    assert made.ask == "choice"
    assert len(items(made)) == 2
    assert made.report["skipped"] == 2


def test_a_bad_example_among_the_options_is_skipped_alone(tmp_path) -> None:
    asked = "Which?\nOptions:\n(A) yes\n(B) no"
    examples = [{"input": asked, "target": t} for t in ("(A)", "(B)", "(C)")]
    made = task(tmp_path, {"examples": examples}, ask_for="choice", bad_rows="skip")
    (note,) = (note for note in made.notes if "skipped" in note)
    assert "1 of 3 rows skipped" in note
    assert "the target is none of the options (A), (B)" in note
    classes = [{"input": str(n), "target": t} for n, t in enumerate(["a", "b", 3])]
    made = task(tmp_path, {"examples": classes}, ask_for="choice", bad_rows="skip")
    assert [item.choices for item in items(made)] == [("a", "b")] * 2


def test_a_file_of_bad_examples_alone_is_refused(tmp_path) -> None:
    made = task(tmp_path, {"examples": [1, 2]}, bad_rows="skip")
    with pytest.raises(DataError, match="no usable example"):
        items(made)


def test_a_question_that_comes_again_keeps_both_answers_and_is_told(tmp_path) -> None:
    examples = [{"input": "2+2", "target": t} for t in ("4", "four", "4")]
    made = task(tmp_path, {"examples": examples})
    (item,) = items(made)
    assert (item.target, item.references) == ("4", ("four",))
    assert made.notes == (
        "colours: 2 test rows ask a question again: merged into one item, their answers as "
        "references",
    )


@pytest.mark.parametrize(
    ("published", "said"),
    [
        (4, "4 test items, as published"),
        ({"colours": 250, "other": 4}, "4 test items, where 250 are published"),
        ({"other": 4}, None),
    ],
)
def test_the_published_number_stands_beside_ours(tmp_path, published: Any, said: str) -> None:
    made = task(tmp_path, {"examples": GOOD}, published_items=published)
    assert list(made.notes) == ([] if said is None else [f"colours: {said}"])
