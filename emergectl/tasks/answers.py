"""When two answers in plain text are the same, and how much they share, as the field's scripts say.

`squad_*` follow the evaluation script of SQuAD 1.1 (Rajpurkar et al. 2016): lower case, without
punctuation and articles, words compared as bags. `cmrc_*` follow that of CMRC 2018 (Cui et al.
2019): without its list of punctuation marks, Chinese by the character and everything else by the
word, and what two answers share is their longest common stretch. Each works on one answer and one
reference; a question with several references counts the best.
"""

from __future__ import annotations

import re
import string
from collections import Counter

from emergectl.tasks.numbers import last_number_of

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_CMRC_MARKS = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_CHINESE = re.compile(r"[\u4e00-\u9fa5]")
# How the script's word splitter (NLTK's) parts what is not Chinese, as far as answers go.
_WORDS = re.compile(r"\w+(?:[.,']\w+)*%?|[^\w\s]")


def squad_normal(text: str) -> str:
    """An answer as SQuAD's script compares it."""
    kept = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(_ARTICLES.sub(" ", kept).split())


def squad_f1(answer: str, reference: str) -> float:
    """Harmonic mean of precision and recall over words, each as often as it stands."""
    ours, theirs = squad_normal(answer).split(), squad_normal(reference).split()
    shared = sum((Counter(ours) & Counter(theirs)).values())
    return _f1(shared, len(ours), len(theirs))


def cmrc_normal(text: str) -> str:
    """An answer as CMRC's script compares it."""
    return "".join(c for c in text.lower().strip() if c not in _CMRC_MARKS)


def cmrc_f1(answer: str, reference: str) -> float:
    """Harmonic mean of precision and recall of the longest common stretch of segments."""
    ours, theirs = cmrc_segments(answer), cmrc_segments(reference)
    return _f1(_longest_common(ours, theirs), len(ours), len(theirs))


def cmrc_segments(text: str) -> list[str]:
    """Chinese by the character, everything else by the word, marks of the list left out."""
    segments: list[str] = []
    word = ""
    for c in text.lower().strip():
        if not (_CHINESE.match(c) or c in _CMRC_MARKS):
            word += c
            continue
        segments += _WORDS.findall(word)
        word = ""
        if c not in _CMRC_MARKS:
            segments.append(c)
    return segments + _WORDS.findall(word)


def last_number(text: str) -> str | None:
    """The last number of a text in one spelling (`$1,200.00.` is `1200`, `3/4` is `0.75`); None
    without a clear one (`emergectl.tasks.numbers`)."""
    return last_number_of(text)


def _longest_common(ours: list[str], theirs: list[str]) -> int:
    """Length of the longest stretch that stands in both."""
    best, above = 0, [0] * (len(theirs) + 1)
    for left in ours:
        row = [0] * (len(theirs) + 1)
        for place, right in enumerate(theirs, start=1):
            if left == right:
                row[place] = above[place - 1] + 1
                best = max(best, row[place])
        above = row
    return best


def _f1(shared: int, ours: int, theirs: int) -> float:
    if not shared:
        return 0.0
    precision, recall = shared / ours, shared / theirs
    return 2 * precision * recall / (precision + recall)
