"""What the name of a model tells: which model, how large, at which step, of which seed.

Names are written for people, so this is by rules, and where a rule had to choose it says so. The
size is looked up in a table of well-known names first (their names tell it wrongly, or not at all),
then read: `1.4b`, `1b1`, `560m`. A number with `k` is a context length, one behind `ctx` or
`instruct` in millions too, and one behind `step-50K-` or before `tokens` counts tokens.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

KNOWN_SIZES = {
    **{"gpt2": 124e6, "gpt2-medium": 355e6, "gpt2-large": 774e6, "gpt2-xl": 1558e6},
    **{"distilgpt2": 82e6, "openai-gpt": 117e6, "gpt-3": 175e9, "gpt-j": 6.05e9, "grok-1": 314e9},
    **{"bloom": 176e9, "bloomz": 176e9, "starcoder": 15.5e9, "starcoderbase": 15.5e9},
    **{"bert-base": 110e6, "bert-large": 340e6, "distilbert-base": 66e6},
    **{"roberta-base": 125e6, "roberta-large": 355e6, "santacoder": 1.1e9, "dbrx": 132e9},
    **{"t5-small": 60e6, "t5-base": 220e6, "t5-large": 770e6},
    **{"flan-t5-small": 80e6, "flan-t5-base": 250e6, "flan-t5-large": 780e6},
    **{"flan-t5-xl": 3e9, "flan-t5-xxl": 11e9, "command-r": 35e9, "command-r-plus": 104e9},
    **{"mixtral-8x7b": 46.7e9, "mixtral-8x22b": 141e9, "olmoe-1b-7b": 6.9e9, "jamba": 52e9},
    **{"phi-1": 1.3e9, "phi-1-5": 1.3e9, "phi-2": 2.7e9, "phi-3-mini": 3.8e9, "phi-3-small": 7e9},
    **{"phi-3-medium": 14e9, "phi-3-5-mini": 3.8e9, "phi-3-5-moe": 42e9, "phi-4": 14e9},
    **{"phi-4-mini": 3.8e9, "qwen1-5-moe-a2-7b": 14.3e9, "qwen2-57b-a14b": 57e9},
    **{"deepseek-v2-lite": 15.7e9, "deepseek-v2": 236e9, "deepseek-v3": 671e9},
    **{"deepseek-r1": 671e9, "deepseek-moe-16b": 16.4e9},
}
"""parameters by the name of the family, where a name does not tell them; `_` and `.` are `-`"""

HUB = "hub:"
"""what a reference to a model on the hub may begin with, and one to its revisions must"""
_UNITS = {"m": 1e6, "b": 1e9, "t": 1e12}
_SIZE = re.compile(
    r"(?<![a-z0-9.])(?!0\d)(\d+(?:\.\d+)?)([mbt])(\d(?!\d))?(?![a-z0-9])"
    r"(?![-_]?(?:steps|iter(?:ation)?s|samples|examples|doc(?:ument)?s)(?![a-z0-9]))",
    re.IGNORECASE,
)
_UNDERSCORE = re.compile(r"(?<=-)(\d+)_(\d+[mb])(?![a-z0-9])", re.IGNORECASE)
"""`-1_8b`, which is 1.8b where a name has hyphens between its parts"""
_EXPERTS = re.compile(r"(?<![a-z0-9.])(\d+)x(\d+(?:\.\d+)?)b(?![a-z0-9])", re.IGNORECASE)
_STEP = re.compile(
    r"(?:global[-_]?)?(?<![a-z])(?:step|checkpoint|ckpt|iter)[-_=]?(\d+(?:\.\d+)?)(k|m)?(?![a-z0-9])"
    r"(?:[-_](\d+(?:\.\d+)?)(b|t)(?![a-z0-9]))?",
    re.IGNORECASE,
)
_TOKENS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?<![a-z])tok(?:ens?|s)?[-_=]?(\d+(?:\.\d+)?)(m|b|t)(?![a-z0-9])",
        r"(?<![a-z0-9.])(\d+(?:\.\d+)?)(m|b|t)[-_]?tok(?:ens?|s)?(?![a-z])",
        r"(?<![a-z0-9.])(\d+(?:\.\d+)?)(m|b)t(?![a-z0-9])",
        r"(?<![a-z0-9.])(?:train[-_])?(0\d+)(b)(?![a-z0-9])",
    )
)
"""`tokens419B`, `105b-tokens`, `600bt`, `train_00220B`"""
_SEED = re.compile(
    r"(?<![a-z])seed[-_=]?(\d+|default|(?:small|large)-aux-\d+)(?![a-z0-9])", re.IGNORECASE
)
"""numbers, and the words of DataDecide: `step69369-seed-default`, `seed-large-aux-2`"""
_CONTEXT = re.compile(r"ctx|context", re.IGNORECASE)
_TUNED = re.compile(r"instruct|chat", re.IGNORECASE)
_EDGES = "-_./@ "
_OF_A_FILE = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T_-]\d\d[-:.]\d\d[-:.]\d\d(?:\.\d+)?)?"
    r"|\d\d-\d\d-\d{4}(?:-\d\d-\d\d-\d\d)?|(?<!\d)20\d{6}(?:[-_T]?\d{6})?(?!\d)"
    r"|(?<![a-z0-9])(?:(?:eval[-_])?results?|eval)(?![a-z0-9])",
    re.IGNORECASE,
)
"""what the name of a file of results says beside the model, such as when it was made"""
_SHOTS = re.compile(r"(?<![a-z0-9])(\d+)-?shots?(?![a-z0-9])", re.IGNORECASE)


@dataclass(frozen=True)
class ModelName:
    """What a name tells. `model`: the name without step, tokens and seed, so that checkpoints of
    one model have one name. `guessed`: what had to be chosen, as a sentence part; "" if nothing.
    """

    model: str
    params: float | None = None
    step: float | None = None
    tokens: float | None = None
    seed: str = ""
    guessed: str = ""


def read_name(name: str) -> ModelName:
    """Everything that a model's name or path tells."""
    step = tokens = None
    rest = name
    if found := _STEP.search(rest):
        step = float(found[1]) * {"k": 1e3, "m": 1e6}.get((found[2] or "").lower(), 1)
        if found[3]:
            tokens = float(found[3]) * _UNITS[found[4].lower()]
        rest = _without(rest, found)
    if found := next((f for pattern in _TOKENS if (f := pattern.search(rest))), None):
        tokens = float(found[1]) * _UNITS[found[2].lower()]
        rest = _without(rest, found)
    seed = ""
    if found := _SEED.search(rest):
        seed, rest = found[1], _without(rest, found)
    params, guessed = _size(rest)
    return ModelName(rest or name, params, step, tokens, seed, guessed)


