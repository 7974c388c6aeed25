"""What needs no ability, against simulations and counts that are made here by other means."""

from itertools import islice
from typing import Any

import numpy as np
import pytest
from file_rows import items, make, write_rows

from emergectl.tasks.catalog import task_classes
from emergectl.tasks.copying import Copying
from emergectl.tasks.shortcuts import (
    BY_POSITION,
    COPYING,
    LONGEST,
    MOST_FREQUENT,
    SHORTEST,
    Bounds,
    bounds_by_group,
    bounds_of,
    bounds_of_items,
    most_frequent,
)
from emergectl.tasks.synthetic import MadeTask
from emergectl.tasks.task import Item, TextTask

DRAWS = 200_000


def scores(task: TextTask, count: int = 2000, metric: str = "exact_match") -> dict[str, float]:
    some = list(islice(task.items("test", seed=0), count))
    return dict(bounds_of(task, some).shortcuts[metric])


def near(share: float, count: int = 2000) -> Any:
    """Within four standard errors of a share of so many items."""
    return pytest.approx(share, abs=4 * np.sqrt(max(share * (1 - share), 1e-3) / count))


def test_naming_the_most_frequent_listed_value_scores_a_third_of_recall_with_four_pairs() -> None:
    rng = np.random.default_rng(1)
    listed = rng.integers(0, 16, size=(DRAWS, 4))
    times = (listed[:, :, None] == np.arange(16)).sum(axis=1)  # [draws, values]
    expected = times.max(axis=1).mean() / 4  # any of the keys is asked for
    assert expected == pytest.approx(0.338, abs=0.002)
    task = make("recall", pairs=4, values=16, test_items=2000)
    found = scores(task, 2000)
    assert found["naming the most frequent listed value"] == near(expected)
    assert found["naming any listed value"] == near(1 / 4 + 3 / 4 / 16)
    assert found["naming the last listed value"] == near(1 / 4 + 3 / 4 / 16)
    some = list(islice(task.items("test", seed=0), 2000))
    score, name = bounds_of(task, some).best("exact_match")
    assert name == "naming the most frequent listed value"
    assert score == near(expected)
    assert task.chance == {"exact_match": 1 / 16}


def test_recall_counts_the_values_of_longer_lists_too() -> None:
    rng = np.random.default_rng(2)
    sizes = rng.integers(2, 7, size=DRAWS)
    listed = rng.integers(0, 8, size=(DRAWS, 6))
    there = np.arange(6) < sizes[:, None]
    times = ((listed[:, :, None] == np.arange(8)) & there[:, :, None]).sum(axis=1)
    expected = (times.max(axis=1) / sizes).mean()
    found = scores(make("recall", pairs=6, min_pairs=2, values=8, test_items=2000))
    assert found["naming the most frequent listed value"] == near(expected)


def test_a_group_has_the_shortcuts_of_its_own_items() -> None:
    task = make("recall", pairs=8, min_pairs=1, values=64, test_items=2000)
    some = list(task.items("test", seed=0))
    found = bounds_by_group(task, some, [item.facts for item in some], ["pairs"])
    assert found["pairs", 1].best("exact_match")[0] == 1.0  # the only value is the one
    assert found["pairs", 8].best("exact_match")[0] < found["pairs", 2].best("exact_match")[0] < 1
    assert found[None] == bounds_of(task, some)


def test_no_hop_leads_back_so_one_entity_fewer_is_guessed_among() -> None:
    found = scores(make("hops", entities=5, hops=3, min_hops=1), 1000)
    assert found["naming any entity but the one asked about"] == pytest.approx(1 / 4)


def test_listops_by_the_digits_alone_agrees_with_a_reading_of_the_text() -> None:
    some = list(islice(make("listops").items("test", seed=0), 1000))
    right = {"max": 0, "min": 0}
    for item in some:
        digits = [int(sign) for sign in item.prompt if sign.isdigit()]
        right["max"] += str(max(digits)) == item.target
        right["min"] += str(min(digits)) == item.target
    found = scores(make("listops"), 1000)
    assert found["naming the largest digit shown"] == pytest.approx(right["max"] / 1000)
    assert found["naming the smallest digit shown"] == pytest.approx(right["min"] / 1000)


