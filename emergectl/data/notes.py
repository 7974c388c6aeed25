"""What reading a source came upon, in sentences for the person who trains on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def source_notes(reports: Iterable[Mapping[str, Any]]) -> list[str]:
    """A sentence for each thing that is to be known of sources, each once.

    `reports`: of each source what goes into run.json: source, skipped, first_skipped, and (of rows)
    how many were `cut`. A source that is split has a report on either side, of all its rows.
    """
    notes = []
    for report in reports:
        if report["skipped"]:
            first = report["first_skipped"]
            notes.append(
                f"{report['source']}: {report['skipped']:,} bad rows skipped"
                + (f"; the first: {first[0]}" if first else "")
            )
        if report.get("cut"):
            notes.append(
                f"{report['source']}: {report['cut']:,} rows are longer than `data.seq_len` and cut"
            )
    return list(dict.fromkeys(notes))
