"""Packing: the same tokens whatever the pieces, once for all processes, no damaged cache."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from emergectl.config.schema import FileSource, TokenizerSpec
from emergectl.data import packing, sources
from emergectl.data.packing import DocumentSplit, pack_text
from emergectl.data.tokenizers import build_tokenizer, text_encoder, token_bytes
from emergectl.errors import DataError, EmergectlError

TEXT = "To be, or not to be: that is the question.\n水调歌头。明月几时有？\n\n" * 300


@pytest.fixture
def tokenizer():
    spec = TokenizerSpec(kind="bpe", vocab_size=500)
    return build_tokenizer(spec, [TEXT], for_mlm=False)


def pack(path, tokenizer, cache, **options):
    return pack_text(
        FileSource(path=str(path)), tokenizer, key="data.train.0", cache=cache, **options
    )


def test_documents_follow_each_other_each_closed_by_eos(write, tokenizer, cache):
    path = write("rows.jsonl", [{"text": "明月"}, {"text": "hear me"}])
    packed = pack(path, tokenizer, cache)
    eos = tokenizer.eos_token_id
    first, second = text_encoder(tokenizer)(["明月", "hear me"])
    assert packed.tokens.tolist() == [*first, eos, *second, eos]
    assert packed.ends.tolist() == [len(first) + 1, len(packed.tokens)]
    assert packed.text_bytes == len("明月hear me".encode())
    assert packed.exact_bytes


@pytest.mark.parametrize("chars", [50, 333, 10_000])
def test_pieces_of_any_size_give_the_tokens_of_the_whole(
    chars, write, tokenizer, cache, monkeypatch
):
    monkeypatch.setattr(sources, "PIECE_CHARS", chars)
    monkeypatch.setattr(sources, "_READ_BYTES", 777)
    monkeypatch.setattr(packing, "_BATCH_CHARS", 2000)
    packed = pack(write("text.txt", TEXT), tokenizer, cache)
    assert packed.tokens[:-1].tolist() == text_encoder(tokenizer)([TEXT])[0].tolist()


def test_packing_again_comes_from_the_cache(write, tokenizer, cache, monkeypatch):
    path = write("text.txt", TEXT)
    first = pack(path, tokenizer, cache)
    monkeypatch.setattr(packing, "_pack", None)  # would fail if it were called
    second = pack(path, tokenizer, cache)
    assert first.fingerprint == second.fingerprint
    assert np.array_equal(first.tokens, second.tokens)


def test_the_cache_goes_by_content_and_not_by_name(write, tokenizer, cache):
    first = pack(write("a.txt", TEXT), tokenizer, cache)
    assert pack(write("b.txt", TEXT), tokenizer, cache).fingerprint == first.fingerprint
    assert pack(write("a.txt", TEXT + "!"), tokenizer, cache).fingerprint != first.fingerprint


def damage_truncate(path):
    path.write_bytes(path.read_bytes()[:-2])


def damage_flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["tokens.bin", "ends.npy", "meta.json"])
@pytest.mark.parametrize("damage", [damage_truncate, damage_flip, Path.unlink])
def test_a_damaged_entry_is_made_again(name, damage, write, tokenizer, cache):
    path = write("text.txt", TEXT)
    expected = np.array(pack(path, tokenizer, cache).tokens)
    damage(next(cache.glob(f"packed/*/{name}")))
    assert np.array_equal(pack(path, tokenizer, cache).tokens, expected)


def test_what_a_dead_process_left_behind_is_cleared_away(write, tokenizer, cache):
    path = write("text.txt", TEXT)
    name = pack(path, tokenizer, cache).fingerprint
    (cache / "packed" / name / "tokens.bin").unlink()
    left = cache / "packed" / f"{name}.making-dead"
    left.mkdir()
    pack(path, tokenizer, cache)
    assert not left.exists()


CHILD = """
import sys, time
from pathlib import Path
from emergectl.config.schema import FileSource, TokenizerSpec
from emergectl.data import packing
from emergectl.data.tokenizers import build_tokenizer

made = packing._pack
def slowly(*arguments):
    print("made", flush=True)
    time.sleep(1)
    return made(*arguments)
