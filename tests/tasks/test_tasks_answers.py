"""Right answers, worked out from the text of the question alone, by other means."""

import re
import statistics
from collections.abc import Callable
from itertools import islice

import numpy as np
import pytest

from emergectl.tasks.arithmetic import Addition, ArithmeticTask, Multiplication, Subtraction
from emergectl.tasks.dyck import Dyck
from emergectl.tasks.hops import Hops
from emergectl.tasks.in_context import InContextLabels, InContextRegression
from emergectl.tasks.listops import ListOps
from emergectl.tasks.modular import Modular
from emergectl.tasks.parity import Parity, SparseParity
from emergectl.tasks.recall import Recall
from emergectl.tasks.repetition import Repetition
from emergectl.tasks.sorting import Sorting
from emergectl.tasks.task import Item, TextTask, answer_of
from emergectl.tasks.words import VOCABULARY, Letters, Unscramble


def items(task: TextTask, count: int = 500) -> list[Item]:
    return list(islice(task.items("train", seed=1), count))


def recall(prompt: str) -> str:
    told, asked = prompt.split(" ? ")
    words = told.split()
    return dict(zip(words[::2], words[1::2], strict=True))[asked]


def full_modular(prompt: str) -> str:
    """3 + 5 mod 113 = as Python."""
    sum_, modulus = prompt.rstrip(" =").split(" mod ")
    return str(eval(f"({sum_}) % {modulus}"))


def hops(prompt: str) -> str:
    *facts, question = prompt.split(" , ")
    leads = dict(fact.split(" > ") for fact in facts)
    here, far = question.removesuffix(" >").split(" + ")
    for _ in range(int(far)):
        here = leads[here]
    return here


def dyck(prompt: str) -> str:
    text = prompt.removesuffix(":")
    while text != (shorter := re.sub(r"\(\)|\[\]|\{\}|<>", "", text)):
        text = shorter
    return text[::-1].translate(str.maketrans("([{<", ")]}>"))


def listops(prompt: str) -> str:
    """As Python: [MAX 2 9 ] is MAX(2,9,)."""
    text = prompt.removesuffix("=")
    text = re.sub(r"\[(\w+)", r"\1(", text).replace("]", "),").replace("( ", "(")
    text = re.sub(r"(\d)", r"\1,", text)
    names = {
        "MAX": lambda *v: max(v),
        "MIN": lambda *v: min(v),
        "MED": lambda *v: int(np.median(v)),
        "SM": lambda *v: int(np.sum(v) % 10),
    }
    return str(eval(text, {"__builtins__": {}}, names)[0])


def regression(prompt: str) -> str:
    *points, asked = prompt.removesuffix("=").split("; ")
    xs = np.array([[int(x) for x in p.split("=")[0].split(",")] for p in points], float)
    ys = np.array([int(p.split("=")[1]) for p in points], float)
    weights, *_ = np.linalg.lstsq(xs, ys, rcond=None)
    return str(round(float(np.array([int(x) for x in asked.split(",")]) @ weights)))


