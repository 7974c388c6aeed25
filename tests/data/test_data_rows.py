"""Rows: texts, pairs, labels and answers become batches that say exactly what the file said."""

import numpy as np
import pytest
import torch

from emergectl.config.schema import FileSource, TokenizerSpec
from emergectl.data.batches import IGNORED
from emergectl.data.rows import CUT, UNFIT, WHOLE, RowShape, row_encoder
from emergectl.data.templates import render, template_fields
from emergectl.data.tokenizers import build_tokenizer
from emergectl.errors import DataError, ExperimentError
from emergectl.evaluation.columns import columns_of_records, columns_of_rows
from emergectl.evaluation.held_out_records import records_of_rows
from emergectl.evaluation.metrics import held_out_metrics
from emergectl.inference.encoding import Coder
from emergectl.tasks.learning.materials import HeldOutSet

REVIEWS = [{"text": f"第{n}个 review, {'good' * (n % 7)}", "label": n % 3 > 0} for n in range(40)]
BYTE = TokenizerSpec(kind="byte")
CLM = build_tokenizer(BYTE, (), for_mlm=False)
MLM = build_tokenizer(BYTE, (), for_mlm=True)
EOS, PAD = CLM.eos_token_id, CLM.pad_token_id


def classify(build, path, objective="multiclass", *, tokenizer=CLM, columns=None, **sections):
    objective = objective if isinstance(objective, dict) else {"name": objective}
    options = {"seq_len": 64, "validation_fraction": 0.0, **sections}
    train = {"path": str(path), "columns": columns or {}}
    return build(data={"train": train, **options}, objective=objective, tokenizer_object=tokenizer)


def answer(build, path, prompt, answer_, *, seq_len=64, tokenizer=CLM):
    data = {"train": {"path": str(path)}, "seq_len": seq_len, "validation_fraction": 0.0}
    objective = {"name": "answer", "prompt": prompt, "answer": answer_}
    return build(data=data, objective=objective, tokenizer_object=tokenizer)


def encode(shape, first, second=None, *, seq_len=64, tokenizer=CLM):
    ((ids, border), cut) = row_encoder(tokenizer, shape, seq_len)([(first, second)])[0]
    return ids, border, cut


def test_each_row_comes_with_its_own_label(build, write):
    data = classify(build, write("r.jsonl", REVIEWS), "binary")
    batch = data.train.batch(0, 40, 0, 40)
    assert data.labels == ["false", "true"]
    assert data.class_counts == [14, 26]
    found = {}
    for ids, mask, label in zip(
        batch["input_ids"], batch["attention_mask"], batch["labels"], strict=True
    ):
        real = ids[mask.bool()].tolist()
        assert real[-1] == EOS
        assert (ids[~mask.bool()] == PAD).all()
        found[bytes(real[:-1]).decode()] = bool(label)
    assert found == {row["text"]: row["label"] for row in REVIEWS}


def test_labels_are_sorted_as_numbers_where_they_are_numbers(build, write):
    path = write("r.csv", "text,label\n" + "".join(f"t{n},{n}\n" for n in (10, 9, 2, -1)))
    assert classify(build, path).labels == ["-1", "2", "9", "10"]


def test_given_labels_decide_the_order(build, write):
    path = write("r.jsonl", [{"text": "a", "label": 1}, {"text": "b", "label": 0}])
    data = classify(build, path, {"name": "binary", "labels": [1, 0]})
    assert data.labels == ["1", "0"]
    batch = data.train.held_out_batch(0, 2)
    assert batch["labels"].tolist() == [0, 1]


def test_a_label_outside_the_list_is_named_by_its_line_or_skipped(build, write):
    path = write("r.jsonl", [{"text": "x", "label": label} for label in "abcac"])
    objective = {"name": "binary", "labels": ["a", "b"]}
    with pytest.raises(DataError, match=r"r\.jsonl:3: the label 'c' is not among the classes a, b"):
        classify(build, path, objective)
    skipping = {"path": str(path), "bad_rows": "skip"}
    data = build(
        data={"train": skipping, "seq_len": 8, "validation_fraction": 0.0}, objective=objective
    )
    assert data.train.rows == 3
    assert data.class_counts == [2, 1]
    assert data.report["train"][0]["skipped"] == 2


@pytest.mark.parametrize(
    ("labels", "name", "reason"),
    [
        ("abc", "binary", "expected exactly two classes, got 3: a, b, c"),
        ("aaa", "multiclass", "expected at least two classes, got 1: a"),
    ],
)
def test_a_number_of_classes_that_does_not_fit_is_an_error(labels, name, reason, build, write):
    path = write("r.jsonl", [{"text": "x", "label": label} for label in labels])
    with pytest.raises(ExperimentError, match=reason) as error:
        classify(build, path, name)
    assert error.value.key == "objective.labels"


