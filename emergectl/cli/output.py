"""How commands print: data to stdout, talk to stderr, and nothing that a terminal would obey.

Tables come out three ways from the same rows: aligned columns for people, `--json` and `--csv` for
programs. Whatever is printed may have come from a model or from somebody's file, so escape
sequences, control bytes and text-direction overrides never reach the terminal. Nothing here imports
rich's machinery; a table of a thousand runs costs milliseconds.
"""

from __future__ import annotations

import csv as csv_module
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Sequence
from typing import TextIO

from rich.cells import cell_len, set_cell_size

from emergectl.errors import EmergectlError, InterruptedRunError, PreemptedError, RequestError
from emergectl.store.atomic import json_safe

# A whole escape sequence goes (CSI with its parameters, OSC with its text), then what is left over.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|$)"
    r"|\x1b[ -/]*[0-~]?"
)
# C0 but tab and newline, DEL, C1, direction overrides and isolates, lone surrogates.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_JSON_CONTROLS = re.compile(r"[\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

GAP = "  "


def clean(text: str) -> str:
    """The text without escapes, control characters (newline and tab stay) and overrides."""
    return text if text.isprintable() else _CONTROLS.sub("", _ESCAPES.sub("", text))


def one_line(text: str) -> str:
    """The text cleaned, with every run of white space made one blank."""
    return " ".join(clean(text).split())


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    json_: bool = False,
    csv: bool = False,
) -> None:
    """Print rows to stdout: aligned for people, or a JSON list of objects, or CSV with a header.

    Numbers align right; None is an empty cell (null in JSON); NaN and infinities are the strings
    "nan", "inf", "-inf" in JSON, as in metrics.jsonl. On a terminal the last column is cut to fit.
    Raises RequestError if both `json_` and `csv` are asked for.
    """
    if json_ and csv:
        raise RequestError("--json and --csv exclude each other")
    if json_:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    elif csv:
        sys.stdout.write(_csv_text(columns, rows))
    else:
        for line in _aligned(columns, rows):
            print(line)


def print_json(value: object) -> None:
    """Print one JSON value to stdout, readable, safe on a terminal, never NaN."""
    text = json.dumps(json_safe(value), indent=2, ensure_ascii=False, allow_nan=False, default=str)
    print(_JSON_CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text))


def say(text: str) -> None:
    """Tell the person something: stderr, so that it never mixes with data."""
    print(clean(text), file=sys.stderr, flush=True)


def say_error(error: EmergectlError) -> None:
    """Print an error's sentence to stderr; a run that stopped as it was told to is no error."""
    stopped = isinstance(error, PreemptedError | InterruptedRunError)
    say(f"{'stopped' if stopped else 'error'}: {error}")


def use_color(stream: TextIO) -> bool:
    """Whether colour may be written there: a terminal, no NO_COLOR, not TERM=dumb."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _csv_text(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv_module.writer(text, lineterminator="\n")
    writer.writerow([clean(column) for column in columns])
    for row in rows:
        writer.writerow([clean(value) if isinstance(value, str) else value for value in row])
    return text.getvalue()


def _aligned(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """The header and the rows as lines of equally wide columns."""
    cells = [[_cell(value) for value in row] for row in rows]
    header = [one_line(column) for column in columns]
    widths = [max(map(cell_len, column)) for column in zip(header, *cells, strict=True)]
    right = [
        bool(rows) and all(_is_number(row[i]) or row[i] is None for row in rows)
        for i in range(len(header))
    ]
    if sys.stdout.isatty() and widths:
        taken = sum(widths[:-1]) + len(GAP) * (len(widths) - 1)
        widths[-1] = max(8, min(widths[-1], shutil.get_terminal_size().columns - taken))
    lines = [
        GAP.join(map(_pad, line, widths, right)).rstrip() if line else ""
        for line in (header, *cells)
    ]
    if use_color(sys.stdout):
        lines[0] = f"\x1b[1m{lines[0]}\x1b[0m"
    return lines


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return one_line(str(value))


def _pad(cell: str, width: int, right: bool) -> str:
    if cell_len(cell) > width:
        return set_cell_size(cell, width - 1) + "…"
    blanks = " " * (width - cell_len(cell))
    return blanks + cell if right else cell + blanks


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
