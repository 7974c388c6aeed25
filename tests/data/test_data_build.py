"""The whole way: an experiment's data section becomes feeds, split as it says."""

import os
import subprocess
import sys

import pytest
import torch

from emergectl.config.schema import TokenizerSpec
from emergectl.data.batches import IGNORED
from emergectl.data.tokenizers import build_tokenizer, load_tokenizer
from emergectl.errors import DataError, ExperimentError

TEXT = "".join(f"line {number} of the text 第{number}行\n" for number in range(400))


def targets(feed):
    labels = feed.held_out_batch(0, feed.held_out_rows)["labels"]
    return labels[labels != IGNORED].tolist()


def test_the_end_of_a_text_is_held_out_and_never_trained_on(build, write):
    path = write("text.txt", TEXT)
    data = build(data={"train": {"path": str(path)}, "seq_len": 16, "validation_fraction": 0.25})
    tokens = [*TEXT.encode(), 257]
    border = int(len(tokens) * 0.75)
    assert targets(data.validation) == tokens[border + 1 :]
    assert targets(data.train) == tokens[1:border]
    assert data.validation_bytes_per_token == pytest.approx(1.0, abs=0.01)


def test_held_out_files_leave_the_training_files_whole(build, write):
    data = build(
        data={
            "train": {"path": str(write("a.txt", "train" * 20))},
            "validation": {"path": str(write("b.txt", "held out"))},
            "seq_len": 16,
        }
    )
    assert targets(data.train) == [*b"train" * 20, 257][1:]
    assert targets(data.validation) == [*b"held out", 257][1:]
    assert data.validation_bytes_per_token == 1.0


@pytest.mark.parametrize(
    ("kind", "text", "share", "carried"),
    [
        ("char", "abc" * 30, None, True),
        ("char", "abd" * 30, "33%", False),
        ("char", "abc" * 33 + "尧", "1%", False),
        ("byte", "尧舜" * 30, None, True),
    ],
)
def test_of_text_that_tokens_do_not_carry_there_are_no_bits_per_byte(
    kind, text, share, carried, build, write
):
    tokenizer = build_tokenizer(TokenizerSpec(kind=kind), ["abc"], for_mlm=False)
    spec = {"train": {"path": str(write("a.txt", text))}, "seq_len": 16}
    data = build(data=spec, tokenizer_object=tokenizer)
    assert (data.validation_bytes_per_token is not None) is carried
    told = [w for w in data.report["warnings"] if "does not know" in w]
    assert [share in warning for warning in told] == ([] if share is None else [True])


def test_nothing_is_held_out_where_nothing_is_asked_for(build, write):
    spec = {"train": {"path": str(write("a.txt", TEXT))}, "validation_fraction": 0.0}
    data = build(data=spec)
    assert data.validation is None
    assert data.validation_bytes_per_token is None


@pytest.mark.parametrize("where", ["end", "random"])
def test_rows_are_on_one_side_of_a_split_and_the_seed_does_not_move_them(where, build, write):
    rows = [{"text": f"{n:03}", "label": n % 2} for n in range(100)]
    spec = {
        "train": {"path": str(write("r.jsonl", rows))},
        "validation_fraction": 0.2,
        "validation_from": where,
    }
    sides = []
    for seed in (0, 1):
        data = build(data=spec, objective={"name": "binary"}, seed=seed)
        texts = [
            {bytes(ids[:3].tolist()).decode() for ids in feed.held_out_batch(0, 100)["input_ids"]}
            for feed in (data.train, data.validation)
        ]
        assert len(texts[0]) == 80
        assert texts[0] | texts[1] == {row["text"] for row in rows}
        sides.append(texts)
    assert sides[0] == sides[1]
    assert (sides[0][1] == {f"{n:03}" for n in range(80, 100)}) == (where == "end")


def test_one_document_cannot_be_split_at_random(build, write):
    spec = {"train": {"path": str(write("a.txt", TEXT))}, "validation_from": "random"}
    with pytest.raises(DataError, match="validation_from: end"):
        build(data=spec)


def test_data_sorted_by_label_and_split_at_the_end_is_warned_of(build, write):
    rows = [{"text": "x", "label": int(n > 80)} for n in range(100)]
    data = build(
        data={"train": {"path": str(write("r.jsonl", rows))}}, objective={"name": "binary"}
    )
    assert "sorted by label" in data.report["warnings"][0]


def test_sources_are_mixed_by_weight(build, write):
    sources = [
        {"path": str(write("a.txt", "a" * 5000)), "weight": 3.0},
        {"path": str(write("b.txt", "b" * 5000))},
    ]
    data = build(data={"train": sources, "seq_len": 16})
    batch = data.train.batch(0, 1024, 0, 1024)["input_ids"][:, 0]
    assert (batch == ord("a")).sum() == 768
    assert data.validation.held_out_rows == 64


