"""What commands print: tables, JSON, CSV, and nothing that a terminal would obey."""

import csv
import json
import math

import pytest

from emergectl.cli.output import clean, one_line, print_json, print_table, say, say_error
from emergectl.errors import PreemptedError, RequestError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain 宋词 é😀", "plain 宋词 é😀"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;a title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b31mred", "red"),
        ("\x1bcreset", "reset"),
        ("\x1b[2J\x1b[Hcleared", "cleared"),
        ("\x1bPdevice\x1b\\after", "after"),
        ("bell\x07 back\x08 nul\x00 cr\r del\x7f", "bell back nul cr del"),
        ("right\u202eto left\u2066", "rightto left"),
        ("half \ud800", "half "),
        ("\x1b", ""),
        ("\x1b[", ""),
    ],
)
def test_clean_leaves_text_and_takes_control(text: str, expected: str) -> None:
    assert clean(text) == expected


def test_one_line_is_one_line() -> None:
    assert one_line(" a\n\n b\t\x1b[1mc\r\n") == "a b c"


def test_a_table_is_aligned_by_width_on_screen(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["name", "loss", "note"], [["春眠", 1.5, None], ["abcdef", 12, "x\ny"]])
    assert capsys.readouterr().out == (
        "name    loss  note\n"
        "春眠     1.5\n"
        "abcdef    12  x y\n"
    )  # fmt: skip


def test_a_table_without_rows_still_has_its_header(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["a", "b"], [])
    assert capsys.readouterr().out == "a  b\n"


def test_a_table_as_json_is_a_list_of_objects(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [["a", math.nan, None], ["词\x1b[31m\x9b", -math.inf, True]]
    print_table(["x", "y", "z"], rows, json_=True)
    out = capsys.readouterr().out
    assert json.loads(out) == [
        {"x": "a", "y": "nan", "z": None},
        {"x": "词\x1b[31m\x9b", "y": "-inf", "z": True},
    ]
    assert "词" in out
    assert "\x1b" not in out
    assert "\x9b" not in out


def test_a_table_as_csv_reads_back(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["x", "y"], [['a,"b"', 1.25], ["two\nlines", None]], csv=True)
    read = list(csv.reader(capsys.readouterr().out.splitlines(keepends=True)))
    assert read == [["x", "y"], ['a,"b"', "1.25"], ["two\nlines", ""]]


def test_json_and_csv_together_are_refused() -> None:
    with pytest.raises(RequestError, match="exclude each other"):
        print_table(["a"], [], json_=True, csv=True)


def test_floats_keep_all_their_digits_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["x"], [[1 / 3]], csv=True)
    assert float(capsys.readouterr().out.splitlines()[1]) == 1 / 3
    print_json({"x": 1 / 3})
    assert json.loads(capsys.readouterr().out) == {"x": 1 / 3}


def test_talk_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    say("hello\x1b[31m")
    say_error(RequestError("no such run"))
    say_error(PreemptedError("at step 3"))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "hello\nerror: no such run\nstopped: at step 3\n"
