"""Sources: every format read, and every kind of bad row named by file and line."""

import gzip
import json
import os
import re
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from emergectl.config.schema import FileSource
from emergectl.data import readers
from emergectl.data.files import source_files
from emergectl.data.readers import Tally
from emergectl.data.sources import (
    as_field,
    as_label,
    as_labels,
    as_text,
    iter_pieces,
    iter_rows,
)
from emergectl.errors import DataError, ExperimentError

GOOD = {"text": "fine", "label": "a"}
LINE = json.dumps(GOOD) + "\n"


def documents(path, cache, **options):
    """The documents of a source as texts, put together from their pieces."""
    source = FileSource(path=str(path), **options)
    found, text = [], ""
    pieces = iter_pieces(
        source, key="data.train.0", cache=cache, tally=Tally(), next_border=lambda _, at: at
    )
    for piece in pieces:
        text += piece.text
        if piece.ends:
            found.append(text)
            text = ""
    return found


# What is wrong with the third line, and what has to be said about it.
BAD_LINES = {
    "bad JSON": (b'{"text": "x", "label" "a"}\n', "not JSON: Expecting ':' delimiter"),
    "a NUL byte": (b'{"text": "x\0", "label": "a"}\n', "holds a NUL byte"),
    "a NUL character": (b'{"text": "x\\u0000", "label": "a"}\n', "text: holds a NUL character"),
    "NaN": (b'{"text": "x", "label": NaN}\n', "NaN is not a JSON value"),
    "a wrong type": (b'{"text": 12, "label": "a"}\n', "text: expected text, got a number (12)"),
    "null": (b'{"text": null, "label": "a"}\n', "text: expected text, got null"),
    "an empty text": (b'{"text": "  ", "label": "a"}\n', "text: is empty"),
    "a list": (b'["x", "a"]\n', "expected an object of columns, got a list"),
    "a missing column": (
        b'{"txt": "x", "label": "a"}\n',
        "no column 'text'; there are: txt, label",
    ),
    "bytes not UTF-8": (b'{"text": "\xe9", "label": "a"}\n', "a byte that is not UTF-8 (0xE9)"),
    "half a surrogate": (b'{"text": "\\ud800", "label": "a"}\n', "half a surrogate pair (\\ud800)"),
    "a broken label": (b'{"text": "x", "label": 1.5}\n', "label: expected a label, got a number"),
    "depth": (b'{"text": ' + b"[" * 200_000 + b"\n", "nested too deeply"),
    "a huge number": (b'{"text": "x", "label": ' + b"1" * 5000 + b"}\n", "not JSON"),
}


@pytest.mark.parametrize("kind", BAD_LINES)
def test_a_bad_line_is_named_with_file_line_and_reason(kind, write, read):
    line, reason = BAD_LINES[kind]
    path = write("rows.jsonl", LINE.encode() * 2 + line + LINE.encode())
    with pytest.raises(DataError) as error:
        read(path)
    assert str(error.value).startswith(f"{path}:3: ")
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", BAD_LINES)
def test_a_bad_line_is_counted_and_listed_where_bad_rows_are_skipped(kind, write, read):
    line, reason = BAD_LINES[kind]
    path = write("rows.jsonl", LINE.encode() * 2 + line + LINE.encode())
    rows, tally = read(path, bad_rows="skip")
    assert [row.values["text"] for row in rows] == ["fine"] * 3
    assert (tally.rows, tally.skipped) == (3, 1)
    assert tally.first_skipped[0].startswith(f"{path}:3: ")
    assert reason in tally.first_skipped[0]


def test_one_bad_line_in_a_hundred_thousand_is_found(write, read):
    lines = [LINE] * 100_000
    lines[77_776] = "{'text'}\n"
    path = write("rows.jsonl", "".join(lines))
    with pytest.raises(DataError, match=r"rows\.jsonl:77777: not JSON"):
        read(path)


def test_only_the_first_few_skipped_rows_are_listed(write, read):
    rows, tally = read(write("rows.jsonl", LINE + "oops\n" * 20), bad_rows="skip")
    assert len(rows) == 1
    assert tally.skipped == 20
    assert len(tally.first_skipped) == 5


