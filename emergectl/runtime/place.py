"""Where a model is run: its device, arithmetic, and the ranks that share the work."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True)
class Place:
    """Where and how an evaluation computes; the defaults are one process in fp32."""

    device: torch.device
    autocast: Callable[[], AbstractContextManager[object]]
    rank: int = 0
    world: int = 1
    gather: Callable[[Any], list[Any]] = field(default=lambda value: [value])

    @property
    def is_main(self) -> bool:
        """Whether this rank writes what is found."""
        return self.rank == 0
