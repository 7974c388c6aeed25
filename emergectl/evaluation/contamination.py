"""Whether a model has read the questions that it is asked: test items found in training text.

The rule is GPT-3's (Brown et al. 2020, appendix C), for texts of any language: texts are compared
as words, digits and Chinese characters in lower case, marks left out. An item (its question, and
each of its right answers behind it) stands in the training text if any 13 of these tokens in a row
do; an item of fewer stands there if all of them do, in a row. For training rows that a task makes
or reads, equal ids count as well.

Memory holds the test items' stretches alone, hashed; the training text streams by, once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from emergectl.config.experiment import load_experiment
from emergectl.config.schema import Experiment, FileSource, TaskSource
from emergectl.data.files import cache_root
from emergectl.data.job import DataJob
from emergectl.data.readers import Tally
from emergectl.data.sources import iter_pieces, iter_rows
from emergectl.evaluation.task_items import PreparedTask
from emergectl.tasks.catalog import make_task
from emergectl.tasks.resolve import resolve
from emergectl.tasks.task import Item, TextTask, answer_of, put

STRETCH = 13
RULE = (
    f"any {STRETCH} words, digits or Chinese characters in a row of question and right answer (all "
    "of them where there are fewer) stand in the training text, or its id in the training rows; of "
    "a task that was trained on, the first 100,000 items were looked at"
)
TASK_ITEMS = 100_000
"""so many items of a task that makes its training data endlessly are looked at; RULE says so"""
OVERLAP_CHARS = 1000
"""what is read again where a document is cut: more than any 13 words take"""
_TOKEN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]|\d|[^\W\d_\u3400-\u9fff\uf900-\ufaff]+")


def find_contaminated(run: Path, tasks: Sequence[PreparedTask]) -> dict[str, set[str]]:
    """Task → ids of its items that stand in what a run was trained on.

    Raises RequestError or DataError where the training data cannot be read any more.
    """
    experiment = load_experiment(run / "experiment.yaml", check_paths=False).experiment
    texts = {task.label: {item.id: _texts_of(task, item) for item in task.items} for task in tasks}
    found = find_in_texts(texts, _training_texts(experiment))
    for source in experiment.data.train:
        if isinstance(source, TaskSource):
            _find_ids(source, tasks, found, seed=experiment.seed)
    return found


def find_in_texts(
    asked: dict[str, dict[str, list[str]]], training: Iterable[str]
) -> dict[str, set[str]]:
    """Task → ids of the items of which any text stands in the training texts.

    `asked`: task → item id → its texts.
    """
    wanted: dict[int, dict[int, list[tuple[str, str]]]] = {}
    for task, items in asked.items():
        for item, texts in items.items():
            for text in texts:
                tokens = tokens_of(text)
                length = min(STRETCH, len(tokens))
                for stretch in _stretches(tokens, length):
                    wanted.setdefault(length, {}).setdefault(stretch, []).append((task, item))
    wanted.pop(0, None)  # a text of marks alone is found nowhere
    found: dict[str, set[str]] = {task: set() for task in asked}
    for text in training:
        tokens = tokens_of(text)
        for length, owners in wanted.items():
            for stretch in _stretches(tokens, length):
                for task, item in owners.get(stretch, ()):
                    found[task].add(item)
    return found


def tokens_of(text: str) -> list[str]:
    """What texts are compared by."""
    return _TOKEN.findall(text.lower())


def _stretches(tokens: Sequence[str], length: int) -> Iterator[int]:
    for start in range(len(tokens) - length + 1):
        yield hash(tuple(tokens[start : start + length]))


def _texts_of(task: PreparedTask, item: Item) -> list[str]:
    """An item's question with each of its right answers, without shots."""
    question = put(task.task.template, item)
    answers = [item.choices[index] for index in item.right if index < len(item.choices)]
    if item.target is not None:
        answers.append(item.target)
    return [question + answer for answer in (*answers, *item.references)]


def _training_texts(experiment: Experiment) -> Iterator[str]:
    """All text that an experiment trains on: documents (in pieces that overlap), rows, items."""
    job = DataJob(experiment, resolve(experiment).objective.data, cache_root(), None)
    for number, source in enumerate(experiment.data.train):
        key = f"data.train.{number}"
        if isinstance(source, TaskSource):
            yield from _task_texts(source, key=key, seed=experiment.seed)
        elif job.objective in ("clm", "mlm"):
            yield from _running_text(source, job, key=key)
        else:
            shape = job.shape(source)
            roles, tally = shape.roles(), Tally()
            for row in iter_rows(source, roles=roles, key=key, cache=job.cache, tally=tally):
                yield " ".join(text for text in shape.texts(row) if text is not None)


def _running_text(source: FileSource, job: DataJob, *, key: str) -> Iterator[str]:
    """Documents in pieces, each with the end of the piece before it."""
    before = ""
    pieces = iter_pieces(
        source, key=key, cache=job.cache, tally=Tally(), next_border=lambda _, start: start
    )
    for piece in pieces:
        yield before + piece.text
        before = "" if piece.ends else (before + piece.text)[-OVERLAP_CHARS:]


def _task_texts(source: TaskSource, *, key: str, seed: int) -> Iterator[str]:
    task = make_task(source, key=key)
    if isinstance(task, TextTask):
        for item in islice(task.items("train", seed=seed), TASK_ITEMS):
            yield put(task.template, item) + answer_of(item)


def _find_ids(
    source: TaskSource, tasks: Sequence[PreparedTask], found: dict[str, set[str]], *, seed: int
) -> None:
    """Add the items that a source of training rows holds by their ids."""
    learnt = make_task(source, key="data.train")
    same = [task for task in tasks if task.task.name == learnt.name]
    if not same or not isinstance(learnt, TextTask):
        return
    ids = {item.id for item in islice(learnt.items("train", seed=seed), TASK_ITEMS)}
    for task in same:
        found[task.label] |= {item.id for item in task.items if item.id in ids}