def test_a_last_line_that_was_cut_off_is_said_to_be(write, read):
    path = write("rows.jsonl", LINE + '{"text": "and the')
    with pytest.raises(DataError, match=r"rows\.jsonl:2: the last line is cut off"):
        read(path)


def test_a_last_line_without_line_end_is_a_row_if_it_is_whole(write, read):
    rows, _ = read(write("rows.jsonl", LINE + LINE.rstrip("\n")))
    assert len(rows) == 2


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.tsv"])
def test_a_byte_order_mark_is_no_part_of_the_data(name, write, read):
    body = {".jsonl": LINE, ".csv": "text,label\nfine,a\n", ".tsv": "text\tlabel\nfine\ta\n"}
    path = write(name, b"\xef\xbb\xbf" + body[Path(name).suffix].encode())
    rows, _ = read(path)
    assert rows[0].values == GOOD


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "text.txt"])
def test_utf16_is_refused_by_its_name(name, write, cache):
    path = write(name, "text,label\nfine,a\n".encode("utf-16"))
    with pytest.raises(DataError, match=r":1: this is UTF-16"):
        documents(path, cache)


def test_a_row_over_the_bound_is_bad_and_the_next_is_read(write, read, monkeypatch):
    monkeypatch.setattr(readers, "MAX_ROW_BYTES", 1000)
    giant = json.dumps({"text": "x" * 5000, "label": "a"}) + "\n"
    path = write("rows.jsonl", LINE + giant + LINE)
    rows, tally = read(path, bad_rows="skip")
    assert len(rows) == 2
    assert f"{path}:2: a row of more than" in tally.first_skipped[0]


def test_a_doubled_id_is_bad_only_where_an_id_column_is_mapped(write, read):
    path = write("rows.jsonl", [GOOD | {"no": 1}, GOOD | {"no": 2}, GOOD | {"no": 1}])
    assert len(read(path)[0]) == 3
    with pytest.raises(DataError, match=r":3: no: the id 1 came before"):
        read(path, columns={"id": "no"})


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.tsv", "text.txt"])
def test_an_empty_file_is_an_error(name, write, cache):
    path = write(name, b"")
    with pytest.raises(DataError, match=re.escape(f"{path}:1: the file ")):
        documents(path, cache)


def test_a_source_without_one_usable_row_is_an_error_even_when_skipping(write, read):
    with pytest.raises(DataError, match=r"no usable row \(2 bad; the first: .*rows\.jsonl:1"):
        read(write("rows.jsonl", "oops\noops\n"), bad_rows="skip")


def test_csv_keeps_quoted_line_ends_and_counts_lines_as_an_editor_does(write, read):
    path = write("rows.csv", 'text,label\n"two\nlines, quoted ""so""",a\nplain,b\nshort\n')
    rows, tally = read(path, bad_rows="skip")
    assert [row.values["text"] for row in rows] == ['two\nlines, quoted "so"', "plain"]
    assert [row.where for row in rows] == [f"{path}:2", f"{path}:4"]
    assert tally.first_skipped == [f"{path}:5: 1 fields, but the header has 2"]


def test_a_quotation_mark_never_closed_is_named_where_it_opens(write, read):
    path = write("rows.csv", 'text,label\nfine,a\n"never closed,b\nfine,a\n')
    with pytest.raises(DataError, match=r"rows\.csv:3: not CSV: .* never closed"):
        read(path)


def test_a_quotation_mark_in_tsv_is_text(write, read):
    rows, _ = read(write("rows.tsv", 'text\tlabel\nShe said "no."\ta\n"Yes\tb\n'))
    assert [row.values["text"] for row in rows] == ['She said "no."', '"Yes']


def test_two_columns_of_one_name_are_refused(write, read):
    with pytest.raises(DataError, match=r":1: two columns of the header are called 'text'"):
        read(write("rows.csv", "text,text,label\na,b,c\n"))


def test_parquet_rows_are_read_and_counted(tmp_path, read):
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "rows.parquet"
    table = pyarrow.table({"text": ["一", None, "three"], "label": [1, 0, 1]})
    pyarrow.parquet.write_table(table, path)
    rows, tally = read(path, bad_rows="skip")
    assert [row.values for row in rows] == [
        {"text": "一", "label": "1"},
        {"text": "three", "label": "1"},
    ]
    assert tally.first_skipped == [f"{path}:2: text: expected text, got null"]