packing._pack = slowly
tokenizer = build_tokenizer(TokenizerSpec(kind="byte"), (), for_mlm=False)
print("ready", flush=True)
sys.stdin.readline()
packed = packing.pack_text(
    FileSource(path=sys.argv[1]), tokenizer, key="data.train.0", cache=Path(sys.argv[2])
)
print(packed.fingerprint, int(packed.tokens.sum()), flush=True)
"""


def test_two_processes_that_want_the_same_make_it_once(write, cache):
    command = [sys.executable, "-c", CHILD, str(write("text.txt", TEXT)), str(cache)]
    children = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()
    outputs = [child.communicate(timeout=60)[0].splitlines() for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert sum(lines.count("made") for lines in outputs) == 1
    assert outputs[0][-1] == outputs[1][-1]
    assert int(outputs[0][-1].split()[1]) == sum(TEXT.encode()) + 257


def test_a_cache_that_is_a_file_is_named(write, tokenizer):
    path = write("text.txt", TEXT)
    with pytest.raises(EmergectlError, match="EMERGECTL_CACHE"):
        pack(path, tokenizer, path)


def test_a_failed_packing_leaves_nothing_behind(write, tokenizer, cache):
    path = write("rows.jsonl", '{"text": "good"}\noops\n')
    with pytest.raises(DataError, match=r":2: "):
        pack(path, tokenizer, cache)
    assert [p.suffix for p in (cache / "packed").iterdir()] == [".lock"]


def test_skipped_rows_are_known_when_the_cache_answers(write, tokenizer, cache):
    source = FileSource(path=str(write("r.jsonl", '{"text": "a"}\noops\n')), bad_rows="skip")
    for _ in range(2):
        packed = pack_text(source, tokenizer, key="data.train.0", cache=cache)
        assert packed.skipped == 1
        assert ":2: not JSON" in packed.first_skipped[0]


def test_the_two_sides_of_a_random_split_are_all_documents_once(write, tokenizer, cache):
    texts = [f"document {number} 第{number}号" for number in range(300)]
    path = write("rows.jsonl", [{"text": text} for text in texts])
    sides = [
        pack(path, tokenizer, cache, held_out=DocumentSplit(0.2, inside))
        for inside in (False, True)
    ]
    found = []
    for side in sides:
        begins = [0, *side.ends]
        found += [tokenizer.decode(side.tokens[a : b - 1]) for a, b in itertools.pairwise(begins)]
    assert sorted(found) == sorted(texts)
    assert 30 < len(sides[1].ends) < 90


def test_a_part_counts_its_own_bytes(write, tokenizer, cache):
    packed = pack(write("text.txt", TEXT), tokenizer, cache)
    sizes = token_bytes(tokenizer)
    first, second = packed.part(0, 1000, sizes), packed.part(1000, len(packed.tokens), sizes)
    assert first.text_bytes + second.text_bytes == packed.text_bytes
    assert first.text_bytes == len(tokenizer.decode(first.tokens).encode())
    assert second.ends.tolist() == [len(second.tokens)]
    assert first.fingerprint != second.fingerprint


def test_progress_counts_up_to_the_size_of_the_file(write, tokenizer, cache, monkeypatch):
    monkeypatch.setattr(packing, "_BATCH_CHARS", 10_000)
    monkeypatch.setattr(sources, "PIECE_CHARS", 1_000)
    monkeypatch.setattr(sources, "_READ_BYTES", 5_000)
    path = write("text.txt", TEXT)
    seen = []
    pack(path, tokenizer, cache, progress=lambda *facts: seen.append(facts))
    assert len(seen) > 1
    assert seen[-1] == (str(path), path.stat().st_size, path.stat().st_size)


@pytest.mark.parametrize(("characters", "dtype"), [(60_000, np.uint16), (70_000, np.uint32)])
def test_tokens_are_as_wide_as_the_vocabulary_needs(characters, dtype, write, cache):
    text = "".join(chr(0x10000 + number) for number in range(characters))
    tokenizer = build_tokenizer(TokenizerSpec(kind="char"), [text], for_mlm=False)
    packed = pack(write("text.txt", text), tokenizer, cache)
    assert packed.tokens.dtype == dtype
    assert packed.tokens[:-1].tolist() == list(range(3, characters + 3))


@pytest.mark.long
def test_two_hundred_megabytes_are_packed_in_a_fraction_of_that_memory(tmp_path):
    path = tmp_path / "large.txt"
    with path.open("w") as file:
        for number in range(200):
            file.write(f"{number} to be or not to be, that is the question\n" * 23_000)
    child = """
import resource, sys
from pathlib import Path
from emergectl.config.schema import FileSource, TokenizerSpec
from emergectl.data.packing import pack_text
from emergectl.data.tokenizers import build_tokenizer
spec = TokenizerSpec(kind="bpe", vocab_size=400)
tokenizer = build_tokenizer(spec, ["to be or not to be, that is the question\\n"], for_mlm=False)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
source = FileSource(path=sys.argv[1])
packed = pack_text(source, tokenizer, key="", cache=Path(sys.argv[2]))
print(packed.text_bytes, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", child, str(path), str(tmp_path / "cache")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    text_bytes, grown_kilobytes = map(int, done.stdout.split())
    assert text_bytes == path.stat().st_size > 200e6
    assert grown_kilobytes < 120_000
