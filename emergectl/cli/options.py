"""Options that several commands have, said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="JSON to stdout.")]
Root = Annotated[
    Path | None,
    typer.Option("--runs-dir", metavar="DIR", help="Where runs are ($EMERGECTL_RUNS or ./runs)."),
]