def test_a_file_that_is_no_parquet_is_named(write, read):
    with pytest.raises(DataError, match=r"rows\.parquet:1: not a parquet file"):
        read(write("rows.parquet", b"PAR1 no, it is not"))


def test_gzip_is_read_and_a_truncated_one_is_named(write, read):
    whole = gzip.compress(LINE.encode() * 1000)
    rows, _ = read(write("rows.jsonl.gz", whole))
    assert len(rows) == 1000
    with pytest.raises(DataError, match=r"cut\.jsonl\.gz:\d+: cannot be read"):
        read(write("cut.jsonl.gz", whole[: len(whole) // 2]))


def test_columns_are_mapped_to_roles(write, read):
    path = write("rows.jsonl", [{"sentence": "好", "gold": 1}])
    rows, _ = read(path, columns={"text": "sentence", "label": "gold"})
    assert rows[0].values == {"text": "好", "label": "1"}


def test_a_list_of_texts_is_joined_by_line_ends():
    assert as_text(["气和玉烛。", "缇管一阳生。"]) == "气和玉烛。\n缇管一阳生。"
    with pytest.raises(ValueError, match="got a list"):
        as_text(["a", 1])


def test_labels_are_texts_or_whole_numbers():
    assert [as_label(v) for v in ("a ", 3, True, 2.0)] == ["a", "3", "true", "2"]
    assert as_labels("joy; fear") == ["fear", "joy"]
    assert as_labels(["b", "a", "b"]) == ["a", "b"]
    with pytest.raises(ValueError, match="NaN"):
        as_field(float("nan"))


def test_a_text_file_is_one_document_and_a_row_is_one(write, cache):
    write("texts/a.txt", "first\n\nstill first\n")
    write("texts/b.txt", "第二\n")
    assert documents(cache.parent / "texts", cache) == ["first\n\nstill first\n", "第二\n"]
    rows = write("rows.jsonl", [{"text": "one"}, {"text": "two"}])
    assert documents(rows, cache) == ["one", "two"]


def test_a_long_text_comes_in_pieces_that_make_it_up(write, cache):
    text = "明月几时有？把酒问青天。\n" * 60_000  # three reads, and characters across their borders
    assert documents(write("long.txt", text), cache) == [text]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"good\nbad \xff\n", ":2: holds a byte that is not UTF-8 (0xFF)"),
        (b"good\ngood\nnul \0\n", ":3: holds a NUL byte"),
        (b"cut off \xe6\x98", ":1: holds a byte that is not UTF-8 (0xE6)"),
        (b" \n \n", ":1: the file is empty"),
    ],
)
def test_a_text_file_that_is_no_text_is_named_by_line_or_skipped(content, reason, write, cache):
    bad = write("texts/bad.txt", content)
    write("texts/good.txt", "good")
    with pytest.raises(DataError, match=re.escape(f"{bad}{reason}")):
        documents(bad.parent, cache)
    assert documents(bad.parent, cache, bad_rows="skip") == ["good"]


def test_a_byte_that_is_not_utf8_is_found_in_the_second_megabyte(write, cache):
    path = write("long.txt", b"line\n" * 300_000 + b"\xe9\n")
    with pytest.raises(DataError, match=r"long\.txt:300001: holds a byte"):
        documents(path, cache)


def test_folders_are_read_in_order_without_hidden_files(write, cache):
    for name in ("d/b.jsonl", "d/a/z.jsonl", "d/.hidden.jsonl", "d/.git/x.jsonl", "d/notes.rst"):
        write(name, LINE)
    source = FileSource(path=str(cache.parent / "d"))
    found = source_files(source, key="data.train.0", cache=cache)
    assert [path.name for path, _ in found] == ["z.jsonl", "b.jsonl"]