def test_points_of_a_function_give_its_values_away() -> None:
    rng = np.random.default_rng(3)
    weights = rng.integers(-3, 4, size=(DRAWS, 1))
    # Of one argument, 0 as the only point would not determine the function.
    shown = rng.choice([n for n in range(-5, 6) if n], size=(DRAWS, 1))
    asked = rng.integers(-5, 6, size=(DRAWS, 1))
    expected = (weights * shown == weights * asked).mean()
    task = make("in_context_regression", dimensions=1, points=1, test_items=300)
    found = scores(task, 300)
    assert found["naming the value shown last"] == near(expected, 300)


def test_a_constant_product_is_right_as_often_as_it_comes() -> None:
    task = make("modular", modulus=31, operation="multiply")
    targets = [int(item.target or 0) for item in task.items("test", seed=0)]
    found = scores(task, len(targets))
    assert found[MOST_FREQUENT] == np.bincount(targets).max() / len(targets)
    assert found[MOST_FREQUENT] == targets.count(0) / len(targets) > 1.5 / 31


@pytest.mark.parametrize("format_", ["plain", "reversed"])
def test_a_number_of_the_question_is_written_as_answers_are(format_: str) -> None:
    task = make("subtraction", digits=2, format=format_)
    some = list(islice(task.items("test", seed=0), 1000))
    pairs = [tuple(map(int, item.prompt.rstrip("=").split("-"))) for item in some]
    twice = sum(a == 2 * b for a, b in pairs)  # then a − b is b
    assert scores(task, 1000)["writing the second number"] == pytest.approx(twice / len(some))
    assert twice


def test_a_token_read_before_is_often_the_next_one_in_copying() -> None:
    task = Copying(vocab_size=16, segment=6, repeats=2, length=20)
    batch = task.sequences(np.random.default_rng(9), 20_000)
    equal = batch.tokens[:, :, None] == batch.tokens[:, None, :]
    before = np.tril(np.ones((20, 20), bool), -1)
    share = (equal & before).sum(axis=2) / np.maximum(np.arange(20), 1)
    assert task.shortcuts["naming any token read before"] == pytest.approx(
        share[batch.scored].mean(), abs=0.01
    )
    assert task.shortcuts["naming the token most often read before"] > task.chance * 1.5


MADE = {name: found for name, found in task_classes().items() if issubclass(found, MadeTask)}


@pytest.mark.parametrize("name", sorted(MADE))
def test_every_task_that_makes_its_items_states_what_the_most_frequent_answer_scores(
    name: str,
) -> None:
    task = MADE[name]()
    some = list(islice(task.items("test", seed=0), 200))
    bounds = bounds_of(task, some)
    targets = [item.target for item in some]
    assert set(bounds.shortcuts) >= {m for m in task.metrics if m in ("accuracy", "exact_match")}
    for metric in bounds.shortcuts:
        most = max(targets.count(one) for one in set(targets)) / len(some)
        assert bounds.shortcuts[metric][MOST_FREQUENT] == pytest.approx(most)
        assert bounds.ceiling[metric] == 1
        assert bounds.best(metric)[0] >= most


def test_choices_are_taken_by_position_and_by_length() -> None:
    some = [
        Item("1", "?", choices=("a", "bb", "ccc"), right=(2,)),
        Item("2", "?", choices=("aa", "b"), right=(1,)),
        Item("3", "?", choices=("x", "yy", "zz"), right=(2,)),
        Item("4", "?", choices=("long", "s", "t"), right=(0,)),
    ]
    found = bounds_of_items(some, ask="choice").shortcuts["accuracy"]
    assert found[BY_POSITION] == 3 / 4  # the last one, of items with two choices too
    assert found[LONGEST] == (1 + 0 + 1 / 2 + 1) / 4  # two are longest in the third
    assert found[SHORTEST] == 1 / 4
    # `ccc` (or another, each is right once) where it is a choice; else one guesses.
    assert found[MOST_FREQUENT] == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 3) / 4)


