"""Who is told how a sweep goes, and what of each trial in hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from emergectl.sweeps.folder import Standing


@dataclass(kw_only=True)
class Running:
    """A trial in hand here."""

    key: str
    step: int = 0
    steps: int | None = None
    asking: str | None = None
    """what it is asked at this moment, once it is trained"""


class Watcher(Protocol):
    """Who is told how a sweep goes: the display."""

    def began(self, standings: Mapping[str, Standing]) -> None:
        """These are all trials, and this is how they stand."""

    def tick(self, running: Mapping[str, Running], standings: Mapping[str, Standing]) -> None:
        """Something may have changed; called often."""

    def ended(self, key: str, standing: Standing) -> None:
        """A trial has ended here."""

    def message(self, text: str) -> None:
        """Something a person should read, in one line."""

    def over(self, standings: Mapping[str, Standing]) -> None:
        """Nothing more will happen here."""
