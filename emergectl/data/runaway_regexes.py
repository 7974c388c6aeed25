"""Regular expressions of tokenizers whose time to match grows without bound.

A tokenizer.json may split text by any pattern, and the library behind it (Oniguruma) either gives
up on one that runs away, which ends in a Rust panic and a page of backtrace, or goes on for hours.
So patterns that can run away by their form, where something repeated is repeated again or stands
next to itself, are tried first: in a process of their own, with a time limit, on long runs of the
characters that they name. The patterns of GPT-2, Llama 3 and their kin have no such form and cost
nothing.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from emergectl.errors import RequestError

PROBE_SECONDS = 20.0
"""of all patterns of a tokenizer together; sound ones take less than one"""
_RUN = 2000
_LITERALS = 8
# A group that is repeated, or the same thing repeated twice in a row.
_CAN_RUN_AWAY = re.compile(r"\)[*+{]|(\\?.|\[[^\]]*\])[*+]\??\+?\1[*+]")
_PROBE = """
import json, sys
from tokenizers import Regex, pre_tokenizers
patterns, texts = json.load(sys.stdin)
for pattern in patterns:
    print(json.dumps(pattern), flush=True)
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    for text in texts:
        split.pre_tokenize_str(text)
print("done")
"""


def find_runaway(tokenizer_json: str) -> str | None:
    """The first pattern of a tokenizer.json that runs away; None where none does."""
    layout = json.loads(tokenizer_json)
    parts = [layout.get(name) for name in ("normalizer", "pre_tokenizer", "decoder")]
    patterns = dict.fromkeys(pattern for part in parts for pattern in _regexes(part))
    suspects = tuple(pattern for pattern in patterns if _CAN_RUN_AWAY.search(pattern))
    return _tried(suspects) if suspects else None


@contextmanager
def panics_told() -> Iterator[None]:
    """Turn a panic of the tokenizers library into a RequestError.

    Panics are no `Exception`, so that nothing would catch them on their way out.
    """
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        reason = " ".join(str(error).split()) or "it panicked"
        raise RequestError(
            f"the tokenizer cannot read this text ({reason}): one of its patterns runs away; take "
            "another tokenizer"
        ) from None


@lru_cache(maxsize=64)
def _tried(patterns: tuple[str, ...]) -> str | None:
    texts = [text for pattern in patterns for text in _texts(pattern)]
    try:
        tried = subprocess.run(
            [sys.executable, "-c", _PROBE],
            input=json.dumps([patterns, list(dict.fromkeys(texts))]),
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS,
            check=False,
        )
        said = tried.stdout
    except subprocess.TimeoutExpired as late:
        said = late.stdout.decode() if isinstance(late.stdout, bytes) else late.stdout or ""
    lines = said.splitlines()
    if lines and lines[-1] == "done":
        return None
    return str(json.loads(lines[-1])) if lines else patterns[0]


def _texts(pattern: str) -> Iterator[str]:
    """Long runs of what a pattern may repeat, each ended by what it will not expect.

    One end holds the pattern's own text: where that is missing, a search may stop before it begins.
    """
    literals = list(dict.fromkeys(c for c in pattern if c.isalnum()))[:_LITERALS]
    words = re.findall(r"[^\W_]{2,}", pattern)[:_LITERALS]
    pairs = [a + b for a in literals for b in literals if a != b]
    mixed = ["a ", "a1", "a.", " \n", "1 "]
    for run in dict.fromkeys([*"a1 .\n", "é", "中", *mixed, *literals, *words, *pairs]):
        for end in ("!", "\0z", "! " + re.sub(r"\\.", " ", pattern)):
            yield run * (_RUN // len(run)) + end


def _regexes(part: Any) -> Iterator[str]:
    """Every {"Regex": pattern} of a part, however deep."""
    left = [part]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            if isinstance(value.get("Regex"), str):
                yield value["Regex"]
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)
