"""Real data sets, where they are at hand: read whole, in the numbers their makers state."""

import pytest

from emergectl.data.batches import IGNORED


def test_tiny_shakespeare_has_its_65_characters_and_nothing_is_lost(shared_data, build):
    path = shared_data / "tiny_shakespeare" / "input.txt"
    data = build(data={"train": {"path": str(path)}, "seq_len": 64}, tokenizer={"kind": "char"})
    text = path.read_text()
    assert len(data.tokenizer) == 65 + 3
    parts = [data.train, data.validation]
    assert sum(feed.held_out_batch(0, 10**6)["labels"].ne(IGNORED).sum() for feed in parts) == (
        len(text) + 1 - 2
    )
    held_out = data.validation.held_out_batch(0, 2)
    border = int((len(text) + 1) * 0.9)
    assert data.tokenizer.decode(held_out["input_ids"].flatten()) == text[border : border + 128]


@pytest.mark.parametrize("kind", ["char", "bpe"])
def test_song_lyrics_in_lists_of_paragraphs_become_documents(kind, shared_data, build):
    source = {
        "path": str(shared_data / "songci" / "songci.jsonl"),
        "columns": {"text": "paragraphs"},
        "bad_rows": "skip",
    }
    tokenizer = {"kind": kind} | ({"vocab_size": 2000} if kind == "bpe" else {})
    data = build(data={"train": source, "seq_len": 64}, tokenizer=tokenizer)
    assert data.report["train"][0]["documents"] + data.report["validation"][0]["documents"] >= 5900
    text = data.tokenizer.decode(data.train.batch(0, 8, 0, 8)["input_ids"].flatten())
    assert "，" in text
    assert data.validation_bytes_per_token > 2


def test_speeches_are_masked_in_whole_words(shared_data, build):
    data = build(
        data={"train": {"path": str(shared_data / "us_speeches" / "inaugural")}, "seq_len": 64},
        tokenizer={"from": str(shared_data / "bert_chinese_vocab")},
        objective={"name": "mlm", "whole_word": True},
    )
    batch = data.train.batch(0, 64, 0, 64)
    share = (batch["labels"] != IGNORED).float().mean()
    assert 0.12 < share < 0.18


CLASSIFICATION = {
    "sentence_polarity/train.jsonl": ("binary", {}, 8500, 2),
    "mnli_dev_bert100/train.tsv": (
        "multiclass",
        {"text": "premise", "text_pair": "hypothesis", "label": "gold_label"},
        6000,
        3,
    ),
    "med_nli/MED.tsv": (
        "binary",
        {"text": "sentence1", "text_pair": "sentence2", "label": "gold_label"},
        5382,
        2,
    ),
    "banking77/train.csv": ("multiclass", {"label": "category"}, 10003, 77),
}


@pytest.mark.parametrize("name", CLASSIFICATION)
@pytest.mark.parametrize("tokenizer", ["gpt2_tokenizer", "bert_chinese_vocab", "tiny_gpt2_hf"])
def test_classification_sets_have_all_their_rows_and_classes(name, tokenizer, shared_data, build):
    objective, columns, rows, classes = CLASSIFICATION[name]
    data = build(
        data={
            "train": {"path": str(shared_data / name), "columns": columns},
            "validation_from": "random",
            "seq_len": 128,
        },
        objective={"name": objective},
        tokenizer={"from": str(shared_data / tokenizer)},
    )
    assert data.train.rows + data.validation.rows == rows
    assert len(data.labels) == classes
    # What may be told is of long texts and of characters that a vocabulary lacks, not of classes.
    for warning in data.report["warnings"]:
        assert "texts are cut to fit into 128 tokens" in warning or "does not know" in warning
    batch = data.train.batch(0, 16, 0, 16)
    assert ("token_type_ids" in batch) == (
        "text_pair" in columns and tokenizer == "bert_chinese_vocab"
    )
    assert int(batch["input_ids"].max()) < len(data.tokenizer)