def shots_of_file(path: Path) -> int | None:
    """The number of shots that the name of a file tells."""
    found = _SHOTS.search(path.stem)
    return int(found[1]) if found else None


def name_of_file(path: Path, *, shots: bool) -> str:
    """What the name of a file says of the model in it, without dates and, if `shots`, without
    shots; with the folders above where it says nothing, or only a step."""
    parts: list[str] = []
    for text in (path.stem, *(above.name for above in path.absolute().parents)):
        name = _OF_A_FILE.sub("", text)
        if shots and (found := _SHOTS.search(name)):
            name = _without(name, found)
        name = name.strip(_EDGES) if name != text else text
        if name:
            parts.insert(0, name)
            told = read_name(name)
            if told.model != name or (told.step, told.tokens, told.seed) == (None, None, ""):
                break
    return "/".join(parts)


def revision_of(revision: str) -> tuple[float | None, float | None]:
    """(step, tokens) that a revision tells: `step1000-tokens4B` → (1000, 4e9)."""
    found = read_name(revision)
    if found.step is None and revision.isdigit() and len(revision) < 10:
        return float(revision), found.tokens
    return found.step, found.tokens


def split_revision(ref: str) -> tuple[str, str]:
    """`hub:org/model@step*` → (`org/model`, `step*`); without a revision it is `main`."""
    name, _, revision = ref.removeprefix(HUB).partition("@")
    return name, revision or "main"


def _without(name: str, found: re.Match[str]) -> str:
    before, after = name[: found.start()].rstrip(_EDGES), name[found.end() :].lstrip(_EDGES)
    return f"{before}-{after}" if before and after else before or after


def _size(name: str) -> tuple[float | None, str]:
    """The size and what was guessed; the last part of a path that tells one."""
    for part in reversed(re.split(r"[/\\]", name)):
        size, guessed = _size_of_part(part)
        if size is not None:
            return size, guessed
    return None, ""


def _size_of_part(part: str) -> tuple[float | None, str]:
    plain = re.sub(r"[_.\s]", "-", part.lower())
    for known in sorted(KNOWN_SIZES, key=len, reverse=True):
        if plain == known or plain.startswith(f"{known}-"):
            in_rest, guessed = _by_rules(part[len(known) :])
            return (KNOWN_SIZES[known], "") if in_rest is None else (in_rest, guessed)
    return _by_rules(part)


def _by_rules(part: str) -> tuple[float | None, str]:
    if found := _UNDERSCORE.search(part):
        told = f"{found[1]}.{found[2]}"
        size, guessed = _by_rules(_UNDERSCORE.sub(told, part))
        return size, guessed or f"{found[0]} read as {told}"
    sizes = {
        match[0]: float(match[1] + (f".{match[3]}" if match[3] else "")) * _UNITS[match[2].lower()]
        for match in _SIZE.finditer(part)
        if not _is_context(part[: match.start()], match[2])
    }
    if not sizes:
        experts = _EXPERTS.search(part)
        if experts is None:
            return None, ""
        return float(experts[1]) * float(experts[2]) * 1e9, f"{experts[0]}, each expert whole"
    first, *others = sizes
    if all(sizes[other] == sizes[first] for other in others):
        return sizes[first], ""
    return sizes[first], f"{first}, the first of {', '.join(sizes)} in its name"


def _is_context(before: str, unit: str) -> bool:
    """Whether a number is a length of context: behind `ctx`; in millions, behind `instruct`."""
    return bool(_CONTEXT.search(before)) or (unit.lower() != "b" and bool(_TUNED.search(before)))
