"""What other packages add, installed by pip into a folder and used by the real command."""

import json
from pathlib import Path

import pytest
from other_packages import emergectl, install

COUNTING = '''
    """Counting: how many letters stand in a row."""

    from collections.abc import Iterator
    from typing import ClassVar

    from emergectl.tasks.task import Item, Split, TextTask


    class Counting(TextTask):
        """Say how many letters there are."""

        name: ClassVar[str] = "counting"
        longest: int = 9
        """letters at most"""

        @property
        def alphabet(self) -> str:
            return "abc0123456789="

        def items(self, split: Split, *, seed: int) -> Iterator[Item]:
            letters = "ab" if split == "train" else "c"
            for letter in letters:
                for count in range(1, self.longest + 1):
                    prompt = letter * count + "="
                    yield Item(id=prompt, prompt=prompt, target=str(count), facts={"count": count})
'''


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One package that adds a task, and one of which nothing works."""
    folder = tmp_path_factory.mktemp("installed") / "site"
    install(
        folder,
        "counting_tasks",
        files={"counting_tasks.py": COUNTING},
        entry_points={"emergectl.tasks": {"counting": "counting_tasks:Counting"}},
    )
    install(
        folder,
        "hasty",
        files={
            "hasty/__init__.py": "",
            "hasty/tasks.py": "raise RuntimeError('no\\nlicence')\n",
            "hasty/bare.py": """
                from emergectl.tasks.task import TextTask
                class Bare(TextTask):
                    name: str = "bare"
                class Other(TextTask):
                    name = "another"
                """,
        },
        entry_points={
            "emergectl.tasks": {
                "raising": "hasty.tasks:Raising",
                "missing": "hasty.nowhere:Missing",
                "number": "hasty.bare:__name__",
                "bare": "hasty.bare:Bare",
                "other": "hasty.bare:Other",
                "addition": "hasty.tasks:Raising",
            }
        },
    )
    return folder


def test_a_task_of_an_installed_package_is_listed_shown_and_checked(
    packages: Path, tmp_path: Path
) -> None:
    listed = emergectl("tasks", "list", "--json", packages=packages, folder=tmp_path)
    rows = {row["name"]: row for row in json.loads(listed.stdout)}
    assert rows["counting"]["description"] == "Say how many letters there are"
    assert "raising" not in rows
    sample = ("tasks", "sample", "counting", "longest=2", "-n", "2", "--json")
    items = json.loads(emergectl(*sample, packages=packages, folder=tmp_path).stdout)
    assert [(item["question"], item["answer"]) for item in items] == [("c=", "1"), ("cc=", "2")]
    wrong = ("tasks", "sample", "counting", "longst=2")
    said = emergectl(*wrong, packages=packages, folder=tmp_path, code=2).stderr
    assert "did you mean `longest`?" in said


def test_a_broken_package_stops_only_who_asks_for_it_in_one_line(
    packages: Path, tmp_path: Path
) -> None:
    emergectl("tasks", "show", "addition", packages=packages, folder=tmp_path)
    listed = emergectl("tasks", "list", packages=packages, folder=tmp_path)
    assert "addition" in listed.stdout
    told = dict.fromkeys(("raising", "missing", "number", "bare", "other", "addition"), "")
    for line in listed.stderr.splitlines():
        head, reason = line.split(", added by hasty 1.0: ")
        told[head.removeprefix("left out: `").removesuffix("` (tasks)")] = reason
    assert "RuntimeError: no licence" in told["raising"]
    assert "No module named 'hasty.nowhere'" in told["missing"]
    assert "is no class of tasks" in told["number"]
    assert "write `name: ClassVar[str] = …`" in told["bare"]
    assert "is named `another`" in told["other"]
    assert "the name is built in" in told["addition"]

    (tmp_path / "x.yaml").write_text("data:\n  train: {task: raising}\n")
    for arguments in (("tasks", "sample", "raising"), ("validate", "x.yaml")):
        said = emergectl(*arguments, packages=packages, folder=tmp_path, code=2).stderr
        assert "`raising` (tasks), added by hasty 1.0" in said
        assert "Traceback" not in said
        assert len(said.strip().splitlines()) == 1
    assert "x.yaml:2" in said


def test_doctor_tries_every_one_of_them(packages: Path, tmp_path: Path) -> None:
    tried = emergectl("doctor", "--json", packages=packages, folder=tmp_path)
    checks = {check["name"]: check for check in json.loads(tried.stdout)}
    assert checks["tasks: counting"]["found"] == "added by counting_tasks 1.0"
    assert checks["tasks: raising"]["state"] == "missing"
    assert "no licence" in checks["tasks: raising"]["found"]


def test_two_packages_that_add_one_name_are_both_named(packages: Path, tmp_path: Path) -> None:
    second = tmp_path / "site"
    install(
        second,
        "more_counting",
        files={"more_counting.py": COUNTING},
        entry_points={"emergectl.tasks": {"counting": "more_counting:Counting"}},
    )
    both = Path(f"{packages}:{second}")
    said = emergectl("tasks", "sample", "counting", packages=both, folder=tmp_path, code=2).stderr
    assert "counting_tasks 1.0" in said
    assert "more_counting 1.0" in said


def test_nothing_of_a_package_is_imported_before_it_is_asked_for(tmp_path: Path) -> None:
    canary = tmp_path / "site"
    install(
        canary,
        "canary",
        files={"canary.py": "from pathlib import Path\nPath('imported').touch()\n"},
        entry_points={"emergectl.tasks": {"canary": "canary:Canary"}},
    )
    (tmp_path / "a.yaml").write_text(
        "model: {family: llama, size: 10k}\ndata: {train: {task: addition, digits: 1}}\n"
        "train: {steps: 1}\n"
    )
    for arguments in (("--help",), ("validate", "a.yaml"), ("tasks", "show", "addition")):
        emergectl(*arguments, packages=canary, folder=tmp_path)
    assert not (tmp_path / "imported").exists()
    emergectl("tasks", "sample", "canary", packages=canary, folder=tmp_path, code=2)
    assert (tmp_path / "imported").exists()
