"""What the tests of sweeps share: a nursery of drivers, and a study of tiny trials."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from nursery import Nursery
from sweep_study import SWEEP, WORDS, Study


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    nursery = Nursery(
        tmp_path_factory.mktemp("nursery"), Path(__file__).with_name("sweep_nursery.py")
    )
    yield nursery
    nursery.close()


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small text."""
    source, words = random.Random(1), WORDS.split()
    lines = (" ".join(source.choice(words) for _ in range(12)) for _ in range(100))
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def study(tmp_path: Path, text: Path) -> Study:
    """Writes a sweep file of tiny trials, which are trained one by one unless something is said."""

    def write(
        varies: str, *, steps: int = 6, name: str = "tiny.yaml", ensemble: object = "'off'"
    ) -> Path:
        path = tmp_path / name
        told = SWEEP.format(text=text, varies=varies, steps=steps, ensemble=ensemble)
        path.write_text(told)
        return path

    return write
