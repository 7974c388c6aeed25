"""Which model types there are, and what each learns by, read without importing transformers.

Importing it takes seconds, `validate` has a third of one. So the tables that transformers' own
auto classes go by are read as text.
"""

from __future__ import annotations

import difflib
import importlib.util
import re
from functools import cache
from pathlib import Path

from emergectl.errors import ExperimentError, PluginError, RequestError
from emergectl.models.families import FAMILIES, Architecture, find_family

# NAME = OrderedDict(\n    [\n        ("gpt2", "GPT2LMHeadModel"), …\n    ]\n)
_TABLE = re.compile(r"^(\w+) = OrderedDict\(\n(.*?)^\)", re.MULTILINE | re.DOTALL)
_ENTRY = re.compile(r"^\s+\(\s*\"([^\"]+)\",", re.MULTILINE)


def family_kind(model_type: str) -> Architecture | None:
    """What a model type learns by: the next token, masked ones, or, with an encoder and a decoder,
    one text from another; None where it does none of these.

    Encoders that can be turned into decoders (BERT …) count as masked.
    """
    family = find_family(model_type)
    if family is not None:
        return family.kind
    if model_type in _table("MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES"):
        return "seq2seq"
    if model_type in _table("MODEL_FOR_MASKED_LM_MAPPING_NAMES"):
        return "masked"
    return "causal" if model_type in _table("MODEL_FOR_CAUSAL_LM_MAPPING_NAMES") else None


def check_family(model_type: str) -> None:
    """Raise ExperimentError for `model.family` where no model type is called that."""
    known = _table("MODEL_MAPPING_NAMES")
    try:
        if family_kind(model_type) is not None or model_type in known:
            return
    except PluginError as error:
        raise ExperimentError("model.family", str(error)) from error
    near = difflib.get_close_matches(model_type, [*FAMILIES, *known], n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ExperimentError(
        "model.family",
        f"expected a model type of transformers ({', '.join(FAMILIES)} …), "
        f"got {model_type!r}{hint}",
    )


def _table(name: str) -> frozenset[str]:
    if name not in _tables():
        raise RequestError(f"this version of transformers has no table {name}: install another")
    return _tables()[name]


@cache
def _tables() -> dict[str, frozenset[str]]:
    """Name → model types of each table in transformers' auto classes of models."""
    spec = importlib.util.find_spec("transformers")
    if spec is None or spec.origin is None:
        raise RequestError("transformers is not installed: pip install emergectl")
    path = Path(spec.origin).parent / "models" / "auto" / "modeling_auto.py"
    tables = _TABLE.findall(path.read_text(encoding="utf-8"))
    return {name: frozenset(_ENTRY.findall(entries)) for name, entries in tables}