def test_multilabel_rows_have_a_one_for_each_of_their_labels(build, write):
    rows = [{"text": "x", "label": label} for label in (["joy", "fear"], [], "joy", "fear;joy")]
    data = classify(build, write("r.jsonl", rows), "multilabel")
    batch = data.train.held_out_batch(0, 4)
    assert data.labels == ["fear", "joy"]
    assert data.class_counts == [2, 3]
    assert batch["labels"].dtype == torch.float32
    assert batch["labels"].tolist() == [[1, 1], [0, 0], [0, 1], [1, 1]]


def test_a_pair_is_framed_with_token_types_where_the_tokenizer_frames(build, write):
    path = write("r.tsv", "a\tb\tgold\nab\tc\tyes\nd\tef\tno\n")
    columns = {"text": "a", "text_pair": "b", "label": "gold"}
    batch = classify(build, path, columns=columns, tokenizer=MLM).train.held_out_batch(0, 2)
    cls, sep = MLM.cls_token_id, MLM.sep_token_id
    assert batch["input_ids"][0].tolist() == [cls, *b"ab", sep, *b"c", sep, PAD, PAD]
    assert batch["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1, 0, 0]]
    assert batch["labels"].tolist() == [1, 0]


def test_a_pair_is_parted_by_eos_where_the_tokenizer_does_not_frame(build, write):
    path = write("r.tsv", "a\tb\tgold\nab\tc\tyes\nd\tef\tno\n")
    columns = {"text": "a", "text_pair": "b", "label": "gold"}
    batch = classify(build, path, columns=columns).train.held_out_batch(0, 2)
    assert batch["input_ids"][0].tolist() == [*b"ab", EOS, *b"c", EOS, PAD, PAD, PAD]
    assert "token_type_ids" not in batch


def test_padding_is_told_from_eos_where_the_tokenizer_has_one_token_for_both(build, write):
    tokenizer = build_tokenizer(BYTE, (), for_mlm=False)
    tokenizer.pad_token = tokenizer.eos_token
    batch = classify(build, write("r.jsonl", REVIEWS), tokenizer=tokenizer).train.held_out_batch(
        0, 40
    )
    real = batch["attention_mask"].bool()
    assert ((batch["input_ids"] == EOS) & real).sum() == 40
    assert not (batch["input_ids"][~real] == EOS).any()


@pytest.mark.parametrize("seq_len", [4, 5, 8, 20])
@pytest.mark.parametrize("tokenizer", [CLM, MLM], ids=["causal", "masked"])
@pytest.mark.parametrize(("first", "second"), [("a" * 9, "b" * 3), ("a" * 3, "b" * 9), ("a", "b")])
def test_of_a_pair_that_is_too_long_the_longer_text_is_cut(seq_len, tokenizer, first, second):
    shape = RowShape("classify", pair=True)
    ids, border, cut = encode(shape, first, second, seq_len=seq_len, tokenizer=tokenizer)
    specials = 3 if tokenizer is MLM else 2
    assert len(ids) == min(seq_len, len(first) + len(second) + specials)
    assert cut == (CUT if len(first) + len(second) + specials > seq_len else WHOLE)
    kept = [ids.count(ord("a")), ids.count(ord("b"))]
    if max(kept) - min(kept) > 1:  # uneven only where the shorter text is whole
        assert min(kept) == min(len(first), len(second))
    assert ids[border] == ord("b") or kept[1] == 0


def test_the_answer_and_its_end_carry_the_loss_and_the_prompt_does_not(build, write):
    path = write("r.jsonl", [{"q": "2+2", "a": 4}, {"q": "首都", "a": "北京"}])
    data = answer(build, path, "{q} = ", "{a}")
    batch = data.train.held_out_batch(0, 2)
    for ids, labels, prompt, text in zip(
        batch["input_ids"], batch["labels"], ["2+2 = ", "首都 = "], ["4", "北京"], strict=True
    ):
        targets = labels[labels != IGNORED].tolist()
        assert targets == [*text.encode(), EOS]
        first = len(prompt.encode()) - 1  # the prompt's last token predicts the answer's first
        assert labels[first].item() == text.encode()[0]
        assert (labels[:first] == IGNORED).all()
        assert ids[: first + 1].tolist() == list(prompt.encode())
        assert ids[first + 1 : first + 1 + len(text.encode())].tolist() == list(text.encode())


def test_no_token_of_a_learnt_row_holds_both_prompt_and_answer(build, write):
    rows = [{"q": f"{a}-{b}", "a": a - b} for a in range(9) for b in range(9)]
    rows += [{"q": "首", "a": "都北京"}] * 9
    learnt = TokenizerSpec(kind="bpe", vocab_size=330)
    tokenizer = build_tokenizer(learnt, (f"{row['q']}={row['a']}\n" for row in rows), for_mlm=False)
    coder = Coder(tokenizer, reach=None)
    data = answer(build, write("r.jsonl", rows), "{q}=", "{a}", tokenizer=tokenizer)
    batch = data.train.held_out_batch(0, len(rows))
    straddled = 0
    for ids, labels, row in zip(batch["input_ids"], batch["labels"], rows, strict=True):
        *targets, end = labels[labels != IGNORED].tolist()
        prompt = f"{row['q']}="
        assert (tokenizer.decode(targets), end) == (str(row["a"]), tokenizer.eos_token_id)
        first = int((labels != IGNORED).nonzero()[0]) + 1
        assert tuple(ids[:first].tolist()) == coder.contexts([prompt])[0]
        straddled += len(tokenizer(prompt + str(row["a"]))["input_ids"]) < first + len(targets)
    assert straddled > 20


def test_eos_is_learnt_though_it_also_pads(build, write):
    tokenizer = build_tokenizer(BYTE, (), for_mlm=False)
    tokenizer.pad_token = tokenizer.eos_token
    rows = [{"q": "x" * n, "a": "y"} for n in (1, 5, 20)]
    data = answer(build, write("r.jsonl", rows), "{q}", "{a}", tokenizer=tokenizer)
    labels = data.train.held_out_batch(0, 3)["labels"]
    assert (labels == EOS).sum(dim=1).tolist() == [1, 1, 1]


@pytest.mark.parametrize("seq_len", [2, 3, 5, 6, 7, 8])
def test_of_a_prompt_that_is_too_long_the_beginning_goes_and_an_answer_is_never_cut(seq_len):
    ids, border, cut = encode(RowShape("answer"), "prompt", "ab", seq_len=seq_len)
    if seq_len < 3:
        assert (ids, cut) == ([], UNFIT)
        return
    assert len(ids) <= seq_len + 1
    assert cut == (CUT if seq_len < 8 else WHOLE)
    assert ids[border:] == [*b"ab", EOS]
    assert bytes(ids[:border]) == b"prompt"[-(seq_len - 2) :]


LONG_AND_SHORT = [
    {"q": q, "a": a} for q in ("q", "a long question") for a in ("ab", "ab" * 20) for _ in range(4)
]


def cut_data(build, write, policy, rows=LONG_AND_SHORT):
    path = str(write("r.jsonl", rows))
    return build(
        data={
            "train": {"path": path},
            "validation": {"path": path},
            "seq_len": 8,
            "too_long": policy,
        },
        objective={"name": "answer", "prompt": "{q}:", "answer": "{a}"},
        tokenizer_object=CLM,
    )


def test_prompts_give_way_and_answers_that_do_not_fit_are_told_and_count_as_wrong(build, write):
    data = cut_data(build, write, "cut_prompt")
    assert (data.train.rows, data.validation.held_out_rows, data.validation.unfit) == (8, 8, 8)
    batch = data.validation.held_out_batch(0, 8)
    for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True):
        assert labels[labels != IGNORED].tolist() == [*b"ab", EOS]
        read = bytes(i for i in ids.tolist() if i < 256)
        assert read in (b"q:ab", b"stion:ab")
    for said in (
        "4 of 16 prompts lose their beginning to fit into 8 tokens (to learn from)",
        "8 of 16 answers are longer than 8 tokens and not learnt (to learn from)",
        "4 of 16 prompts lose their beginning to fit into 8 tokens (held out)",
        "8 of 16 answers are longer than 8 tokens and counted as wrong (held out)",
    ):
        assert any(said in warning for warning in data.report["warnings"]), said
    assert (data.report["train"][0]["cut"], data.report["train"][0]["left_out"]) == (4, 8)
    # A model that is right in all that it can be asked is right in half of all.
    rows = {name: np.full(8, 3.0) for name in ("nll", "targets", "correct")}
    unfit = HeldOutSet("validation", data.validation, 8).unfit
    for columns in (
        columns_of_rows(rows, unfit=unfit),
        columns_of_records(list(records_of_rows(rows, "validation", unfit=unfit))),
    ):
        taken = {metric.name: metric.measure(columns) for metric in held_out_metrics()}
        found = {name: (m.value, m.items) for name, m in taken.items() if m is not None}
        assert found["exact_match"] == (0.5, 16)
        assert (found["token_accuracy"], found["loss"]) == ((1.0, 8), (1.0, 8))