@pytest.mark.parametrize("kind", ["char", "bpe"])
def test_a_tokenizer_learnt_once_is_the_same_from_the_cache(kind, build, write):
    spec = {"train": {"path": str(write("a.txt", TEXT))}, "seq_len": 16}
    first = build(data=spec, tokenizer={"kind": kind})
    second = build(data=spec, tokenizer={"kind": kind})
    assert first.tokenizer.get_vocab() == second.tokenizer.get_vocab()
    assert first.train.fingerprint == second.train.fingerprint
    assert second.tokenizer.decode(second.train.batch(0, 1, 0, 1)["input_ids"][0]) in TEXT


def test_a_tokenizer_saved_with_a_run_gives_the_same_data(build, write, tmp_path):
    spec = {"train": {"path": str(write("a.txt", TEXT))}, "seq_len": 16}
    first = build(data=spec, tokenizer={"kind": "bpe"})
    first.tokenizer.save_pretrained(tmp_path / "run")
    second = build(data=spec, tokenizer_object=load_tokenizer(tmp_path / "run"))
    one, two = first.train.batch(3, 4, 0, 4), second.train.batch(3, 4, 0, 4)
    assert torch.equal(one["input_ids"], two["input_ids"])


def test_the_report_says_what_was_read(build, write):
    path = write("r.jsonl", '{"text": "a b"}\noops\n{"text": "c"}\n')
    data = build(
        data={"train": {"path": str(path), "bad_rows": "skip"}, "validation_fraction": 0.0}
    )
    (report,) = data.report["train"]
    assert (report["documents"], report["tokens"], report["text_bytes"]) == (2, 6, 4)
    assert report["skipped"] == 1
    assert report["first_skipped"][0].startswith(f"{path}:2: ")


def test_a_task_among_the_files_is_an_error_of_its_key(build, write):
    sources = [{"path": str(write("a.txt", TEXT))}, {"task": "addition"}]
    with pytest.raises(ExperimentError) as error:
        build(data={"train": sources})
    assert error.value.key == "data.train.1"


CHILD = """
import sys
from pathlib import Path
from emergectl.config.schema import Experiment
from emergectl.data.build import build_data
from emergectl.errors import EmergectlError
spec = {"train": {"hub": sys.argv[1]}, "validation": {"hub": sys.argv[1]}, "seq_len": 4}
try:
    data = build_data(Experiment.model_validate({"data": spec}), cache=Path(sys.argv[2]))
except EmergectlError as error:
    sys.exit(f"{error.exit_code} {error}")
print(data.train.held_out_rows, data.validation.held_out_rows)
"""


def run_offline(name, tmp_path):
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    command = [sys.executable, "-c", CHILD, str(name), str(tmp_path / "cache")]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_a_hub_data_set_gives_its_named_splits(write, tmp_path):
    write("set/train.jsonl", [{"text": "abcd"}, {"text": "efgh"}])
    write("set/validation.jsonl", [{"text": "ijk"}])
    done = run_offline(tmp_path / "set", tmp_path)
    assert done.stdout.split() == ["3", "1"], done.stderr


def test_a_hub_data_set_that_cannot_be_had_is_named_without_a_traceback(tmp_path):
    done = run_offline("nobody/nothing-of-the-kind", tmp_path)
    assert done.returncode == 1
    message = done.stderr.strip().splitlines()[-1]
    assert message.startswith("2 data.train.0.hub: the data set 'nobody/nothing-of-the-kind'")
    assert "Traceback" not in done.stderr


def test_what_is_skipped_or_cut_is_told(build, write):
    rows = [{"text": "fine " * (40 if n == 3 else 1), "label": "ab"[n % 2]} for n in range(10)]
    path = write("rows.jsonl", [*rows, {"text": "", "label": "a"}])
    found = build(
        data={"train": {"path": str(path), "bad_rows": "skip"}, "seq_len": 64},
        objective={"name": "binary"},
        stage="finetune",
    )
    assert found.report["warnings"][:2] == [
        f"{path}: 1 bad rows skipped; the first: {path}:11: text: is empty",
        f"{path}: 1 of 9 texts are cut to fit into 64 tokens (to learn from)",
    ]


def test_documents_that_are_skipped_are_told(build, write):
    path = write("rows.jsonl", [{"text": "fine text " * 30}] * 5 + [{"text": 3}])
    found = build(data={"train": {"path": str(path), "bad_rows": "skip"}, "seq_len": 16})
    (warning,) = found.report["warnings"]
    assert warning.startswith(f"{path}: 1 bad rows skipped")
    assert "rows.jsonl:6: text: expected text, got a number (3)" in warning
