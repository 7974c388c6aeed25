"""What holds for every task of the catalog that makes its items: splits, seeds, words, chance."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import emergectl.tasks
from emergectl.config.schema import TaskAsked
from emergectl.errors import ExperimentError, RequestError
from emergectl.tasks import catalog
from emergectl.tasks.arithmetic import Addition
from emergectl.tasks.catalog import make_task, task_class, task_classes
from emergectl.tasks.learning.text_feeds import test_rows as rows_to_ask
from emergectl.tasks.learning.vocabulary import tasks_tokenizer
from emergectl.tasks.modular import Modular
from emergectl.tasks.synthetic import BLOCK_ITEMS, MadeTask
from emergectl.tasks.task import Item, TextTask, answer_of, put

WORK = {"operations", "steps", "memory"}
# Beside the defaults of every task: other formats, ranges of a knob, and very few questions.
VARIANTS: list[tuple[str, dict[str, object]]] = [
    ("addition", {"digits": 1}),
    ("addition", {"digits": 4, "min_digits": 1, "format": "reversed"}),
    ("subtraction", {"digits": 3, "min_digits": 2, "format": "scratchpad"}),
    ("multiplication", {"digits": 2, "format": "scratchpad"}),
    ("modular", {"modulus": 12, "operation": "divide", "format": "full"}),
    ("modular", {"modulus": 7, "operation": "multiply", "split_seed": 3}),
    ("dyck", {"depth": 5, "min_depth": 2, "kinds": 4, "pairs": 0}),
    ("hops", {"hops": 5, "min_hops": 1, "entities": 6}),
    ("in_context_labels", {"classes": 2, "members": 5, "shown": 3}),
    ("in_context_regression", {"dimensions": 3, "points": 3, "argument": 1}),
    ("letters", {"operation": "last", "length": 4, "min_length": 2}),
    ("letters", {"operation": "sort"}),
    ("listops", {"depth": 4, "min_depth": 1, "arguments": 2}),
    ("parity", {"length": 8, "min_length": 5}),
    ("recall", {"pairs": 5, "min_pairs": 2, "keys": 5, "values": 3}),
    ("repetition", {"length": 4, "min_length": 3, "letters": 3, "times": 2}),
    ("sorting", {"length": 5, "min_length": 2, "numbers": 9}),
    ("sparse_parity", {"subtasks": 5, "bits": 10, "subset": 4, "subsets_seed": 2}),
    ("unscramble", {"length": 5}),
]
# Enough to look at; where there are fewer questions, finding that out takes longer.
FEW = {"test_items": 100}
CASES: list[tuple[str, dict[str, object]]] = [
    (name, {})
    for name, found in sorted(task_classes().items())
    if issubclass(found, MadeTask | Modular)
] + VARIANTS
every_task = pytest.mark.parametrize(
    ("name", "params"), CASES, ids=[f"{name}-{params}" for name, params in CASES]
)


def task_of(name: str, params: dict[str, object]) -> TextTask:
    few = {} if name == "modular" else FEW
    task = make_task(TaskAsked.model_validate({"task": name, **few, **params}), key="")
    assert isinstance(task, TextTask)
    return task


def some(task: TextTask, split: str, *, seed: int = 0, count: int = 400) -> list[Item]:
    return list(islice(task.items(split, seed=seed), count))  # type: ignore[arg-type]


@every_task
def test_no_item_is_both_trained_on_and_asked_whatever_the_seeds(
    name: str, params: dict[str, object]
) -> None:
    task = task_of(name, params)
    trained = {item.id for seed in (0, 5) for item in some(task, "train", seed=seed, count=800)}
    asked = {item.id for seed in (0, 2) for item in some(task, "test", seed=seed)}
    assert trained
    assert asked
    assert not trained & asked


@every_task
def test_the_same_seed_gives_the_same_items(name: str, params: dict[str, object]) -> None:
    for split in ("train", "test"):
        once, again = (some(task_of(name, params), split, seed=4, count=150) for _ in range(2))
        assert once == again
    if name != "modular":  # whose table is split once and for all
        assert some(task_of(name, params), "train", seed=5) != some(
            task_of(name, params), "train", seed=4
        )


@every_task
def test_equal_questions_have_equal_ids_and_one_answer(
    name: str, params: dict[str, object]
) -> None:
    task = task_of(name, params)
    known: dict[str, Item] = {}
    for item in some(task, "train", count=800) + some(task, "test"):
        assert known.setdefault(item.prompt, item) == item
    assert len({item.id for item in known.values()}) == len(known)


@every_task
def test_the_tests_items_are_distinct(name: str, params: dict[str, object]) -> None:
    ids = [item.id for item in some(task_of(name, params), "test", count=1000)]
    assert len(set(ids)) == len(ids)


@every_task
def test_the_least_work_stands_among_the_facts_of_every_item(
    name: str, params: dict[str, object]
) -> None:
    task = task_of(name, params)
    assert task.least_work
    for item in some(task, "test"):
        assert item.facts.keys() > WORK
        operations, steps, memory = (
            int(item.facts[key]) for key in ("operations", "steps", "memory")
        )
        assert operations >= 0 <= steps
        assert memory > 0


@every_task
def test_the_tasks_own_tokenizer_can_write_all_of_it(name: str, params: dict[str, object]) -> None:
    task = task_of(name, params)
    tokenizer = tasks_tokenizer(_experiment(), [task])
    rows = rows_to_ask(task, tokenizer, label=name, apart=False)
    assert rows.unknown.unknown == 0
    for item, (ids, border) in zip(some(task, "test", count=50), rows.encoded, strict=False):
        text = put(task.template, item) + answer_of(item)
        if task.vocabulary is not None:
            assert len(ids) - task.ends == len(text.split())
            assert len(ids) - task.ends - border == len(answer_of(item).split())
        else:
            assert len(ids) - task.ends == len(text)
            assert len(ids) - task.ends - border == len(answer_of(item))


def _experiment() -> object:
    from emergectl.config.schema import Experiment

    return Experiment.model_validate({"data": {"train": {"task": "addition"}}})


@pytest.mark.parametrize("name", ["addition", "sorting", "listops"])
def test_as_many_examples_as_are_asked_for_are_distinct_and_a_part_of_more(name: str) -> None:
    few = some(task_of(name, {"examples": 300}), "train", seed=9, count=10_000)
    more = some(task_of(name, {"examples": 900}), "train", seed=9, count=10_000)
    assert (len(few), len(more)) == (300, 900)
    assert len({item.id for item in more}) == 900
    assert few == more[:300]


def test_more_examples_than_there_are_items_are_refused_with_their_number() -> None:
    # 100 pairs of digits, of which those that the hash holds out are not to be had.
    held_out = len(some(Addition(digits=1), "test"))
    with pytest.raises(RequestError, match=f"has {100 - held_out} different items .* not .*1000"):
        some(task_of("addition", {"digits": 1, "examples": 1000}), "train", count=1000)


def test_a_tenth_of_all_questions_is_held_out() -> None:
    task = Addition(digits=2)
    pairs = [f"{a}+{b}" for a in range(10, 100) for b in range(10, 100)]
    share = sum(task.is_held_out(pair) for pair in pairs) / len(pairs)
    assert abs(share - 0.1) < 4 * (0.1 * 0.9 / len(pairs)) ** 0.5


def test_the_format_of_an_answer_does_not_change_what_is_held_out() -> None:
    plain, reverse = (Addition(format=kind) for kind in ("plain", "reversed"))  # type: ignore[arg-type]
    assert [item.id for item in some(plain, "test")] == [item.id for item in some(reverse, "test")]


def test_a_block_of_the_stream_is_made_without_those_before_it() -> None:
    stream = some(Addition(), "train", seed=3, count=5 * BLOCK_ITEMS)
    assert Addition().block("train", seed=3, number=4) == stream[4 * BLOCK_ITEMS :]


@pytest.mark.parametrize(
    ("name", "params", "key", "message"),
    [
        ("addition", {"digits": 2, "min_digits": 3}, "task", "`min_digits` is larger"),
        ("hops", {"hops": 8, "entities": 8}, "task", "need more `entities`"),
        ("recall", {"pairs": 9, "keys": 8}, "task", "need as many `keys`"),
        ("listops", {"depth": 20}, "task", "`longest` has to be at least 160"),
        ("sorting", {"numbers": 5}, "task", "need as many `numbers`"),
        ("sparse_parity", {"bits": 2}, "task", "does not fit into 2 `bits`"),
        ("in_context_labels", {"shown": 8}, "task", "leave none to ask"),
        ("in_context_regression", {"points": 1}, "task", "do not determine"),
        ("modular", {"operation": "power"}, "operation", "'add', 'subtract'"),
        ("dyck", {"kinds": 5}, "kinds", "less than or equal to 4"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(
    name: str, params: dict[str, object], key: str, message: str
) -> None:
    with pytest.raises(ExperimentError, match=message) as refused:
        task_of(name, params)
    assert refused.value.key.endswith(key)


def test_looking_at_the_catalog_imports_nothing_heavy() -> None:
    code = (
        "import sys; from emergectl.tasks.catalog import task_classes; task_classes();"
        "print([m for m in ('torch', 'transformers', 'datasets', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Blind guessing: knowing the task and its parameters, not the question. Each guesser is written
# from what the task says of its answers, and hits as often as the stated chance.
LETTERS = "abcdefghijklmnopqrstuvwxyz"
BLIND: list[tuple[str, dict[str, object], str, object]] = [
    ("addition", {"digits": 1}, "exact_match", lambda r: str(r.integers(0, 19))),
    ("subtraction", {"digits": 1}, "exact_match", lambda r: str(r.integers(0, 10))),
    ("multiplication", {"digits": 1}, "exact_match", lambda r: str(r.integers(0, 82))),
    ("modular", {"modulus": 23}, "exact_match", lambda r: str(r.integers(0, 23))),
    ("repetition", {"length": 2, "letters": 4}, "exact_match",
     lambda r: "".join(r.choice(list("abcd"), 2))),
    ("recall", {"values": 16}, "exact_match", lambda r: f"v{r.integers(0, 16)}"),
    ("hops", {"entities": 9}, "exact_match", lambda r: r.choice(list("abcdefghi"))),
    ("parity", {}, "exact_match", lambda r: str(r.integers(0, 2))),
    ("sparse_parity", {}, "exact_match", lambda r: str(r.integers(0, 2))),
    ("dyck", {"depth": 3, "kinds": 2}, "exact_match", lambda r: "".join(r.choice(list(")]"), 3))),
    ("sorting", {"length": 2, "numbers": 6}, "exact_match",
     lambda r: " ".join(map(str, sorted(r.permutation(6)[:2].tolist())))),
    ("listops", {}, "exact_match", lambda r: str(r.integers(0, 10))),
    ("letters", {"length": 1}, "exact_match", lambda r: r.choice(list(LETTERS))),
    ("in_context_regression", {"argument": 2, "coefficient": 2}, "exact_match",
     lambda r: str(r.integers(-8, 9))),
    ("in_context_labels", {"classes": 5}, "accuracy", lambda r: r.choice(list("ABCDE"))),
]  # fmt: skip


@pytest.mark.parametrize(("name", "params", "metric", "guess"), BLIND, ids=[b[0] for b in BLIND])
def test_blind_guessing_is_right_as_often_as_the_task_says(
    name: str, params: dict[str, object], metric: str, guess: object
) -> None:
    task = task_of(name, params)
    chance = task.chance[metric]
    rng = np.random.default_rng(0)
    items = some(task, "train", count=1000)
    guesses = 8_000
    hits = sum(
        task.is_right(items[number % len(items)], guess(rng))  # type: ignore[operator]
        for number in range(guesses)
    )
    assert abs(hits / guesses - chance) < 4 * (chance * (1 - chance) / guesses) ** 0.5


def test_chance_counts_the_answers_of_every_size_of_numbers() -> None:
    sums = {
        a + b
        for low, high in ((0, 10), (10, 100))
        for a in range(low, high)
        for b in range(low, high)
    }
    assert 1 / Addition(digits=2, min_digits=1).chance["exact_match"] == pytest.approx(len(sums))


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("addition", {"digits": 1}),
        ("subtraction", {"digits": 1}),
        ("dyck", {"depth": 3, "min_depth": 1, "kinds": 3}),
        ("repetition", {"length": 3, "min_length": 1, "letters": 3}),
        ("sorting", {"length": 3, "min_length": 1, "numbers": 5}),
        ("letters", {"operation": "sort", "length": 1}),
        ("addition", {"digits": 1, "format": "scratchpad"}),
        ("subtraction", {"digits": 1, "format": "scratchpad"}),
        ("unscramble", {"length": 7}),
    ],
)
def test_chance_is_one_in_as_many_answers_as_there_are(
    name: str, params: dict[str, object]
) -> None:
    task = task_of(name, {**params, "test_items": 1000})
    # Both splits, often enough that every possible answer comes up.
    seen = {item.target for split in ("train", "test") for item in some(task, split, count=3_000)}
    assert 1 / task.chance["exact_match"] == pytest.approx(len(seen))


def test_each_task_is_found_without_the_others() -> None:
    for name, found in task_classes().items():
        assert task_class(name) is found
    assert task_class("no such task") is None
    code = (
        "import sys; from emergectl.tasks.catalog import task_class; task_class('addition');"
        "print([m for m in sys.modules if m.startswith('emergectl.tasks.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "emergectl.tasks.arithmetic" in done.stdout
    assert "emergectl.tasks.listops" not in done.stdout


MODULE = '''
"""Say how many."""
from typing import ClassVar
from pydantic import BaseModel
from emergectl.tasks.task import TextTask

class Counting(TextTask):
    """Say how many."""
    name{written}
'''


@pytest.mark.parametrize(
    "written",
    [
        ' = "counting"',
        ": ClassVar = 'counting'",
        ': "ClassVar[str]" = "counting"',
        ' = "count" "ing"',
    ],
)
def test_a_task_is_found_however_its_name_is_written(
    written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with module_added(MODULE.format(written=written), tmp_path, monkeypatch):
        found = task_class("counting")
        assert found is not None
        assert found.__name__ == "Counting"
        assert task_classes()["counting"] is found


def test_a_name_that_is_annotated_as_a_parameter_is_refused_with_what_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = MODULE.format(written=': str = "counting"')
    with module_added(text, tmp_path, monkeypatch):
        for look in (lambda: task_class("counting"), task_classes):
            with pytest.raises(TypeError, match=r"added_here.Counting: write `name: ClassVar\[str"):
                look()


@contextmanager
def module_added(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module `added_here` among the tasks, for as long as the context lasts."""
    (folder / "added_here.py").write_text(text)
    path = [*emergectl.tasks.__path__, str(folder)]
    with monkeypatch.context() as patch:
        patch.setattr(emergectl.tasks, "__path__", path)
        _forget_tasks()
        yield
    _forget_tasks()
    sys.modules.pop("emergectl.tasks.added_here", None)


def _forget_tasks() -> None:
    for value in vars(catalog).values():
        if hasattr(value, "cache_clear"):
            value.cache_clear()