def test_rows_that_are_too_long_are_left_out_or_refused_where_that_is_asked_for(build, write):
    data = cut_data(build, write, "skip")
    assert (data.train.rows, data.validation.held_out_rows, data.validation.unfit) == (4, 4, 0)
    said = "12 of 16 rows are longer than 8 tokens and left out (held out)"
    assert any(said in warning for warning in data.report["warnings"])
    with pytest.raises(DataError, match=r"r.jsonl:5: longer than 8 tokens, as are 12 of 16 rows"):
        cut_data(build, write, "refuse")
    short = [row for row in LONG_AND_SHORT if len(row["q"] + row["a"]) < 5]
    assert cut_data(build, write, "refuse", short).report["warnings"] == []


def test_answers_none_of_which_fits_are_an_error(build, write):
    with pytest.raises(DataError, match="no row fits into 8 tokens"):
        cut_data(build, write, "cut_prompt", LONG_AND_SHORT[4:8])


def test_answers_of_which_the_vocabulary_has_nothing_are_left_out_and_told(build, write):
    rows = [{"q": "ab", "a": a} for a in ("ba", "尧", "尧 舜", "b尧")]
    tokenizer = build_tokenizer(TokenizerSpec(kind="char"), ["ab :"], for_mlm=False)
    data = answer(build, write("r.jsonl", rows), "{q}:", "{a}", tokenizer=tokenizer)
    assert data.train.rows == 2  # an answer that is known in part can be learnt
    said = "of 2 of 4 answers the tokenizer knows no character: they are left out (to learn from)"
    assert any(said in warning for warning in data.report["warnings"])
    # 4 of the 4 · 3 + 8 characters are 尧 and 舜.
    assert data.report["train"][0]["unknown"] == pytest.approx(4 / 20)
    assert any("does not know 20% of the" in warning for warning in data.report["warnings"])
    with pytest.raises(DataError, match="the tokenizer knows no character of any answer"):
        answer(build, write("s.jsonl", rows[1:3]), "{q}:", "{a}", tokenizer=tokenizer)


