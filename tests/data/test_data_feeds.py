"""Feeds of language: random access, whole epochs, labels shifted, everything held out once."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from emergectl.config.schema import TokenizerSpec
from emergectl.data.batches import IGNORED
from emergectl.data.feeds import LanguageFeed
from emergectl.data.masked import MaskedFeed
from emergectl.data.mixing import MixedFeed
from emergectl.data.order import permute, uniform
from emergectl.data.packing import PackedTokens
from emergectl.data.row_feeds import RowsFeed
from emergectl.data.rows import rows_in_memory
from emergectl.data.tokenizers import build_tokenizer, text_encoder
from emergectl.errors import DataError, ExperimentError

WORDS = "the ability appears at once in models that are larger than some size 明月几时有 "


def packed(tokens, name="f"):
    tokens = np.asarray(tokens, np.uint16)
    return PackedTokens(tokens, np.array([len(tokens)]), len(tokens), name)


def language(count=1000, *, seq_len=8, seed=0):
    return LanguageFeed(packed(np.arange(count)), seq_len=seq_len, seed=seed)


def masked_tokenizer() -> PreTrainedTokenizerFast:
    return build_tokenizer(TokenizerSpec(kind="bpe", vocab_size=300), [WORDS * 9], for_mlm=True)


def masked(*, seq_len=32, seed=0, repeat=200, **options):
    tokenizer = masked_tokenizer()
    tokens = text_encoder(tokenizer)([WORDS * repeat])[0]
    return MaskedFeed(packed(tokens), tokenizer, seq_len=seq_len, seed=seed, **options), tokenizer


def rows(count=50, *, seed=0):
    lengths = np.random.default_rng(3).integers(2, 60, count)
    encoded = [(list(range(1, length + 1)), int(length) // 2) for length in lengths]
    return RowsFeed(rows_in_memory(encoded, fingerprint="r"), seq_len=64, seed=seed, pad_id=0)


def classes(count=50, *, seed=0):
    """Rows with a class; each holds its own number throughout."""
    lengths = np.random.default_rng(3).integers(2, 60, count)
    encoded = [([row + 1] * int(length), int(length)) for row, length in enumerate(lengths)]
    packed = rows_in_memory(encoded, fingerprint="c")
    return RowsFeed(packed, seq_len=64, seed=seed, pad_id=0, targets=np.arange(count))


def mixture(seed=0):
    feeds = [language(2000, seed=seed), LanguageFeed(packed([7] * 500), seq_len=8, seed=seed)]
    return MixedFeed(feeds, [3.0, 1.0], seed=seed)


FEEDS = {
    "language": lambda seed: language(seed=seed),
    "masked": lambda seed: masked(seed=seed)[0],
    "whole words": lambda seed: masked(seed=seed, whole_word=True)[0],
    "rows": lambda seed: rows(seed=seed),
    "classes": lambda seed: classes(300, seed=seed),
    "mixture": mixture,
    "mixture of rows": lambda seed: MixedFeed([rows(seed=seed), rows(9)], [1, 1], seed=seed),
}


@pytest.fixture(params=FEEDS)
def make(request):
    return FEEDS[request.param]


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_slices_of_a_batch_hold_what_the_whole_holds(make, ranks):
    feed = make(0)
    for step in (0, 3, 11):
        whole = feed.batch(step, 16, 0, 16)
        borders = [16 * rank // ranks for rank in range(ranks + 1)]
        parts = [feed.batch(step, 16, a, b) for a, b in itertools.pairwise(borders)]
        assert equal(whole, {name: torch.cat([p[name] for p in parts]) for name in whole})


def test_a_batch_does_not_depend_on_what_was_asked_before(make):
    fresh, used = make(0), make(0)
    for step in range(9):
        used.batch(step, 4, 0, 4)
    assert equal(used.batch(2, 8, 0, 8), fresh.batch(2, 8, 0, 8))


def test_another_seed_gives_another_order(make):
    assert not equal(make(0).batch(0, 16, 0, 16), make(1).batch(0, 16, 0, 16))


def test_held_out_rows_do_not_depend_on_the_seed(make):
    first, second = make(0), make(1)
    assert equal(first.held_out_batch(0, 5), second.held_out_batch(0, 5))


def test_held_out_rows_come_whole_however_they_are_cut(make):
    feed = make(0)
    count = feed.held_out_rows
    one_by_one = [feed.held_out_batch(row, row + 1) for row in range(count)]
    whole = feed.held_out_batch(0, count + 100)
    assert whole["input_ids"].shape[0] == count
    for row, part in enumerate(one_by_one):
        labels = part["labels"][0]
        if labels.ndim == 0:  # a class
            assert whole["labels"][row] == labels
            continue
        assert torch.equal(whole["labels"][row, : len(labels)], labels)
        assert (whole["labels"][row, len(labels) :] == IGNORED).all()


@pytest.mark.parametrize("size", [1, 2, 3, 10, 97, 1000, 4097])
def test_a_permutation_holds_every_row_once(size):
    found = permute(np.arange(size), size, key=5)
    assert sorted(found.tolist()) == list(range(size))


def test_a_permutation_leaves_no_order_behind():
    found = permute(np.arange(10_000), 10_000, key=5)
    assert abs(np.corrcoef(found, np.arange(10_000))[0, 1]) < 0.05
    steps = np.diff(found)
    assert abs(np.corrcoef(found[:-1], found[1:])[0, 1]) < 0.05
    assert Counter(steps.tolist()).most_common(1)[0][1] < 10


def test_uniform_numbers_are_uniform():
    numbers = uniform(3, np.arange(300)[:, None], np.arange(300))
    counts, _ = np.histogram(numbers, bins=20, range=(0, 1))
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert np.abs(counts - 4500).max() < 5 * 4500**0.5


def test_a_label_is_the_token_after_its_input():
    batch = language(1000).batch(5, 16, 0, 16)
    assert torch.equal(batch["labels"], batch["input_ids"] + 1)
    assert batch["input_ids"].dtype == torch.int64
    assert batch["input_ids"].is_contiguous()
    assert batch["labels"].is_contiguous()


def test_an_epoch_holds_every_window_once_and_the_next_begins_elsewhere():
    feed = language(1000)
    epochs = []
    for epoch in range(6):
        begins = feed.batch(epoch, feed.rows, 0, feed.rows)["input_ids"][:, 0]
        assert len(set(begins.tolist())) == feed.rows
        assert (np.diff(sorted(begins.tolist())) == 8).all()
        epochs.append(begins)
    assert len({int(begins.min()) for begins in epochs}) > 1
    assert not torch.equal(epochs[0] - epochs[0].min(), epochs[1] - epochs[1].min())


def test_a_batch_may_reach_into_the_next_epoch():
    feed = language(1000)
    size = feed.rows - 3
    stream = torch.cat([feed.batch(s, size, 0, size)["input_ids"] for s in range(3)])
    whole = torch.cat([feed.batch(e, feed.rows, 0, feed.rows)["input_ids"] for e in range(3)])
    assert torch.equal(stream, whole[: len(stream)])


@pytest.mark.parametrize("count", [2, 5, 9, 10, 16, 17, 18, 100])
def test_every_held_out_token_but_the_first_is_a_target_once(count):
    feed = language(count)
    labels = feed.held_out_batch(0, feed.held_out_rows)["labels"]
    assert labels[labels != IGNORED].tolist() == list(range(1, count))


def test_text_shorter_than_a_sequence_cannot_be_trained_on():
    with pytest.raises(DataError, match="only 5 tokens, a sequence needs 9"):
        language(5).batch(0, 2, 0, 2)


def test_four_fifths_of_the_targets_are_masked_and_a_tenth_each_replaced_or_left():
    feed, tokenizer = masked(repeat=3000)
    batch = feed.batch(0, feed.rows, 0, feed.rows)
    targets = batch["labels"] != IGNORED
    ids, labels = batch["input_ids"], batch["labels"]
    inside = ids.shape[1] - 2
    assert targets.sum() / (len(ids) * inside) == pytest.approx(0.15, abs=0.01)
    of_targets = ids[targets]
    assert (of_targets == tokenizer.mask_token_id).float().mean() == pytest.approx(0.8, abs=0.02)
    assert (of_targets == labels[targets]).float().mean() == pytest.approx(0.1, abs=0.02)
    assert (ids[:, 0] == tokenizer.cls_token_id).all()
    assert (ids[:, -1] == tokenizer.sep_token_id).all()
    assert not set(labels[targets].tolist()) & set(tokenizer.all_special_ids)


def test_inputs_that_are_no_targets_are_the_text():
    feed, tokenizer = masked()
    plain = masked(mask_probability=1e-9)[0].held_out_batch(0, 3)
    batch = feed.held_out_batch(0, 3)
    restored = torch.where(batch["labels"] != IGNORED, batch["labels"], batch["input_ids"])
    expected = torch.where(plain["labels"] != IGNORED, plain["labels"], plain["input_ids"])
    assert torch.equal(restored, expected)
    assert "明月" in tokenizer.decode(restored.flatten())


def test_every_row_has_a_target_however_small_the_probability():
    feed, _ = masked(mask_probability=1e-9)
    assert ((feed.batch(0, 16, 0, 16)["labels"] != IGNORED).sum(dim=1) == 1).all()


def test_the_same_row_is_masked_anew_in_each_epoch():
    feed, _ = masked(seq_len=8, repeat=1)
    seen = {
        tuple((feed.batch(step, feed.rows, 0, feed.rows)["labels"] != IGNORED).flatten().tolist())
        for step in range(5)
    }
    assert len(seen) == 5


def test_whole_words_are_masked_together():
    feed, tokenizer = masked(whole_word=True, seq_len=64)
    batch = feed.batch(0, 64, 0, 64)
    starts = {i for t, i in tokenizer.get_vocab().items() if t.startswith("Ġ") or not t.isalpha()}
    checked = 0
    original = torch.where(batch["labels"] != IGNORED, batch["labels"], batch["input_ids"])
    for ids, labels in zip(original.tolist(), batch["labels"].tolist(), strict=True):
        for place in range(2, len(ids) - 1):
            text, before = (tokenizer.decode([ids[p]]) for p in (place, place - 1))
            if ids[place] not in starts and text.isascii() and text.isalpha() and before.isascii():
                assert (labels[place] == IGNORED) == (labels[place - 1] == IGNORED)
                checked += 1
    assert checked > 100


@pytest.mark.parametrize("repeat", [1, 2, 10])
def test_every_held_out_token_is_masked_at_most_once_and_none_is_left_out(repeat):
    feed, tokenizer = masked(seq_len=16, repeat=repeat, mask_probability=0.999999)
    batch = feed.held_out_batch(0, feed.held_out_rows)
    expected = text_encoder(tokenizer)([WORDS * repeat])[0].tolist()
    assert batch["labels"][batch["labels"] != IGNORED].tolist() == expected


def test_masking_without_a_mask_token_is_an_error():
    tokenizer = build_tokenizer(TokenizerSpec(kind="byte"), (), for_mlm=False)
    with pytest.raises(ExperimentError, match="mask token"):
        MaskedFeed(packed([1, 2, 3]), tokenizer, seq_len=8, seed=0)


def test_a_batch_of_rows_is_as_wide_as_the_longest_row_of_the_global_batch():
    feed = rows()
    for step in range(10):
        whole = feed.batch(step, 8, 0, 8)["attention_mask"]
        longest = int(whole.sum(dim=1).max())
        assert whole.shape[1] == min(-(-longest // 8) * 8, 64)
        assert feed.batch(step, 8, 2, 3)["attention_mask"].shape[1] == whole.shape[1]


@pytest.mark.parametrize(("count", "batch_size"), [(300, 7), (300, 300), (20, 64), (1000, 4)])
def test_every_epoch_of_classes_holds_each_row_once(count, batch_size):
    feed = classes(count)
    steps = -(-3 * count // batch_size)
    seen = [feed.batch(s, batch_size, 0, batch_size)["labels"].tolist() for s in range(steps)]
    for epoch in (1, 2, 3):
        # As many steps as hold so many epochs hold each row so often; the last may reach beyond.
        drawn = Counter(itertools.chain(*seen[: -(-epoch * count // batch_size)]))
        assert len(drawn) == count
        assert min(drawn.values()) >= epoch
        assert sum(drawn.values()) < epoch * count + batch_size


def test_classes_of_about_one_length_make_a_batch_and_batches_are_shuffled():
    def widths(feed):
        batches = [feed.batch(step, 8, 0, 8) for step in range(125)]
        return [b["input_ids"].shape[1] for b in batches], [
            float(b["attention_mask"].double().mean()) for b in batches
        ]

    found, filled = widths(classes(1000))
    assert np.mean(filled) > 0.8
    assert abs(np.corrcoef(found[:-1], found[1:])[0, 1]) < 0.3
    packed, _ = widths(rows(1000))
    assert np.mean(found) < 0.7 * np.mean(packed)  # which are as wide as the longest of any eight


def test_a_mixture_keeps_to_its_weights_exactly():
    mixed = mixture()
    batch = mixed.batch(0, 1024, 0, 1024)
    from_second = (batch["input_ids"] == 7).all(dim=1)
    assert from_second.sum() == 256
    assert 0 < from_second[:64].sum() < 64


def test_a_mixture_goes_through_all_rows_of_a_feed_before_it_repeats_one():
    encoded = [([number, 0], 1) for number in range(1, 101)]
    feed = RowsFeed(rows_in_memory(encoded, fingerprint="r"), seq_len=8, seed=0, pad_id=0)
    other = RowsFeed(rows_in_memory([([200, 0], 1)], fingerprint="o"), seq_len=8, seed=0, pad_id=0)
    first = MixedFeed([feed, other], [1, 1], seed=0).batch(0, 1024, 0, 1024)["input_ids"][:, 0]
    counts = Counter(first[first != 200].tolist())
    assert sum(counts.values()) == 512
    assert set(counts.values()) == {5, 6}  # five epochs of a hundred rows, and twelve rows more


def test_held_out_rows_of_a_mixture_are_those_of_its_feeds_in_turn():
    mixed = mixture()
    batch = mixed.held_out_batch(0, mixed.held_out_rows)
    targets = batch["labels"][batch["labels"] != IGNORED].tolist()
    assert targets == [*range(1, 2000), *[7] * 499]


@pytest.mark.parametrize("weights", [[1, 1, 1], [1e-9, 1], [0.3, 0.3, 0.2, 0.2]])
def test_every_feed_of_a_mixture_has_its_place_in_a_block(weights):
    feeds = [LanguageFeed(packed([n] * 50), seq_len=8, seed=0) for n in range(len(weights))]
    batch = MixedFeed(feeds, weights, seed=0).batch(0, 1024, 0, 1024)["input_ids"][:, 0]
    counts = np.bincount(batch, minlength=len(weights))
    assert (counts >= 1).all()
    assert np.allclose(counts / 1024, np.array(weights) / sum(weights), atol=2 / 1024)
