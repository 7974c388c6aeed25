"""How fast text becomes packed tokens, against `datasets.map` with the same tokenizer.

    python tests/benchmarks/bench_packing.py --megabytes 20 --kind bpe [--text FILE]

Prints MB/s of both (the text read from disk, tokenised, and written to disk as each does it) and
their ratio, and the cost of a batch. `datasets.map` runs batched in one process, the tokenizers
library spreading each batch over the same threads in both.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import datasets

from emergectl.config.schema import FileSource, TokenizerSpec
from emergectl.data.feeds import LanguageFeed
from emergectl.data.packing import PackedTokens, pack_text
from emergectl.data.tokenizers import build_tokenizer, load_tokenizer

DEFAULT_TEXT = Path(__file__).parents[2] / "README.md"


def main() -> None:
    """Write a file of documents, pack it both ways, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--megabytes", type=float, default=20)
    parser.add_argument("--kind", choices=["char", "byte", "bpe"], default="bpe")
    parser.add_argument("--tokenizer", help="a directory to load the tokenizer from instead")
    parser.add_argument("--text", type=Path, default=DEFAULT_TEXT, help="text to repeat")
    arguments = parser.parse_args()
    text = arguments.text.read_text(encoding="utf-8")
    if arguments.tokenizer:
        tokenizer = load_tokenizer(arguments.tokenizer)
    else:
        spec = TokenizerSpec(kind=arguments.kind)
        tokenizer = build_tokenizer(spec, [text], for_mlm=False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.jsonl"
        size = write_documents(path, text, arguments.megabytes * 1e6)
        ours, packed = time_packing(path, tokenizer, Path(folder))
        theirs = time_map(path, tokenizer, Path(folder))
        figures = {
            "text_megabytes": round(size / 1e6, 1),
            "packing_megabytes_per_second": round(size / 1e6 / ours, 2),
            "datasets_map_megabytes_per_second": round(size / 1e6 / theirs, 2),
            "ratio": round(theirs / ours, 2),
            "batch_of_12_by_64_microseconds": round(time_batch(packed, 12, 64), 1),
            "batch_of_16_by_256_microseconds": round(time_batch(packed, 16, 256), 1),
            "peak_memory_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }
    print(json.dumps(figures, indent=2))


def write_documents(path: Path, text: str, wanted_bytes: float) -> int:
    """Paragraphs of the text as documents of JSON lines, over and over; returns their bytes."""
    paragraphs = [part for part in text.split("\n\n") if part.strip()]
    size = number = 0
    with path.open("w", encoding="utf-8") as file:
        while size < wanted_bytes:
            document = f"{number} {paragraphs[number % len(paragraphs)]}"
            file.write(json.dumps({"text": document}, ensure_ascii=False) + "\n")
            size += len(document.encode())
            number += 1
    return size


def time_packing(path: Path, tokenizer, folder: Path) -> tuple[float, PackedTokens]:
    """Seconds that pack_text takes, and what it packed."""
    begun = time.perf_counter()
    source = FileSource(path=str(path))
    packed = pack_text(source, tokenizer, key="data.train.0", cache=folder / "cache")
    return time.perf_counter() - begun, packed


def time_map(path: Path, tokenizer, folder: Path) -> float:
    """Seconds that load_dataset and map take to the same tokens."""
    datasets.disable_progress_bars()
    begun = time.perf_counter()
    loaded = datasets.load_dataset(
        "json", data_files=str(path), split="train", cache_dir=str(folder / "arrow")
    )
    closing = tokenizer.eos_token_id

    def tokenise(batch):
        ids = tokenizer(batch["text"], add_special_tokens=False, return_attention_mask=False)
        return {"input_ids": [[*row, closing] for row in ids["input_ids"]]}

    loaded.map(tokenise, batched=True, remove_columns=["text"])
    return time.perf_counter() - begun


def time_batch(packed: PackedTokens, batch_size: int, seq_len: int) -> float:
    """Microseconds a batch takes, the best of five rounds."""
    feed = LanguageFeed(packed, seq_len=seq_len, seed=0)
    rounds = []
    for number in range(5):
        begun = time.perf_counter()
        for step in range(300):
            feed.batch(300 * number + step, batch_size, 0, batch_size)
        rounds.append(time.perf_counter() - begun)
    return min(rounds) / 300 * 1e6


if __name__ == "__main__":
    main()
