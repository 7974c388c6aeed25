"""Rows out of JSON files that are one document rather than one row a line.

Reading comprehension and many benchmarks come as one nested document. Each layout here is a small
generator that walks it and gives flat rows with the columns that its docstring states; `squad`,
`c3` and `chid` are the layouts of the data sets of these names. Such files often are a single line,
so a bad row is named by its path in the document (`dev.json: data[3].paragraphs[0].qas[1]`), which
finds it where a line number would not; what is not JSON is named by its line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from emergectl.data.files import open_binary
from emergectl.errors import DataError

MAX_DOCUMENT_BYTES = 2**30
ASKED_BLANK, OTHER_BLANK = "____", "……"
_IDIOM = re.compile(r"#idiom\d+#")
_KINDS: dict[type, str] = {list: "a list", str: "text", dict: "an object"}

Located = tuple[str, dict[str, Any] | str]
"""A path in the document, and the row there, or in words what is wrong with it."""


def read_json_document(path: Path) -> Any:
    """The value of a JSON file (or .json.gz) of at most a gigabyte.

    Raises DataError (`file:line: reason`) for what is not one JSON value in UTF-8.
    """
    try:
        with open_binary(path) as file:
            raw = file.read(MAX_DOCUMENT_BYTES + 1)
    except (OSError, EOFError) as error:
        raise DataError(f"{path}:1: cannot be read: {error}") from error
    if len(raw) > MAX_DOCUMENT_BYTES:
        raise DataError(f"{path}:1: a JSON document of more than a gigabyte: make it JSON lines")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        byte = raw[error.start]
        raise DataError(f"{path}:{line}: holds a byte that is not UTF-8 (0x{byte:02X})") from None
    return parse_document(text, name=str(path))


def parse_document(text: str, *, name: str) -> Any:
    """The value of a JSON text; `name` stands for the file in errors."""
    if not text.strip():
        raise DataError(f"{name}:1: the file is empty")
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=unique_keys)
    except json.JSONDecodeError as error:
        reason = f"not JSON: {error.msg}"
        if error.msg == "Extra data":
            reason = "more than one JSON value: where each line is a row, it is `format: jsonl`"
        elif error.pos >= len(text.rstrip()):
            reason = f"cut off: {reason}"
        raise DataError(f"{name}:{error.lineno}: {reason}") from None
    except RecursionError:
        raise DataError(f"{name}:1: nested too deeply") from None
    except ValueError as error:
        raise DataError(f"{name}:1: not JSON: {error}") from None


def rows_of_list(document: Any) -> Iterator[Located]:
    """A list of objects, as it stands or under `data` or `examples`: each is a row."""
    before = ""
    if isinstance(document, dict):
        before = next((k for k in ("data", "examples") if isinstance(document.get(k), list)), "")
        document = document.get(before)
    for number, row in enumerate(_as(document, list, "a list of objects, one a row")):
        good = isinstance(row, dict)
        yield f"{before}[{number}]", row if good else "expected an object of columns"


def rows_of_squad(document: Any) -> Iterator[Located]:
    """SQuAD 1.1 and 2.0, DRCD and CMRC 2018 in either of its forms.

    Columns: id, title, context, question, answers (a list of texts, empty where there is none).
    """
    for number, article in enumerate(_as(_first(document, "data"), list, "`data`, a list")):
        location = f"data[{number}]"
        if _first(article, "context_text") is not None:  # CMRC's own: a paragraph an article
            yield from _questions(location, article, article)
            continue
        paragraphs = _first(article, "paragraphs")
        if not isinstance(paragraphs, list):
            yield location, "expected `paragraphs`, a list"
            continue
        for index, paragraph in enumerate(paragraphs):
            yield from _questions(f"{location}.paragraphs[{index}]", article, paragraph)


def _questions(location: str, article: Any, paragraph: Any) -> Iterator[Located]:
    context = _first(paragraph, "context", "context_text")
    questions = _first(paragraph, "qas")
    if not isinstance(context, str) or not isinstance(questions, list):
        yield location, "expected `context`, a text, and `qas`, a list"
        return
    for number, question in enumerate(questions):
        answers = _first(question, "answers")
        row = {
            "id": _first(question, "id", "query_id"),
            "title": _first(article, "title") or "",
            "context": context,
            "question": _first(question, "question", "query_text"),
            "answers": [a.get("text") if isinstance(a, dict) else a for a in answers or []],
        }
        good = isinstance(answers, list) and isinstance(row["question"], str)
        reason = "expected `question`, a text, and `answers`, a list"
        yield f"{location}.qas[{number}]", row if good else reason


def rows_of_c3(document: Any) -> Iterator[Located]:
    """C3: a list of [lines of a passage or dialogue, its questions, id].

    Columns: id, context (the lines, joined by line ends), question, choice (a list), answer.
    """
    for number, entry in enumerate(_as(document, list, "a list")):
        is_triple = isinstance(entry, list) and len(entry) == 3
        lines, questions, name = entry if is_triple else (None, None, None)
        if not isinstance(lines, list) or not isinstance(questions, list):
            yield f"[{number}]", "expected [a list of lines, a list of questions, id]"
            continue
        for index, question in enumerate(questions):
            location = f"[{number}][1][{index}]"
            if not isinstance(question, dict):
                yield location, "expected an object: question, choice, answer"
                continue
            context = "\n".join(map(str, lines))
            yield location, {"id": f"{name}-{index}", "context": context, **question}


def rows_of_chid(passages: Mapping[str, Any], answers: Any) -> Iterator[dict[str, Any] | str]:
    """The blanks of one line of ChID: {content: a list of passages, candidates: idioms}.

    `answers` is the file of answers: {"#idiom000001#": index of the candidate}. Columns: id,
    content (the passage with the blank that is asked as ____ and the others as ……), candidates,
    answer (the idiom).
    """
    content, candidates = passages.get("content"), passages.get("candidates")
    if not isinstance(content, list) or not isinstance(candidates, list):
        yield "expected `content`, a list of passages, and `candidates`, a list"
        return
    for passage in map(str, content):
        for blank in _IDIOM.findall(passage):
            index = answers.get(blank) if isinstance(answers, dict) else None
            if not isinstance(index, int) or not 0 <= index < len(candidates):
                yield f"the file of answers names no candidate for {blank}"
                continue
            asked = _IDIOM.sub(OTHER_BLANK, passage.replace(blank, ASKED_BLANK, 1))
            yield {
                "id": blank.strip("#"),
                "content": asked,
                "candidates": candidates,
                "answer": candidates[index],
            }


LAYOUTS: dict[str, Callable[[Any], Iterator[Located]]] = {
    "json": rows_of_list,
    "squad": rows_of_squad,
    "c3": rows_of_c3,
}


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raises ValueError for a key that comes twice: one would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        doubled = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {doubled!r} comes twice in one object")
    return found


def _first(value: Any, *keys: str) -> Any:
    """What an object has under the first of these keys that it has; None where there is none."""
    if not isinstance(value, dict):
        return None
    return next((value[key] for key in keys if key in value), None)


def _as(value: Any, kind: type, wanted: str) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"expected {wanted}")
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")
