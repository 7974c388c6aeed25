"""Whatever is in the file: never a traceback, exit code 2, and lines that say what is wrong."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emergectl.cli.main import main
from emergectl.config.experiment import dump_experiment, load_experiment
from emergectl.config.explain import known_keys
from emergectl.config.schema import Experiment
from emergectl.errors import RequestError

EXAMPLE = """\
# An experiment with a little of everything.
name: addition-1m
stage: pretrain
seed: 0
model: {family: llama, size: 1m, config: {rope_theta: 1e4}}
tokenizer: {kind: char}
data:
  train:
  - &one {task: addition, digits: 3, weight: 2.5}
  - path: text.txt
    columns: {text: 正文}
  - *one
  validation: {path: text.txt}
  seq_len: 64
objective: {labels: [no, 'yes', 3], name: multiclass, class_weights: balanced}
train: {steps: 2000, batch_size: 256, nan: skip 3}
optimizer: {name: adamw, lr: 1e-3, betas: [0.9, 0.95], grad_clip: ~}
evaluation: {every: [1, 10, 100], tasks: [addition]}
snapshots: {every: log}
tracking: [tensorboard, {name: wandb, offline: true}]
notes: |
  several
  lines
"""
SNIPPETS = [
    "&a",
    "*a",
    "*one",
    "<<: *one",
    "!!python/name:os.system",
    "!x",
    ".nan",
    ".inf",
    "1e999",
]
SNIPPETS += [
    "no",
    "010",
    "- ",
    ": ",
    "? ",
    "\n",
    "\n\t",
    "  ",
    "{",
    "}",
    "[",
    "]",
    ",",
    "#",
    "|",
    ">",
]
SNIPPETS += [
    "'",
    '"',
    '"\\e[31m"',
    '"\\ud800"',
    "---",
    "...",
    "%YAML 1.1",
    "@",
    "`",
    "\ufeff",
    "\x85",
]
SNIPPETS += [
    "name: x\n",
    "seed: 1\n",
    "data: {}\n",
    "train:\n",
    "0",
    "-1",
    "1e3",
    "词",
    "'\\0'",
    "9" * 400,
]
FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def check(tmp_path: Path):
    """Load a file's bytes: it is either valid, and then writes itself, or refused in words."""
    (tmp_path / "text.txt").write_text("text")
    file = tmp_path / "e.yaml"

    def load(raw: bytes, *overrides: str) -> None:
        file.write_bytes(raw)
        try:
            loaded = load_experiment(file, overrides)
        except RequestError as error:
            lines = str(error).splitlines()
            assert lines
            for line in lines:
                assert line.isprintable()
                assert line.startswith((str(file), "override `", "and ")), line
        else:
            assert dump_experiment(loaded.experiment)

    return load


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """The example with a few bytes changed, cut, doubled or put in."""
    raw = bytearray(EXAMPLE.encode())
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(raw)))
        stop = min(len(raw), start + draw(st.integers(0, 40)))
        snippet = draw(st.sampled_from(SNIPPETS)).encode()
        raw[start:stop] = draw(
            st.sampled_from([b"", bytes(raw[start:stop]) * 2, snippet, raw[start:stop] + snippet])
            | st.binary(max_size=4)
        )
    return bytes(raw)


leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(
        ["log", "auto", "adamw", "x", "", "stop", "正文", "\x1b[0m", "a\0b", "~", "*"]
    )
)
anything = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "path", "task", "from", "0", "é"]), inner, max_size=3
        )
    ),
    max_leaves=5,
)


@st.composite
def misfilled(draw: st.DrawFn) -> dict[str, Any]:
    """The known keys, some of them, with values of any kind."""
    filled: dict[str, Any] = {"data": {"train": {"task": "copying"}}}
    for key, field in draw(
        st.lists(st.sampled_from(list(known_keys(Experiment).items())), max_size=4)
    ):
        inner = getattr(field.annotation, "model_fields", None)
        if inner and draw(st.booleans()):
            names = [f.alias or name for name, f in inner.items()]
            filled[key] = draw(st.dictionaries(st.sampled_from(names), anything, max_size=3))
        else:
            filled[key] = draw(anything)
    return filled


@FUZZ
@given(raw=mutated())
def test_a_mutated_file_is_valid_or_refused_in_words(check, raw: bytes) -> None:
    check(raw)


@FUZZ
@given(raw=st.lists(st.sampled_from(SNIPPETS), max_size=30).map("".join))
def test_a_heap_of_yaml_signs_is_refused_in_words(check, raw: str) -> None:
    check(raw.encode())


@FUZZ
@given(filled=misfilled())
def test_known_keys_with_values_of_any_kind_are_refused_in_words(check, filled: dict) -> None:
    check(json.dumps(filled, allow_nan=False).encode())


@FUZZ
@given(
    path=st.lists(
        st.sampled_from(["data", "train", "0", "path", "seed", "x", "", "99"]), max_size=5
    ),
    value=st.lists(st.sampled_from(SNIPPETS), max_size=4).map("".join) | st.text(max_size=8),
)
def test_any_override_is_taken_or_refused_in_words(check, path: list[str], value: str) -> None:
    check(EXAMPLE.encode(), f"{'.'.join(path)}={value}")


def test_the_example_that_is_mutated_is_valid(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("text")
    (tmp_path / "example.yaml").write_text(EXAMPLE)
    assert load_experiment(tmp_path / "example.yaml").experiment.name == "addition-1m"


HOSTILE = {
    "10 MB": b"a: 1\n" * 2_000_000,
    "1 MB of keys": b"".join(b"k%d: 1\n" % i for i in range(90_000)),
    "1 MB of items": b"data: {train: [" + b"1," * 400_000 + b"]}",
    "1 MB of brackets": b"[" * 999_999,
    "1 MB of braces": b"{a: " * 249_000,
    "1 MB of dashes": b"- " * 499_000,
    "1 MB of anchors": b"&a " * 333_000,
    "1 MB in one name": b"name: " + b"x" * 999_000,
    "a huge number": b"seed: " + b"9" * 999_000,
    "zeros": bytes(100_000),
    "noise": bytes(range(256)) * 100,
    "no permission to be text": b"\x80" * 100,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_within_seconds(name: str, tmp_path: Path) -> None:
    file = tmp_path / "e.yaml"
    file.write_bytes(HOSTILE[name])
    with contextlib.redirect_stderr(io.StringIO()) as talk:
        assert main(["validate", str(file)]) == 2
    assert talk.getvalue().startswith(f"error: {file}:")
    assert "Traceback" not in talk.getvalue()
    assert len(talk.getvalue()) < 10_000
