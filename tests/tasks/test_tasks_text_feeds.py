"""Items as batches: what is read, what is predicted, what is held out, and in which order."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, ClassVar

import pytest
import torch

from emergectl.config.schema import Experiment
from emergectl.data.batches import IGNORED
from emergectl.data.tokenizers import build_tokenizer
from emergectl.errors import ExperimentError, RequestError
from emergectl.inference.encoding import Coder
from emergectl.inference.requests import Question
from emergectl.plugins import Plugin
from emergectl.tasks.arithmetic import Addition
from emergectl.tasks.in_context import InContextRegression
from emergectl.tasks.learning.materials import Materials, gather_materials
from emergectl.tasks.learning.text_feeds import item_encoder
from emergectl.tasks.learning.vocabulary import tasks_tokenizer
from emergectl.tasks.resolve import resolve
from emergectl.tasks.sorting import Sorting
from emergectl.tasks.task import Ask, Item, Split, Template, TextTask, answer_of, parted, put


def experiment(train: Any, **sections: Any) -> Experiment:
    return Experiment.model_validate(
        {"model": {"size": "10k"}, "data": {"train": train}, **sections}
    )


def materials(train: Any, **sections: Any) -> Materials:
    return gather_materials(resolve(experiment(train, **sections)))


def texts(found: Materials, batch: dict[str, torch.Tensor]) -> list[tuple[str, str]]:
    """Of each row what is read, and what is predicted."""
    rows = []
    for ids, mask, labels in zip(
        batch["input_ids"], batch["attention_mask"], batch["labels"], strict=True
    ):
        known = labels != IGNORED
        decode = found.tokenizer.decode
        rows.append((decode(ids[mask == 1].tolist()), decode(labels[known].tolist())))
    return rows


def test_the_loss_is_on_the_answer_and_its_end_alone() -> None:
    found = materials({"task": "addition", "digits": 2})
    for read, predicted in texts(found, found.train.batch(0, 8, 0, 8)):
        question, written = read.split("=")
        a, b = question.split("+")
        assert predicted == f"{int(a) + int(b)}<eos>"
        assert predicted.removesuffix("<eos>") == written


def test_where_every_answer_is_one_word_no_end_is_learnt() -> None:
    found = materials({"task": "modular", "modulus": 11})
    batch = found.train.batch(0, 4, 0, 4)
    assert batch["input_ids"].shape == (4, 3)
    assert ((batch["labels"] != IGNORED).sum(dim=1) == 1).all()
    for read, predicted in texts(found, batch):
        a, b, _ = read.split()
        assert predicted == str((int(a) + int(b)) % 11)


def test_a_word_is_one_token_where_the_task_has_words_and_a_letter_where_it_has_none() -> None:
    words = materials({"task": "modular"}).tokenizer
    assert words.convert_ids_to_tokens(words("112 5 =")["input_ids"]) == ["112", "5", "="]
    letters = materials({"task": "addition"}).tokenizer
    assert letters.convert_ids_to_tokens(letters("112+5=")["input_ids"]) == list("112+5=")


def test_the_experiment_may_name_another_tokenizer() -> None:
    spelled = materials({"task": "modular"}, tokenizer={"kind": "byte"})
    assert spelled.tokenizer("112")["input_ids"] == list(b"112")
    rows = texts(spelled, spelled.train.batch(0, 4, 0, 4))
    # The blank between question and answer is predicted with the answer, as the scorer does.
    assert all(predicted.startswith(" ") for _, predicted in rows)
    learnt = materials({"task": "addition"}, tokenizer={"kind": "bpe", "vocab_size": 300})
    assert len(learnt.tokenizer) == 300


def test_whole_text_is_cut_where_the_question_alone_would_end() -> None:
    task = Sorting(length=3, numbers=20)
    tokenizer = tasks_tokenizer(experiment({"task": "sorting"}, tokenizer={"kind": "byte"}), [task])
    item = next(task.items("test", seed=0))
    [(ids, border)] = item_encoder(task, tokenizer)([item])
    context = f"{item.prompt} "
    whole = tokenizer(context + item.target)["input_ids"]
    assert ids == [*whole, tokenizer.eos_token_id]
    assert border == len(tokenizer(context.rstrip())["input_ids"])


@pytest.mark.parametrize("task", [InContextRegression(points=3), Sorting()])
def test_what_is_learnt_are_the_tokens_that_are_scored_behind_those_written_on_from(
    task: TextTask,
) -> None:
    """With a tokenizer whose tokens join the sign before an answer to the answer."""
    learnt = experiment({"task": task.name}, tokenizer={"kind": "bpe", "vocab_size": 600})
    items = list(islice(task.items("test", seed=0), 60))
    tokenizer = build_tokenizer(
        learnt.tokenizer, [put(task.template, i) + answer_of(i) for i in items], for_mlm=False
    )
    coder = Coder(tokenizer, reach=None)
    straddled = 0
    for item, (ids, border) in zip(items, item_encoder(task, tokenizer)(items), strict=True):
        context, lead = parted(put(task.template, item))
        ((pair,),) = coder.pairs([Question(context, (answer_of(item),), ends=True, lead=lead)])
        assert tuple(ids[:border]) == pair.context == coder.contexts([context])[0]
        assert tuple(ids[border:]) == pair.continuation
        assert tokenizer.decode(pair.continuation[:-1]) == lead + answer_of(item)
        whole = tokenizer(context + lead + answer_of(item), return_offsets_mapping=True)
        straddled += any(a < len(context) < b for a, b in whole["offset_mapping"])
    assert straddled or task.name == "sorting"  # whose answers stand behind a blank


def test_sequences_are_as_long_as_the_longest_item_needs_or_as_the_experiment_says() -> None:
    # 3 digits, sign, 3 digits, sign, up to 4 digits: the end is only predicted.
    assert materials({"task": "addition", "digits": 3}).train.seq_len == 12
    given = {"train": {"task": "addition", "digits": 3}, "seq_len": 32}
    wide = gather_materials(resolve(Experiment.model_validate({"data": given})))
    assert wide.train.seq_len == 32
    assert wide.train.batch(0, 4, 0, 4)["input_ids"].shape == (4, 16)
    asked = materials(
        {"task": "addition", "digits": 3},
        evaluation={"tasks": [{"task": "addition", "digits": 5}]},
    )
    assert asked.train.seq_len == 18


def test_endless_items_that_do_not_fit_are_an_error_and_finite_ones_are_left_out_and_counted() -> (
    None
):
    short = {"train": {"task": "addition", "digits": 3}, "seq_len": 8}
    with pytest.raises(RequestError, match=r"need 12 tokens; data\.seq_len is 8"):
        gather_materials(resolve(Experiment.model_validate({"data": short})))
    some = {"train": {"task": "addition", "digits": 3, "min_digits": 1, "examples": 500}}
    found = gather_materials(resolve(Experiment.model_validate({"data": {**some, "seq_len": 8}})))
    assert 0 < found.train.rows < 500
    left_out = 500 - found.train.rows
    assert any(
        f"{left_out} of 500 train items of addition are longer than 8 tokens" in warning
        for warning in found.report["warnings"]
    )


def test_items_that_do_not_fit_are_refused_where_that_is_asked_for() -> None:
    some = {"train": {"task": "addition", "digits": 3, "min_digits": 1, "examples": 500}}
    refusing = {**some, "seq_len": 8, "too_long": "refuse"}
    with pytest.raises(RequestError, match=r"need 12 tokens; data\.seq_len is 8"):
        gather_materials(resolve(Experiment.model_validate({"data": refusing})))
    wide = Experiment.model_validate({"data": {**refusing, "seq_len": 12}})
    assert gather_materials(resolve(wide)).train.rows == 500


def test_endless_batches_are_the_same_however_they_are_cut_and_whatever_came_before() -> None:
    task = {"task": "listops", "depth": 2}
    feed, again = materials(task, seed=3).train, materials(task, seed=3).train
    for step in (5, 0, 11):
        again.batch(step, 40, 0, 40)
    whole = feed.batch(7, 40, 0, 40)
    parts = [again.batch(7, 40, first, first + 10) for first in range(0, 40, 10)]
    for name, tensor in whole.items():
        assert torch.equal(torch.cat([part[name] for part in parts]), tensor)
    other = materials(task, seed=4).train
    assert not torch.equal(
        other.take(other_draws(), 64)["input_ids"], feed.take(other_draws(), 64)["input_ids"]
    )
    assert other.fingerprint != feed.fingerprint == again.fingerprint


def other_draws() -> Any:
    import numpy as np

    return np.arange(40)


def test_a_finite_task_is_seen_whole_once_in_every_epoch() -> None:
    feed = materials({"task": "addition", "digits": 2, "examples": 96}).train
    assert feed.rows == 96
    epochs = []
    for epoch in range(2):
        rows = [feed.batch(step, 32, 0, 32) for step in range(3 * epoch, 3 * epoch + 3)]
        epochs.append([tuple(row.tolist()) for batch in rows for row in batch["input_ids"]])
    assert len(set(epochs[0])) == 96
    assert sorted(epochs[0]) == sorted(epochs[1])
    assert epochs[0] != epochs[1]


def test_held_out_items_are_the_same_for_every_seed_and_none_is_trained_on() -> None:
    task = {"task": "addition", "digits": 2, "examples": 3000}
    one, other = (materials(task, seed=seed) for seed in (0, 1))
    [held_out] = one.held_out
    asked = texts(one, held_out.feed.held_out_batch(0, held_out.rows))
    assert asked == texts(other, other.held_out[0].feed.held_out_batch(0, held_out.rows))
    trained = {
        read for run in (one, other) for read, _ in texts(run, run.train.batch(0, 3000, 0, 3000))
    }
    assert not trained & {read for read, _ in asked}


def test_tasks_are_mixed_by_weight_and_share_a_tokenizer() -> None:
    found = materials(
        [
            {"task": "addition", "digits": 2, "weight": 3},
            {"task": "multiplication", "digits": 1, "examples": 80},
        ],
        evaluation={"tasks": ["subtraction"]},
    )
    rows = texts(found, found.train.batch(0, 1024, 0, 1024))
    assert sum("+" in read for read, _ in rows) == 768
    assert sum("*" in read for read, _ in rows) == 256
    assert [some.name for some in found.held_out] == ["addition", "multiplication", "subtraction"]
    assert found.chance["multiplication/exact_match"] == 1 / 82


def test_a_task_learnt_twice_is_held_out_twice_under_names_that_tell_them_apart() -> None:
    tasks = [{"task": "parity", "length": 8}, {"task": "parity", "length": 12}]
    assert [s.name for s in materials(tasks).held_out] == ["parity:length=8", "parity:length=12"]


def test_the_rows_trained_on_are_measured_where_that_is_asked_for() -> None:
    sections = {"evaluation": {"train_rows": True}}
    finite = materials({"task": "modular", "modulus": 13, "train_fraction": 0.4}, **sections)
    names = {held_out.name: held_out for held_out in finite.held_out}
    assert list(names) == ["modular", "train"]
    assert (names["train"].rows, names["modular"].rows) == (68, 101)
    endless = materials({"task": "addition"}, **sections)
    own = endless.held_out[1].feed.held_out_batch(0, 64)["input_ids"]
    assert torch.equal(own, endless.train.batch(0, 64, 0, 64)["input_ids"])
    sequences = materials({"task": "copying"}, model={"family": "attention_only"}, **sections)
    own = sequences.held_out[1].feed.held_out_batch(0, 64)["input_ids"]
    assert torch.equal(own, sequences.train.batch(0, 64, 0, 64)["input_ids"])


def test_a_run_that_trains_on_text_can_be_asked_tasks(tmp_path: Any) -> None:
    (tmp_path / "text.txt").write_text("12+5=17, and so on and on.\n" * 300)
    found = materials(
        {"path": str(tmp_path / "text.txt")},
        tokenizer={"kind": "char"},
        evaluation={"tasks": [{"task": "addition", "digits": 2}]},
    )
    assert [some.name for some in found.held_out] == ["validation", "addition:digits=2"]
    asked = found.held_out[1]
    assert asked.objective is not None
    assert asked.objective.counts_correct
    assert not found.objective.counts_correct
    [unknown_answers, unknown] = found.report["warnings"]
    # Of a number of 3, 4, 6, 8, 9 and 0 the text has nothing.
    assert "test items of addition:digits=2 the tokenizer knows no character" in unknown_answers
    assert "addition:digits=2 holds what the tokenizer cannot write" in unknown
    for key, carried in zip(asked.keys, asked.carried, strict=True):
        assert carried == (set(key.target) <= set("1257+="))


def test_a_task_without_words_cannot_be_asked_of_a_model_that_has_only_words() -> None:
    with pytest.raises(
        ExperimentError, match=r"`addition` cannot be written in the words"
    ) as wrong:
        materials({"task": "modular"}, evaluation={"tasks": ["addition"]})
    assert wrong.value.key == "evaluation.tasks"


class Capitals(TextTask):
    """A task as one read from a file would be: choices, no known alphabet, few items."""

    name: ClassVar[str] = "capitals"
    ask: ClassVar[Ask] = "choice"
    template: ClassVar[Template] = Template(question="Capital of {prompt}?", before_answer=" ")

    def items(self, split: Split, *, seed: int) -> Iterator[Item]:  # noqa: ARG002
        known = [("France", "Paris"), ("中国", "北京"), ("Peru", "Lima"), ("Kenya", "Nairobi")]
        cities = tuple(city for _, city in known)
        for number, (country, _) in enumerate(known[:3] if split == "train" else known[3:]):
            place = number if split == "train" else 3
            yield Item(id=country, prompt=country, choices=cities, right=(place,))


def test_a_task_of_choices_is_trained_on_its_right_choice_with_any_tokenizer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    added = {"capitals": Plugin("tasks", "capitals", f"{__name__}:Capitals", "this test")}
    monkeypatch.setattr("emergectl.tasks.catalog.plugins", {"tasks": added}.__getitem__)
    for tokenizer in ({}, {"kind": "char"}):
        found = materials({"task": "capitals"}, tokenizer=tokenizer)
        rows = texts(found, found.train.batch(0, 3, 0, 3))
        assert {predicted for _, predicted in rows} == {" Paris<eos>", " 北京<eos>", " Lima<eos>"}
        assert all(read.startswith("Capital of") for read, _ in rows)
    # A learnt vocabulary has seen the training text only; what it cannot write is said.
    assert any("cannot write" in warning for warning in found.report["warnings"])


def test_an_empty_test_set_is_an_error_with_its_task() -> None:
    class Nothing(Addition):
        def items(self, split: Split, *, seed: int) -> Iterator[Item]:
            return islice(super().items(split, seed=seed), 0 if split == "test" else 5)

    from emergectl.tasks.learning.text_feeds import test_rows as rows_to_ask

    tokenizer = tasks_tokenizer(experiment({"task": "addition"}), [Addition()])
    with pytest.raises(RequestError, match="`addition` has no items in its test split"):
        rows_to_ask(Nothing(), tokenizer, label="addition", apart=False)