def test_the_length_of_options_is_that_of_their_texts_where_letters_are_asked_for(tmp_path) -> None:
    rows = [
        {"question": "A. or B.?", "choices": ["no", "a longer one"], "answer": "a longer one"},
        {"question": "Which?", "choices": ["it is this", "that", "or"], "answer": "or"},
    ]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    task = make("multiple_choice", path=path, held_out=1.0)
    found = bounds_of(task, items(task)).shortcuts["accuracy"]
    assert (found[LONGEST], found[SHORTEST]) == (1 / 2, 1 / 2)
    one = bounds_of(task, [next(i for i in items(task) if "Which" in i.prompt)])
    assert one.shortcuts["accuracy"][LONGEST] == 0
    assert one.shortcuts["accuracy"][SHORTEST] == 1


def test_the_majority_class_is_that_of_the_items_asked(tmp_path) -> None:
    # A model that always says `b` is right so often, whatever it has learnt from.
    learnt = [{"text": f"l{n}", "label": "a" if n % 3 else "b"} for n in range(30)]
    tested = [{"text": f"t{n}", "label": "b" if n % 5 else "a"} for n in range(20)]
    task = make(
        "classification",
        path=write_rows(tmp_path / "learnt.jsonl", learnt),
        test_path=write_rows(tmp_path / "tested.jsonl", tested),
    )
    assert bounds_of(task, items(task)).best("accuracy") == (16 / 20, MOST_FREQUENT)


def test_of_balanced_classes_no_shortcut_is_above_chance(tmp_path) -> None:
    rows = [{"text": f"t{n}", "label": "ab"[n % 2]} for n in range(20)]
    path = write_rows(tmp_path / "t.jsonl", rows)
    task = make("classification", path=path, held_out=1.0, choices=["a", "b"])
    assert bounds_of(task, items(task)).best("accuracy")[0] == task.chance["accuracy"] == 0.5


def test_each_of_several_labels_is_answered_by_what_is_usual_of_it(tmp_path) -> None:
    learnt = [{"text": f"l{n}", "labels": ["x"] + ["y"] * (n == 0)} for n in range(9)]
    tested = [{"text": f"t{n}", "labels": ["x"] * (n > 0)} for n in range(4)]
    task = make(
        "multilabel",
        path=write_rows(tmp_path / "learnt.jsonl", learnt),
        test_path=write_rows(tmp_path / "tested.jsonl", tested),
    )
    found = bounds_of(task, items(task)).shortcuts["accuracy"]
    assert found["answering what is usual of the label"] == (3 + 4) / 8


def test_a_source_is_copied_without_the_prompt_around_it(tmp_path) -> None:
    rows = [{"source": f"s{n}", "target": f"s{n}" if n < 3 else f"t{n}"} for n in range(10)]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    task = make("text_to_text", path=path, held_out=1.0, prompt="Simply: {source}\n=>")
    assert bounds_of(task, items(task)).shortcuts["exact_match"][COPYING] == 3 / 10


def test_the_most_popular_candidate_is_counted_in_the_rows_to_learn_from(tmp_path) -> None:
    row = {"history": ["h"], "candidates": ["a", "b", "c"]}
    learnt = [{**row, "history": [f"l{n}"], "relevant": "b" if n else "a"} for n in range(5)]
    tested = [{**row, "history": [f"t{n}"], "relevant": "b" if n else "c"} for n in range(4)]
    task = make(
        "ranking",
        path=write_rows(tmp_path / "learnt.jsonl", learnt),
        test_path=write_rows(tmp_path / "tested.jsonl", tested),
    )
    found = bounds_of(task, items(task)).shortcuts
    assert set(found) == {"recall@1"}
    assert found["recall@1"]["naming the most popular candidate"] == 3 / 4


