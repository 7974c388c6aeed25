"""What all tasks over files share: splits, names, order, facts, and what is said of bad rows."""

import random

import pytest
from file_rows import items, make, write_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from emergectl.errors import DataError, ExperimentError, RequestError

ROWS = [{"text": f"text {n}", "label": "no" if n % 3 else "yes"} for n in range(300)]


def classify(path, **parameters):
    return make("classification", path=path, **parameters)


def test_a_share_of_one_file_is_held_out_by_the_question_alone(tmp_path) -> None:
    task = classify(write_rows(tmp_path / "a.jsonl", ROWS), held_out=0.2)
    test = {item.id for item in items(task)}
    assert 0.12 < len(test) / len(ROWS) < 0.28
    shuffled = random.Random(1).sample(ROWS, len(ROWS))
    again = classify(write_rows(tmp_path / "b.jsonl", shuffled), held_out=0.2)
    assert {item.id for item in items(again, seed=5)} == test


@settings(max_examples=30, deadline=None)
@given(
    texts=st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=40),
    held_out=st.floats(0.2, 0.8),
    apart=st.integers(0, 40),
)
def test_no_question_is_both_learnt_and_tested(tmp_path_factory, texts, held_out, apart) -> None:
    folder = tmp_path_factory.mktemp("rows")
    rows = [{"text": text, "label": str(n % 2)} for n, text in enumerate(texts)]
    one = classify(write_rows(folder / "a.jsonl", rows), held_out=held_out, choices=["0", "1"])
    tasks = [one]
    if 0 < apart < len(rows):
        train = write_rows(folder / "train.jsonl", rows[:apart])
        test = write_rows(folder / "test.jsonl", rows[apart:])
        tasks.append(classify(train, test_path=test, choices=["0", "1"]))
    for task in tasks:
        learnt = {item.id for item in task.read.train}
        tested = [item.id for item in task.read.test]
        assert not learnt & set(tested)
        assert len(set(tested)) == len(tested)
        assert {*learnt, *tested} == {item.id for item in (*task.read.train, *task.read.test)}


def test_what_stands_in_the_test_file_is_left_out_of_training_and_counted(tmp_path) -> None:
    train = write_rows(tmp_path / "train.jsonl", ROWS[:20])
    task = classify(train, test_path=write_rows(tmp_path / "test.jsonl", ROWS[15:30]))
    assert len(items(task, "train")) == 15
    assert len(items(task)) == 15
    assert task.report["left_out_of_train"] == 5


def test_items_come_in_an_order_of_the_seed_that_is_not_the_files(tmp_path) -> None:
    path = write_rows(tmp_path / "a.jsonl", sorted(ROWS, key=lambda row: row["label"]))
    task = classify(path, held_out=1.0)
    first = [item.id for item in items(task, seed=0)]
    assert first == [item.id for item in items(classify(path, held_out=1.0), seed=0)]
    assert first != [item.id for item in items(task, seed=1)]
    assert len({item.right for item in items(task)[:20]}) == 2  # the first are a fair sample


def test_further_right_answers_to_a_question_are_references_of_one_item(tmp_path) -> None:
    rows = [{"source": "Hi.", "target": t} for t in ("嗨。", "你好。", "嗨。")]
    task = make("text_to_text", path=write_rows(tmp_path / "a.jsonl", rows), held_out=1.0)
    (item,) = items(task)
    assert (item.target, item.references) == ("嗨。", ("你好。",))
    assert task.report["doubled_in_test"] == 2


def test_facts_are_columns_and_numbers_in_tables_are_numbers(tmp_path) -> None:
    (tmp_path / "a.csv").write_text("text,label,hops,kind\nx,yes,3,a\n")
    path = str(tmp_path / "a.csv")
    task = classify(path, facts={"hops": "hops", "sort": "kind"}, held_out=1.0)
    assert items(task)[0].facts == {"hops": 3, "sort": "a"}
    listed = classify(path, facts=["hops"], held_out=1.0)
    assert items(listed)[0].facts == {"hops": 3}


def test_a_bad_row_stops_with_file_and_line_or_is_counted(tmp_path) -> None:
    path = write_rows(tmp_path / "a.jsonl", [*ROWS[:5], {"text": "x"}, {"text": 3, "label": None}])
    with pytest.raises(DataError, match=r"a\.jsonl:6: no column 'label'"):
        items(classify(path))
    task = classify(path, bad_rows="skip", held_out=1.0)
    assert len(items(task)) == 5
    assert task.report["skipped"] == 2
    assert task.report["first_skipped"][0].startswith(f"{path}:6: ")


