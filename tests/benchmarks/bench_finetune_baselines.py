"""What a fine-tuned classifier has to beat: the majority class, and logistic regression on TF-IDF.

    python tests/benchmarks/bench_finetune_baselines.py --data ../shared/data

Prints accuracy, macro F1 (F1 of the second class for two), MCC and ROC AUC for each data set that
is there. TF-IDF takes words and pairs of words; of sentence pairs both texts, told apart by a
prefix, and the words they share, without which no linear model can see how one relates to the
other.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef, roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from emergectl.data.order import permute
from emergectl.data.row_data import _SPLIT_KEY

Rows = list[tuple[str, str]]


def table(path: Path, delimiter: str, columns: list[str]) -> list[list[str]]:
    """Columns of a CSV, or of a TSV, which has no quotation marks."""
    quoting = csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter=delimiter, quoting=quoting)
        return [[row[column] for column in columns] for row in rows]


def as_pair(first: str, second: str) -> str:
    """The second text as a bag of words, each told apart by whether the first has it too.

    The first's own words are left out: MNLI has the same premise with all three labels, so that
    whoever learns premises by heart is wrong more often than chance on those of the other split.
    """
    a, b = ([w.strip('.,!?"') for w in text.lower().split()] for text in (first, second))
    return " ".join([f"both_{w}" if w in a else f"new_{w}" for w in b] + [f"second_{w}" for w in b])


def sentence_polarity(data: Path) -> tuple[Rows, Rows]:
    def read(name: str) -> Rows:
        lines = (data / "sentence_polarity" / name).read_text(encoding="utf-8").splitlines()
        return [(row["text"], row["label"]) for row in map(json.loads, lines)]

    return read("train.jsonl"), read("test.jsonl")


def banking77(data: Path) -> tuple[Rows, Rows]:
    def read(name: str) -> Rows:
        rows = table(data / "banking77" / name, ",", ["text", "category"])
        return [(text, label) for text, label in rows]

    return read("train.csv"), read("test.csv")


def mnli(data: Path) -> tuple[Rows, Rows]:
    def read(name: str) -> Rows:
        columns = ["premise", "hypothesis", "gold_label"]
        rows = table(data / "mnli_dev_bert100" / name, "\t", columns)
        return [(as_pair(first, second), label) for first, second, label in rows]

    return read("train.tsv"), read("test.tsv")


def med(data: Path) -> tuple[Rows, Rows]:
    """Split as `validation_from: random` with a fraction of 0.2 splits it."""
    columns = ["sentence1", "sentence2", "gold_label"]
    raw = table(data / "med_nli" / "MED.tsv", "\t", columns)
    rows = [(as_pair(first, second), label) for first, second, label in raw]
    count = len(rows)
    held_out = permute(np.arange(count), count, _SPLIT_KEY) >= count - round(count * 0.2)
    train = [row for row, out in zip(rows, held_out, strict=True) if not out]
    return train, [row for row, out in zip(rows, held_out, strict=True) if out]


SETS: dict[str, Callable[[Path], tuple[Rows, Rows]]] = {
    "sentence_polarity": sentence_polarity,
    "mnli_dev_bert100": mnli,
    "med_nli": med,
    "banking77": banking77,
}


def baselines(train: Rows, test: Rows) -> dict[str, float]:
    """Metrics of both baselines on the test rows."""
    labels = [label for _, label in test]
    majority = Counter(label for _, label in train).most_common(1)[0][0]
    names = sorted({label for _, label in train})
    two = len(names) == 2
    pipeline = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2),
        LogisticRegression(max_iter=1000),
    )
    model = GridSearchCV(pipeline, {"logisticregression__C": [0.1, 1, 10]}, cv=3)
    model.fit([text for text, _ in train], [label for _, label in train])
    scores = model.predict_proba([text for text, _ in test])
    found = [names[place] for place in scores.argmax(axis=1)]
    kind = {"average": "binary", "pos_label": names[-1]} if two else {"average": "macro"}
    f1 = f1_score(labels, found, **kind)
    auc = roc_auc_score(
        labels, scores[:, 1] if two else scores, multi_class="ovr", labels=None if two else names
    )
    return {
        "majority": sum(label == majority for label in labels) / len(labels),
        "accuracy": accuracy_score(labels, found),
        "f1": f1,
        "mcc": matthews_corrcoef(labels, found),
        "roc_auc": auc,
    }


def main() -> None:
    """Print one line for each data set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder with the data sets")
    data = parser.parse_args().data
    for name, read in SETS.items():
        if not (data / name).is_dir():
            print(f"{name}: not in {data}")
            continue
        train, test = read(data)
        began = time.perf_counter()
        values = baselines(train, test)
        numbers = "  ".join(f"{metric} {value:.4f}" for metric, value in values.items())
        seconds = time.perf_counter() - began
        print(f"{name}: {len(train)} / {len(test)} rows  {numbers}  ({seconds:.1f} s)")


if __name__ == "__main__":
    main()