def test_a_written_answer_is_judged_as_the_task_judges_it(tmp_path) -> None:
    rows = [{"question": f"{n}?", "answers": f"so it is #### {n % 2}.0"} for n in range(10)]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    task = make("generative_qa", path=path, held_out=1.0, answer_after="####", same="number")
    assert bounds_of(task, items(task)).shortcuts["exact_match"][MOST_FREQUENT] == 5 / 10
    # In training an answer is right as it stands, the way to it included.
    learnt = bounds_of(task, items(task), as_learnt=True).shortcuts["exact_match"]
    assert learnt[MOST_FREQUENT] == 5 / 10


def test_questions_that_contradict_themselves_lower_the_ceiling() -> None:
    some = [Item(str(n), "same?", target="yes" if n < 7 else "no") for n in range(10)]
    assert bounds_of_items(some, ask="target").ceiling == {"exact_match": 0.7}
    other = [Item(str(n), f"{n}?", target="yes") for n in range(10)]
    assert bounds_of_items([*some, *other], ask="target").ceiling == {"exact_match": 17 / 20}


def test_items_without_a_right_answer_count_in_nothing() -> None:
    assert bounds_of_items([Item("1", "?")], ask="target") == Bounds()
    some = [Item("1", "?"), Item("2", "which", target="which")]
    assert bounds_of_items(some, ask="target").shortcuts["exact_match"][COPYING] == 1


def test_all_that_come_most_often_are_named() -> None:
    assert most_frequent(["b", "a", "b", "a", "c"]) == ("b", "a")


def test_of_several_relevant_candidates_one_stands_first() -> None:
    some = [
        Item("1", "?", choices=("a", "b", "c"), right=(0, 1)),
        Item("2", "?", choices=("a", "b", "c"), right=(2,)),
    ]
    found = bounds_of_items(some, ask="rank")
    assert found.ceiling == {"recall@1": 0.75}  # half of the first, all of the second
    assert found.best("recall@1")[0] <= 0.75


def test_parity_by_one_bit_is_a_coin_but_for_rows_of_one_bit() -> None:
    assert scores(make("parity", length=16), 1000)["naming the last bit"] == near(0.5, 1000)
    of_one = [Item(bit, f"{bit}=", target=bit) for bit in "0110"]
    assert bounds_of(make("parity", length=1), of_one).best("exact_match") == (
        1,
        "naming the last bit",
    )


def test_dyck_by_one_kind_alone_lies_between_blind_guessing_and_knowing_one_bracket() -> None:
    task = make("dyck", depth=3, kinds=2, pairs=2, test_items=1000)
    some = list(task.items("test", seed=0))
    partner = {"(": ")", "[": "]"}
    right = 0
    for item in some:  # by hand: is everything that is still open of the kind opened last?
        stack: list[str] = []
        for sign in item.prompt.rstrip(":"):
            if sign in partner:
                stack.append(sign)
            else:
                stack.pop()
        opened = [sign for sign in item.prompt if sign in partner]
        right += set(stack) == {opened[-1]}
    found = scores(task, 1000)["closing only the kind that was opened last"]
    assert found == right / len(some)
    assert 1 / 8 < found <= 1 / 4


def test_guessing_by_position_is_the_share_of_the_best_position() -> None:
    rng = np.random.default_rng(5)
    right = rng.choice(4, size=300, p=[0.1, 0.2, 0.45, 0.25])
    some = [
        Item(str(n), f"{n}?", choices=tuple(f"{n}{c}" for c in "wxyz"), right=(int(place),))
        for n, place in enumerate(right)
    ]
    found = bounds_of_items(some, ask="choice")
    expected = np.bincount(right).max() / 300
    assert found.shortcuts["accuracy"][BY_POSITION] == pytest.approx(expected)
    assert found.best("accuracy") == (pytest.approx(expected), BY_POSITION)
