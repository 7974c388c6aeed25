"""T20: every planted bug turns a test red; and the list of bugs fits the package as it is."""

import pytest
from planted_bugs import BUGS, REPOSITORY, Bug, main


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_the_piece_that_a_bug_replaces_is_in_the_package_once(bug: Bug) -> None:
    assert (REPOSITORY / "emergectl" / bug.file).read_text("utf-8").count(bug.old) == 1
    for test in bug.tests.split():
        file, _, name = test.partition("::")
        assert f"def {name}" in (REPOSITORY / "tests" / file).read_text("utf-8")


@pytest.mark.long
def test_every_planted_bug_is_found() -> None:
    assert main([]) == 0