def test_texts_with_classes_that_are_cut_are_told(build, write):
    rows = [{"text": "x" * (4 + 8 * (n > 6)), "label": n % 2} for n in range(10)]
    for policy, said, kept in (
        ("cut_prompt", "3 of 10 texts are cut", 10),
        ("skip", "3 of 10 rows", 7),
    ):
        data = classify(build, write("r.jsonl", rows), too_long=policy, seq_len=8)
        assert data.train.rows == kept
        assert any(said in warning for warning in data.report["warnings"])


def test_rows_not_divisible_by_ranks_come_once_each(build, write):
    data = classify(build, write("r.jsonl", REVIEWS[:17]))
    seen = []
    for step in range(0, 20, 5):
        for rank in range(2):
            first, last = step + (5 * rank) // 2, step + (5 * (rank + 1)) // 2
            batch = data.train.held_out_batch(first, min(last, 17))
            seen += [bytes(ids[ids < 256].tolist()).decode() for ids in batch["input_ids"]]
    assert seen == [row["text"] for row in REVIEWS[:17]]


def test_templates_name_columns_and_nothing_else():
    assert template_fields("{{{a}}} {b_1}", key="k") == ["a", "b_1"]
    assert render("{{{a}}} {b}", {"a": "x", "b": "{c}"}) == "{x} {c}"
    for bad in ("{a.b}", "{a[0]}", "{", "a}", "{}", "{a!r}"):
        with pytest.raises(ExperimentError, match="stray"):
            template_fields(bad, key="objective.prompt")


def test_a_field_that_is_no_column_is_named_with_the_columns_there_are(build, write):
    path = write("r.jsonl", [{"question": "x", "a": "y"}])
    with pytest.raises(DataError, match=r"r\.jsonl:1: no column 'q'; there are: question, a"):
        answer(build, path, "{q}", "{a}")


def test_the_source_of_a_row_shape_is_a_pair_only_where_it_is_mapped(build, write):
    rows = [{"text": "a", "text_pair": "b", "label": n} for n in range(2)]
    path = write("r.jsonl", rows)
    assert FileSource(path=str(path)).columns == {}
    data = classify(build, path)
    assert data.train.held_out_batch(0, 1)["attention_mask"].sum() == 2
