"""What reading a source came upon, in sentences for the person who trains on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def percent(share: float) -> str:
    """A share of 0 … 1 with two digits, however small."""
    return f"{100 * share:.0f}%" if share >= 0.01 else f"{100 * share:.2g}%"


def source_notes(reports: Iterable[Mapping[str, Any]]) -> list[str]:
    """A sentence for each thing that is to be known of sources, each once.

    `reports`: of each source what goes into run.json: source, skipped, first_skipped, and
    the share of `unknown` characters. A source that is split has a report on either side, of all
    its rows.
    """
    notes = []
    for report in reports:
        if report["skipped"]:
            first = report["first_skipped"]
            notes.append(
                f"{report['source']}: {report['skipped']:,} bad rows skipped"
                + (f"; the first: {first[0]}" if first else "")
            )
        if report["unknown"]:
            notes.append(
                f"{report['source']}: the tokenizer does not know {percent(report['unknown'])} of "
                "the characters: they are read as unknown, and no figure per byte is given"
            )
    return list(dict.fromkeys(notes))
