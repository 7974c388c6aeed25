"""Progress of reading data."""

import pytest

from emergectl.cli.reading import reading_progress


def test_reading_says_how_far_it_is_and_how_long_it_takes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    moments = iter([0.0, 0.0, 4.0, 5.0, 9.5])
    tell = reading_progress(lambda: next(moments))
    tell("a.txt", 0, 100_000_000)
    tell("a.txt", 40_000_000, 100_000_000)
    tell("a.txt", 50_000_000, 100_000_000)
    tell("a.txt", 95_000_000, 100_000_000)
    assert capsys.readouterr().err.splitlines() == [
        "reading a.txt: 40 of 100 MB, 0:06 left",
        "reading a.txt: 95 of 100 MB, 0:00 left",
    ]


def test_a_source_of_unknown_size_is_told_in_megabytes_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    moments = iter([0.0, 3.0])
    reading_progress(lambda: next(moments))("hub set", 7_000_000, 0)
    assert capsys.readouterr().err == "reading hub set: 7 MB\n"
