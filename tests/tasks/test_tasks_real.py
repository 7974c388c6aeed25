"""The shipped task files over real data, where it is at hand.

$EMERGECTL_DATA names its folder, else ../shared/data beside the checkout is looked for.
"""

import os
from pathlib import Path

import pytest
from file_rows import items

from emergectl.data.documents import read_json_document, rows_of_squad
from emergectl.tasks.answers import cmrc_f1, cmrc_normal, last_number
from emergectl.tasks.references import load_task
from emergectl.tasks.task import TextTask

DATA = Path(
    os.environ.get("EMERGECTL_DATA") or Path(__file__).parents[3] / "shared" / "data"
).absolute()

# Reference, training items, test items: rows of the files, each question once in the test split.
TASKS = {
    "gsm8k:path=gsm8k/train_2000.jsonl:test_path=gsm8k/test.jsonl": (2000, 1319),
    "sentence_polarity:path=sentence_polarity/train.jsonl:test_path=sentence_polarity/test.jsonl": (
        8500, 2162,
    ),
    "banking77:path=banking77/train.csv:test_path=banking77/test.csv": (10_003, 3080),
    "mnli_difficulty:path=mnli_dev_bert100/train.tsv:test_path=mnli_dev_bert100/test.tsv": (
        6000, 3815,
    ),
    "med:path=med_nli/MED.tsv": (4299, 1083),
    "tatoeba_en_zh:path=tatoeba_cmn/cmn.txt": (19_034, 2022),
    "tatoeba_zh_en:path=tatoeba_cmn/cmn.txt": (18_917, 2105),
    "goodbooks:path=goodbooks_items/books.csv": (1073, 270),
    "songci:path=songci/songci.jsonl": (5411, 310),
    "sgd:path=sgd_train_sample/dialogues.json": (932, 111),
    "bbh:path=bbh_a/date_understanding.json": (0, 250),
    "bbh:path=bbh_a/geometric_shapes.json": (0, 250),
    "bbh:path=bbh_a/boolean_expressions.json": (0, 250),
    "clue/cmrc2018:path=cmrc2018/cmrc2018_trial.json:test_path=cmrc2018/cmrc2018_dev_450.json": (
        1000, 1698,
    ),
}  # fmt: skip


def real_task(reference: str) -> TextTask:
    """A task over real files; the test is skipped where they are absent."""
    name, *parameters = reference.split(":")
    for number, parameter in enumerate(parameters):
        key, _, value = parameter.partition("=")
        if key.endswith("path"):
            if not (DATA / value).exists():
                pytest.skip(f"no {DATA / value}: set EMERGECTL_DATA to the folder of real data")
            parameters[number] = f"{key}={DATA / value}"
    task = load_task(":".join([name, *parameters]))
    assert isinstance(task, TextTask)
    return task


@pytest.mark.parametrize("reference", TASKS, ids=lambda reference: reference.split(":")[0])
def test_real_files_give_as_many_items_as_they_hold(reference: str) -> None:
    task = real_task(reference)
    learnt, tested = TASKS[reference]
    assert len(items(task)) == tested
    if learnt:
        train = items(task, "train")
        assert len(train) == learnt
        assert not {item.id for item in train} & {item.id for item in items(task)}


def test_every_answer_of_gsm8k_is_found_right_by_its_own_rule() -> None:
    task = real_task("gsm8k:test_path=gsm8k/test.jsonl")
    for item in items(task):
        assert item.target is not None
        answer = item.target.rpartition("#### ")[2]
        assert last_number(answer) == answer.replace(",", "")
        assert task.is_right(item, task.extract(item.target + "\n\nQuestion: and then 7?"))
        assert not task.is_right(item, task.extract(item.target + "1"))


def test_the_share_of_berts_that_got_an_item_right_averages_as_published() -> None:
    task = real_task(
        "mnli_difficulty:path=mnli_dev_bert100/train.tsv:test_path=mnli_dev_bert100/test.tsv"
    )
    right = [float(i.facts["berts_right"]) for i in (*items(task), *items(task, "train"))]
    assert sum(right) / len(right) == pytest.approx(84.34, abs=0.01)


def test_people_agree_on_cmrc_about_as_published() -> None:
    # Cui et al. 2019 let each of three people answer for the other two: EM 91.1, F1 97.3 over all
    # of the development set, of which this is half.
    path = DATA / "cmrc2018" / "cmrc2018_dev_450.json"
    if not path.exists():
        pytest.skip(f"no {path}: set EMERGECTL_DATA to the folder of real data")
    matches, overlaps = [], []
    for _, row in rows_of_squad(read_json_document(path)):
        assert isinstance(row, dict)
        answers = row["answers"]
        for place, own in enumerate(answers):
            others = [a for n, a in enumerate(answers) if n != place]
            matches.append(any(cmrc_normal(own) == cmrc_normal(a) for a in others))
            overlaps.append(max(cmrc_f1(own, a) for a in others))
    assert 100 * sum(matches) / len(matches) == pytest.approx(91.08, abs=2.5)
    assert 100 * sum(overlaps) / len(overlaps) == pytest.approx(97.35, abs=1)
