"""Whether a trained trial was asked what its sweep asks.

The answers stand in the run's `evals/`, as `eval` leaves them; a mark there says which asking is
complete, or why it cannot be. So a trial that was killed while it was asked goes on with the rest,
and a sweep file that asks something else asks just that of trials long trained.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from emergectl.store.atomic import write_json

MARK = Path("evals") / "after-training.json"


def is_asked(run: Path, digest: str) -> tuple[bool, str | None]:
    """Whether an asking of a run is over, and why it failed if it did."""
    mark = _marks(run).get(digest)
    return mark is not None, None if mark is None else mark.get("reason")


def mark_asked(run: Path, digest: str, reason: str | None = None) -> None:
    """Write down that an asking is complete, or why it cannot be."""
    (run / MARK).parent.mkdir(exist_ok=True)
    write_json(run / MARK, _marks(run) | {digest: {"reason": reason}})


def _marks(run: Path) -> dict[str, Any]:
    try:
        marks = json.loads((run / MARK).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return marks if isinstance(marks, dict) else {}
