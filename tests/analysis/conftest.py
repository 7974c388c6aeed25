"""What the tests of analysis share: published data, and curves without noise."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from emergectl.analysis.curves import Curve, make_curve
from emergectl.store.measurements import MetricFacts

DATA = Path(
    os.environ.get("EMERGECTL_DATA") or Path(__file__).parents[3] / "shared" / "data"
).absolute()


@pytest.fixture
def published() -> Callable[[str], Path]:
    """A published data file by its path; the test is skipped where it is absent."""

    def find(name: str) -> Path:
        path = DATA / name
        if not path.exists():
            pytest.skip(f"no {path}: set EMERGECTL_DATA to the folder of real data")
        return path

    return find


@pytest.fixture
def curve_through() -> Callable[..., Curve]:
    """A curve through values at rungs half a decade apart, 500 items, chance 0."""

    def make(values: object, **options: object) -> Curve:
        rows = [np.atleast_1d(v) for v in values]  # type: ignore[attr-defined]
        x = 10 ** (6 + 0.5 * np.arange(len(rows)))
        share = MetricFacts("discontinuous", "up", "share", least=0, most=1)
        settings = {"what": share, "items": 500, "chance": 0.0, **options}
        return make_curve(x, rows, **settings)  # type: ignore[arg-type]

    return make