def test_a_label_never_seen_in_training_is_named_or_counted(tmp_path) -> None:
    train = write_rows(tmp_path / "train.jsonl", ROWS[:20])
    test = write_rows(tmp_path / "test.jsonl", [*ROWS[20:25], {"text": "y", "label": "maybe"}])
    reason = r"test\.jsonl:6: the label 'maybe' is not among the choices: no, yes"
    with pytest.raises(DataError, match=reason):
        items(classify(train, test_path=test))
    task = classify(train, test_path=test, bad_rows="skip")
    assert len(items(task)) == 5
    assert task.report["skipped"] == 1


@pytest.mark.parametrize(
    ("parameters", "key", "reason"),
    [
        ({"columns": {"lable": "x"}}, "columns", "no role `lable`; did you mean `label`?"),
        ({"prompt": "{text"}, "prompt", "a stray {"),
        ({"prompts": "{text}"}, "prompts", "no such parameter; did you mean `prompt`?"),
        ({"held_out": 0.0}, "held_out", "greater than 0"),
        ({"config": "x"}, "task", "`config` and `test_split` belong to `hub`"),
    ],
)
def test_a_wrong_parameter_is_named(parameters, key: str, reason: str) -> None:
    with pytest.raises(ExperimentError) as error:
        make("classification", **{"path": "a.jsonl", **parameters})
    assert error.value.key in (f"task.{key}", "task.task")
    assert reason in error.value.message


def test_a_task_without_anything_to_read_says_what_to_give() -> None:
    with pytest.raises(RequestError, match="give `path`, `test_path` or `hub`"):
        items(make("classification", called="mine"))


def test_a_file_or_column_that_is_not_there_is_named(tmp_path) -> None:
    with pytest.raises(RequestError, match=r"`path`: no such file or folder: nowhere\.jsonl"):
        items(classify("nowhere.jsonl"))
    (tmp_path / "a.csv").write_text("txt,label\nx,yes\n")
    with pytest.raises(RequestError, match=r"no column 'text'.*did you mean 'txt'"):
        items(classify(str(tmp_path / "a.csv")))


def test_an_empty_split_says_why_and_what_to_do(tmp_path) -> None:
    path = write_rows(tmp_path / "a.jsonl", ROWS[:5])
    with pytest.raises(RequestError, match="no rows to learn from: give `path`"):
        items(make("classification", test_path=path), "train")
    with pytest.raises(RequestError, match="every row belongs to the test split"):
        items(classify(path, held_out=1.0), "train")
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(DataError, match=r"empty\.jsonl:1: the file holds no rows"):
        items(classify(str(tmp_path / "empty.jsonl")))


def test_paths_win_over_the_hub(tmp_path) -> None:
    path = write_rows(tmp_path / "a.jsonl", ROWS[:30])
    task = classify(path, hub="somebody/something", test_split="validation", held_out=1.0)
    assert len(items(task)) == 30


def test_what_reading_came_upon_is_told_beside_the_published_number(tmp_path) -> None:
    learnt = write_rows(tmp_path / "train.jsonl", [*ROWS[:6], {"text": "x"}])
    asked = [
        *ROWS[4:9],
        ROWS[5],
        {**ROWS[4], "label": "no" if ROWS[4]["label"] == "yes" else "yes"},
    ]
    task = classify(
        learnt,
        test_path=write_rows(tmp_path / "test.jsonl", asked),
        bad_rows="skip",
        published_items=6,
    )
    assert task.notes == (
        "classification: 5 test items, where 6 are published",
        f"classification: 1 of 14 rows skipped; the first: {learnt}:7: no column 'label'; there "
        "are: text",
        "classification: 2 test rows ask a question again: merged into one item, their answers as "
        "references; 1 of them have another right choice, and the first row's stands",
        "classification: 2 training items left out: their questions stand in the test split",
    )


def test_nothing_is_told_of_rows_that_are_all_asked(tmp_path) -> None:
    path = write_rows(tmp_path / "a.jsonl", ROWS)
    assert classify(path).notes == ()
    found = classify(
        path,
        test_path=write_rows(tmp_path / "b.jsonl", [{"text": "?", "label": "no"}]),
        published_items=1,
    )
    assert found.notes == ("classification: 1 test items, as published",)
