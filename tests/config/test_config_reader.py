"""YAML as experiments are written: what plain scalars mean, and which files are refused, where."""

from pathlib import Path

import pytest

from emergectl.config.reader import MAX_BYTES, MAX_DEPTH, parse_yaml, read_yaml
from emergectl.errors import RequestError


def value_of(text: str) -> object:
    return parse_yaml(f"key: {text}", name="f.yaml").data["key"]


def refusal_of(raw: str | bytes) -> str:
    with pytest.raises(RequestError) as refused:
        parse_yaml(raw, name="f.yaml")
    return str(refused.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-4", 1e-4),
        ("1E+3", 1000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-0.25", -0.25),
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("true", True),
        ("False", False),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("2024-01-01", "2024-01-01"),
        ("~", None),
        ("null", None),
        ("", None),
        ("'1e-4'", "1e-4"),
        ('"no\\n"', "no\n"),
        ("1e-4x", "1e-4x"),
        ("宋词", "宋词"),
    ],
)
def test_a_plain_scalar_means_what_yaml_1_2_says(text: str, expected: object) -> None:
    found = value_of(text)
    assert found == expected
    assert type(found) is type(expected)


def test_keys_are_the_text_that_stands_there() -> None:
    assert parse_yaml("no: 1\n1: 2\n1e-4: 3\n", name="f").data == {"no": 1, "1": 2, "1e-4": 3}


def test_a_block_of_text_is_text() -> None:
    assert parse_yaml("a: |\n  1\n  2\n", name="f").data == {"a": "1\n2\n"}


def test_two_equal_keys_are_refused_with_both_lines() -> None:
    assert refusal_of("a: 1\nb: 2\n'a': 3\n") == "f.yaml:3: the key `a` stands already in line 1"


def test_equal_keys_in_different_mappings_are_fine() -> None:
    assert parse_yaml("a: {x: 1}\nb: {x: 2}\n", name="f").data["b"] == {"x": 2}


@pytest.mark.parametrize(
    ("raw", "line", "reason"),
    [
        ("a:\n\tb: 1\n", 2, "a tab in the indentation"),
        ("a: [1, 2\n", 1, "did not find expected ',' or ']'"),
        ("a: b: c\n", 1, "in quotes"),
        ("a: *.txt\n", 1, "in quotes"),
        ("a: *nobody\n", 1, "names no anchor"),
        ("x: 1\na: &a [*a]\n", 2, "stands inside what it names"),
        ("a: !!python/object/apply:os.system [true]\n", 1, "tags are not read"),
        ("a: !mine x\n", 1, "tags are not read"),
        ("a: 1\n!!python/name:os.system x: 1\n", 2, "a key must be plain text"),
        ("<<: {a: 1}\n", 1, "merge keys"),
        ("? [a, b]\n: 1\n", 1, "a key must be plain text"),
        ("'': 1\n", 1, "an empty key"),
        ("a: 1\n---\nb: 2\n", 2, "a second document"),
        ("a: 1\nb: .nan\n", 2, "not a finite number"),
        ("a: -.inf\n", 1, "not a finite number"),
        ("a: 1e999\n", 1, "too large for a number"),
        ("a: " + "9" * 5000 + "\n", 1, "too large for a number"),
        ("a: 1\nb: \x00\n", 2, "U+0000 is not text"),
        ("a: 1\nb: \x1b[31m\n", 2, "U+001B is not text"),
        (b"a: 1\nb: \xe9t\xe9\n", 2, "not UTF-8 (byte 0xe9)"),
        ("a: 1\n".encode("utf-16"), 1, "not UTF-8"),
    ],
)
def test_what_cannot_be_read_is_refused_with_line_and_reason(
    raw: str | bytes, line: int, reason: str
) -> None:
    message = refusal_of(raw)
    assert message.startswith(f"f.yaml:{line}: ")
    assert reason in message
    assert "\n" not in message


@pytest.mark.parametrize("raw", ["", "\n\n", "# only a comment\n"])
def test_an_empty_file_is_refused(raw: str) -> None:
    assert refusal_of(raw) == "f.yaml: empty"


def test_a_byte_order_mark_and_windows_line_ends_are_read() -> None:
    document = parse_yaml(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n", name="f")
    assert document.data == {"a": 1, "b": 2}
    assert document.line_of(["b"]) == 2


def test_nesting_is_bounded() -> None:
    deep = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert parse_yaml(deep, name="f").data
    assert "nested deeper" in refusal_of(f"a: {deep}")
    assert "nested deeper" in refusal_of("[" * 400_000)


def test_aliases_are_expanded() -> None:
    assert parse_yaml("a: &x [1, 2]\nb: *x\n", name="f").data == {"a": [1, 2], "b": [1, 2]}


def test_a_billion_laughs_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    assert "values, aliases expanded" in refusal_of("\n".join(lines))


def test_a_file_over_the_limit_is_refused_without_reading_it_all(tmp_path: Path) -> None:
    large = tmp_path / "large.yaml"
    large.write_bytes(b"a: 1\n" * (MAX_BYTES // 5 + 1))
    with pytest.raises(RequestError, match="larger than 1 MB"):
        read_yaml(large)
    with pytest.raises(RequestError, match="larger than 1 MB"):
        read_yaml(Path("/dev/zero"))


def test_a_file_that_is_not_there_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"none\.yaml: cannot be read: No such file"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(RequestError, match="cannot be read: Is a directory"):
        read_yaml(tmp_path)
    with pytest.raises(RequestError, match="cannot be read"):
        read_yaml(Path("nul\0"))


def test_every_key_and_item_knows_its_line() -> None:
    text = "a: 1\nb:\n  c: 2\n  d:\n  - x\n  - e: 3\n    f: 4\n"
    document = parse_yaml(text, name="f.yaml")
    assert document.line_of(["a"]) == 1
    assert document.line_of(["b", "c"]) == 3
    assert document.line_of(["b", "d", 1]) == 6
    assert document.line_of(["b", "d", "1", "f"]) == 7
    assert document.where(["b", "d", 0]) == "f.yaml:5"


def test_a_key_that_is_not_there_has_the_line_of_what_it_would_stand_in() -> None:
    document = parse_yaml("a: 1\nb:\n  c: 2\n", name="f.yaml")
    assert document.line_of(["b", "missing", "deeper"]) == 2


def test_the_first_of_one_source_is_the_source() -> None:
    document = parse_yaml("data:\n  train:\n    path: x\n", name="f.yaml")
    assert document.line_of(["data", "train", 0, "path"]) == 3
    assert document.written(["data", "train", 0, "path"]) == "data.train.path"