def labels(members: int) -> Callable[[str], str]:
    def answer(prompt: str) -> str:
        *told, asked = prompt.removesuffix(" :").split(" , ")
        by_class = {int(t.split(" : ")[0][1:]) // members: t.split(" : ")[1] for t in told}
        return by_class[int(asked[1:]) // members]

    return answer


def letters(prompt: str) -> str:
    operation, text = prompt.removesuffix(":").split(" ", 1)
    if operation == "last":
        return "".join(re.findall(r"\w\b", text))
    return "".join(reversed(text)) if operation == "reverse" else "".join(sorted(text))


ANSWERS: list[tuple[TextTask, Callable[[str], str]]] = [
    (Addition(digits=4, min_digits=1), lambda p: str(eval(p.rstrip("=")))),
    (Subtraction(digits=4, min_digits=1), lambda p: str(eval(p.rstrip("=")))),
    (Multiplication(digits=4, min_digits=1), lambda p: str(eval(p.rstrip("=")))),
    (Addition(format="reversed"), lambda p: str(eval(p.rstrip("=")))[::-1]),
    (Modular(format="full"), full_modular),
    (Modular(modulus=20, operation="subtract"),
     lambda p: str((int(p.split()[0]) - int(p.split()[1])) % 20)),
    (Modular(modulus=12, operation="multiply"),
     lambda p: str(int(p.split()[0]) * int(p.split()[1]) % 12)),
    (Repetition(times=3), lambda p: p.rstrip(":") * 3),
    (Recall(pairs=20, min_pairs=1), recall),
    (Hops(hops=7, min_hops=1), hops),
    (Parity(length=12, min_length=1), lambda p: str(p.count("1") % 2)),
    (Dyck(depth=6, min_depth=1, kinds=4), dyck),
    (Sorting(), lambda p: " ".join(sorted(p.rstrip(" =").split(), key=int))),
    (ListOps(depth=4, min_depth=1), listops),
    (Letters(), letters),
    (Letters(operation="sort"), letters),
    (Letters(operation="last", length=3), letters),
    (InContextRegression(dimensions=3, points=5), regression),
    (InContextLabels(classes=6, members=7, shown=2), labels(7)),
]  # fmt: skip


@pytest.mark.parametrize(("task", "answer"), ANSWERS, ids=[repr(task) for task, _ in ANSWERS])
def test_the_answer_is_what_another_way_of_working_it_out_gives(
    task: TextTask, answer: Callable[[str], str]
) -> None:
    for item in items(task):
        assert answer_of(item) == answer(item.prompt), item


def test_dividing_gives_back_what_was_multiplied() -> None:
    for item in items(Modular(modulus=30, operation="divide")):
        a, b = map(int, item.prompt.split()[:2])
        assert int(answer_of(item)) * b % 30 == a


def test_sparse_parity_looks_at_the_bits_of_its_subtask_and_at_no_others() -> None:
    task = SparseParity(subtasks=6, bits=12, subset=3)
    assert len({tuple(subset) for subset in task.subsets}) > 1
    for item in items(task):
        name, *bits, _ = item.prompt.split()
        looked_at = [int(bits[place]) for place in task.subsets[int(name[1:]) - 1]]
        assert answer_of(item) == str(sum(looked_at) % 2)


def test_subtasks_come_up_by_the_stated_power_law() -> None:
    task = SparseParity(subtasks=50, alpha=0.4)
    found = np.bincount([int(i.facts["subtask"]) - 1 for i in items(task, 8_000)], minlength=50)
    wanted = np.array([number**-1.4 for number in range(1, 51)])
    wanted /= wanted.sum()
    assert task.frequencies == pytest.approx(wanted)
    deviation = np.sqrt(8_000 * wanted * (1 - wanted))
    assert (np.abs(found - 8_000 * wanted) < 4.5 * deviation).all()


@pytest.mark.parametrize("task", [Unscramble(), Unscramble(length=4)])
def test_scrambled_letters_make_one_word_of_the_list_and_are_not_it(task: Unscramble) -> None:
    made_of = {"".join(sorted(word)): word for word in VOCABULARY}
    assert len(made_of) == len(VOCABULARY)
    for item in items(task):
        letters_given = item.prompt.rstrip(":")
        assert made_of["".join(sorted(letters_given))] == item.target != letters_given


@pytest.mark.parametrize("kind", [Addition, Subtraction, Multiplication])
def test_every_step_of_a_scratchpad_is_true_and_the_last_is_the_answer(
    kind: type[ArithmeticTask],
) -> None:
    task = kind(digits=5, min_digits=1, format="scratchpad")
    for item in items(task):
        *steps, answer = answer_of(item).split(";")
        for step in steps:
            left, right = step.split("=")
            assert eval(left) == int(right)
        assert int(answer) == eval(item.prompt.rstrip("="))
        assert task.is_right(item, task.extract(answer_of(item)))
        assert task.is_right(item, answer)
        assert not task.is_right(item, answer + "0")


def carries_by_hand(a: str, b: str) -> tuple[int, int]:
    """How many carries, and the longest run of them, from sums of the numbers' tails."""
    carried = [int(a[-place:]) + int(b[-place:]) >= 10**place for place in range(1, len(a) + 1)]
    runs = [len(run) for run in "".join("x" if c else " " for c in carried).split()]
    return sum(carried), max(runs, default=0)


def test_carries_and_the_chain_they_make_are_those_of_the_sum() -> None:
    for item in items(Addition(digits=6, min_digits=1)):
        a, b = item.id.split("+")
        carries, longest = carries_by_hand(a, b)
        assert item.facts["carries"] == carries
        assert item.facts["steps"] == longest + 1
        assert item.facts["operations"] == len(a) == item.facts["digits"]


def test_borrows_are_the_places_whose_tail_is_too_small() -> None:
    for item in items(Subtraction(digits=6, min_digits=1)):
        a, b = item.id.split("-")
        borrows = sum(int(a[-place:]) < int(b[-place:]) for place in range(1, len(a) + 1))
        assert item.facts["borrows"] == borrows


def test_reversing_the_digits_frees_an_adder_from_holding_the_sum() -> None:
    plain, reverse = items(Addition())[0], items(Addition(format="reversed"))[0]
    assert (plain.facts["memory"], reverse.facts["memory"]) == (4, 1)


def test_listops_is_nested_as_deep_as_it_says_and_no_longer_than_it_may() -> None:
    for item in items(ListOps(depth=5, min_depth=2, longest=80)):
        depth = deepest = 0
        for word in item.prompt.split():
            depth += word.startswith("[") - (word == "]")
            deepest = max(deepest, depth)
        assert deepest == item.facts["depth"] == item.facts["steps"]
        assert item.facts["length"] == len(item.prompt.split()) - 1 <= 80
        digits = re.findall(r"\d", item.prompt)
        assert item.facts["operations"] == len(digits) - 1


def test_the_median_of_an_even_number_of_digits_is_rounded_down_as_in_the_paper() -> None:
    halves = [i for i in items(ListOps(depth=1, arguments=4), 4000) if i.prompt.startswith("[MED")]
    odd = 0
    for item in halves:
        middle = statistics.median(int(d) for d in re.findall(r"\d", item.prompt))
        odd += middle != int(middle)
        assert answer_of(item) == str(int(middle))
    assert odd


def test_every_shape_of_brackets_is_as_likely_as_any_other() -> None:
    task = Dyck(depth=1, pairs=3, kinds=1)
    made = [item.prompt for item in task.make(np.random.default_rng(0), 7000)]
    # Paths of 4 steps up and 3 down that never fall below 0: 7! / (4! · 3!) − 7! / (5! · 2!).
    assert len(set(made)) == 35 - 21
    share = 1 / 14
    for shape in set(made):
        found = made.count(shape) / len(made)
        assert abs(found - share) < 4.5 * (share * (1 - share) / len(made)) ** 0.5


def test_the_nesting_of_brackets_is_the_stack_they_need() -> None:
    for item in items(Dyck(depth=3, pairs=8)):
        depth = deepest = 0
        for bracket in item.prompt.rstrip(":"):
            depth += 1 if bracket in "([{<" else -1
            deepest = max(deepest, depth)
        assert item.facts["nesting"] == item.facts["memory"] == deepest
        assert depth == item.facts["depth"] == 3


def test_points_shown_determine_the_function() -> None:
    for item in items(InContextRegression(dimensions=2, points=2, argument=1)):
        points = [p.split("=")[0].split(",") for p in item.prompt.split("; ")[:-1]]
        assert np.linalg.matrix_rank(np.array(points, int)) == 2


def test_a_modular_table_is_split_whole_and_smaller_shares_are_parts_of_larger_ones() -> None:
    def pairs(share: float, split: str) -> list[str]:
        return [i.id for i in Modular(modulus=31, train_fraction=share).items(split, seed=0)]  # type: ignore[arg-type]

    small, large = pairs(0.3, "train"), pairs(0.8, "train")
    assert len(small) == round(0.3 * 31 * 31)
    assert small == large[: len(small)]
    assert len({*large, *pairs(0.8, "test")}) == 31 * 31
    other = Modular(modulus=31, train_fraction=0.3, split_seed=1)
    assert [i.id for i in other.items("train", seed=0)] != small