def test_a_glob_takes_what_matches(write, cache):
    for name in ("d/1.txt", "d/2.txt", "d/2.csv"):
        write(name, LINE)
    source = FileSource(path=str(cache.parent / "d" / "*.txt"))
    found = source_files(source, key="data.train.0", cache=cache)
    assert [(path.name, format_) for path, format_ in found] == [
        ("1.txt", "text"),
        ("2.txt", "text"),
    ]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nothing.txt", "no such file or folder"),
        ("mixed", "files of several formats"),
        ("data.xyz", "does not tell its format"),
        ("bare", "no data files"),
        ("http://example.org/a.txt", "only https is fetched"),
    ],
)
def test_a_path_that_cannot_be_read_is_an_error_of_its_key(name, reason, write, cache):
    write("mixed/a.txt", "a")
    write("mixed/b.csv", "a")
    write("data.xyz", "a")
    write("bare/a.xyz", "a")
    path = name if "//" in name else str(cache.parent / name)
    with pytest.raises(ExperimentError, match=reason) as error:
        source_files(FileSource(path=path), key="data.train.0", cache=cache)
    assert error.value.key == "data.train.0.path"


def test_plain_text_cannot_be_classified(write, read):
    with pytest.raises(ExperimentError, match="is plain text; here rows are needed"):
        read(write("a.txt", "a"))


def test_rows_are_not_read_before_they_are_asked_for(write, cache):
    path = write("rows.jsonl", LINE + "oops\n")
    rows = iter_rows(
        FileSource(path=str(path)), roles={"text": as_text}, key="", cache=cache, tally=Tally()
    )
    assert next(rows).values == {"text": "fine"}


PRETTY = [{"text": "fine", "label": "a"}, {"text": "foul", "label": "b"}]


@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_list_is_read_whatever_its_ending_promises(indent, write, read):
    rows, _ = read(write("rows.json", json.dumps(PRETTY, indent=indent)))
    assert [row.values for row in rows] == PRETTY
    rows, _ = read(write("more.json", "\n".join(json.dumps(row) for row in PRETTY)))
    assert [row.values for row in rows] == PRETTY


@pytest.mark.parametrize("bad_rows", ["error", "skip"])
@pytest.mark.parametrize(
    ("name", "document"), [("rows.json", {"data": PRETTY}), ("rows.jsonl", PRETTY)]
)
def test_json_over_several_lines_names_the_format_that_reads_it(
    name, document, bad_rows, write, read
):
    path = write(name, json.dumps(document, indent=2))
    with pytest.raises(DataError, match="give `format: json`") as error:
        read(path, bad_rows=bad_rows)
    assert str(error.value).startswith(f"{path}:1: ")
    assert "bad_rows" not in str(error.value)
    rows, _ = read(path, bad_rows=bad_rows, format="json")
    assert [row.values for row in rows] == PRETTY


def test_a_json_document_on_one_line_names_the_format_that_reads_it(write, read):
    with pytest.raises(DataError, match="is this `format: json`"):
        read(write("rows.json", json.dumps({"data": PRETTY}) + "\n"))


def test_lines_of_text_are_rows_as_the_message_says(write, read):
    path = write("lines.txt", "first line\n\nsecond, line\n")
    with pytest.raises(ExperimentError, match=r"`format: tsv` with `header: \[text\]`"):
        read(path, roles={"text": as_text})
    rows, _ = read(path, roles={"text": as_text}, format="tsv", header=["text"])
    assert [row.values["text"] for row in rows] == ["first line", "second, line"]


LISTED = {"text": ["one", "two", 3], "label": "a"}


@pytest.mark.parametrize(("given", "text"), [({}, "one\ntwo\n3"), ({"join": ", "}, "one, two, 3")])
@pytest.mark.parametrize("check", [as_text, as_field])
def test_a_list_where_one_text_is_wanted_is_joined(given, text, check, write, read):
    rows, _ = read(write("rows.jsonl", json.dumps(LISTED)), roles={"text": check}, **given)
    assert rows[0].values["text"] == text


def test_lists_of_answers_and_labels_stay_lists(write, read):
    rows, _ = read(write("rows.jsonl", json.dumps(LISTED)), roles={"text": as_labels}, join=" ")
    assert rows[0].values["text"] == ["3", "one", "two"]


NO_LABELS = {
    "rows.jsonl": '{"text": "x", "label": []}\n{"text": "y", "label": ["a", "b"]}\n',
    "empty.jsonl": '{"text": "x", "label": ""}\n{"text": "y", "label": "a|b"}\n',
    "rows.csv": "text,label\nx,\ny,a;b\n",
    "rows.tsv": "text\tlabel\nx\t\ny\ta;b\n",
}


@pytest.mark.parametrize("name", NO_LABELS)
def test_a_row_without_any_label_is_one_of_a_multi_label_set(name, write, read):
    rows, tally = read(write(name, NO_LABELS[name]), roles={"text": as_text, "label": as_labels})
    assert [row.values["label"] for row in rows] == [[], ["a", "b"]]
    assert tally.skipped == 0


TABLE = "text,label\nfine,a\nfoul,b\n"
FOREIGN = {
    "cr.csv": (TABLE.replace("\n", "\r"), "its lines end in CR alone"),
    "cr.tsv": (TABLE.replace("\n", "\r").replace(",", "\t"), "its lines end in CR alone"),
    "cr.jsonl": (LINE.replace("\n", "\r") * 2, "its lines end in CR alone"),
    "utf16le.csv": (TABLE.encode("utf-16-le"), "iconv -f utf-16le"),
    "utf32.csv": (TABLE.encode("utf-32"), "this is UTF-32, not UTF-8"),
    "packed.csv": (gzip.compress(TABLE.encode()), "compressed with gzip: let its name end in .gz"),
    "book.csv": (b"PK\x03\x04\x14\0\x06\0", "a zip archive"),
    "pointer.jsonl": ("version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("bad_rows", ["error", "skip"])
def test_a_file_of_another_kind_is_named_for_what_it_is(name, bad_rows, write, read):
    content, reason = FOREIGN[name]
    path = write(name, content)
    with pytest.raises(DataError) as error:
        read(path, bad_rows=bad_rows)
    assert str(error.value).startswith(f"{path}:1: ")
    assert reason in str(error.value)


def test_a_return_inside_a_quoted_cell_is_text(write, read):
    rows, _ = read(write("rows.csv", 'text,label\n"one\rtwo",a\n'))
    assert rows[0].values["text"] == "one\rtwo"


@pytest.mark.parametrize(
    ("name", "content", "hint"),
    [
        ("a.csv", TABLE.replace(",", ";"), "separated by `;`, not by commas"),
        ("a.tsv", TABLE, "is this `format: csv`?"),
        ("a.csv", TABLE.replace(",", "\t"), "is this `format: tsv`?"),
    ],
)
def test_a_table_with_other_separators_is_recognised(name, content, hint, write, read):
    with pytest.raises(ExperimentError, match=re.escape(hint)):
        read(write(name, content))


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_a_key_that_comes_twice_is_never_read_as_one_of_the_two(name, write, read):
    row = '{"text": "fine", "label": "a", "text": "foul"}'
    path = write(name, f"[{row}]" if name.endswith("json") else row)
    with pytest.raises(DataError, match="the key 'text' comes twice"):
        read(path)


def test_two_columns_of_one_name_in_a_parquet_file_are_refused(tmp_path, read):
    columns = [pyarrow.array([value]) for value in ("fine", "foul", "a")]
    table = pyarrow.Table.from_arrays(columns, names=["text", "text", "label"])
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    with pytest.raises(DataError, match="two columns of the header are called 'text'"):
        read(tmp_path / "rows.parquet")


@pytest.mark.parametrize("value", ["NaN", "nan", " nan "])
def test_a_class_that_a_table_writes_as_missing_is_none(value):
    with pytest.raises(ValueError, match="the label is missing"):
        as_label(value)
    with pytest.raises(ValueError, match="the label is missing"):
        as_labels(["a", value])
    assert as_label("nano") == "nano"


def test_what_is_no_file_is_told_from_what_is_not_there(tmp_path, read):
    (tmp_path / "link.csv").symlink_to("gone.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    for name, reason in (("link", "a link to gone.csv"), ("pipe", "no ordinary file")):
        with pytest.raises(ExperimentError, match=reason):
            read(tmp_path / f"{name}.csv")
