"""One version everywhere, and what others read about the project is well formed."""

import re
import tomllib

import yaml
from documents import REPOSITORY

from emergectl import __version__

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]


def test_the_version_is_the_same_wherever_it_stands() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text("utf-8"))
    newest = re.search(r"^## (\d+\.\d+\.\d+)", (REPOSITORY / "CHANGELOG.md").read_text(), re.M)
    assert newest is not None
    assert {PROJECT["version"], citation["version"], newest[1]} == {__version__}


def test_the_citation_has_what_the_format_wants() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text("utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "version", "date-released", "license"} <= set(citation)
    assert citation["license"] == PROJECT["license"]


def test_the_pythons_that_are_claimed_are_those_that_are_tried() -> None:
    claimed = {
        name.rpartition(" ")[2]
        for name in PROJECT["classifiers"]
        if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", name)
    }
    tried = (REPOSITORY / "noxfile.py").read_text("utf-8")
    assert claimed == set(re.findall(r'"(3\.\d+)"', tried))


def test_every_pinned_package_stands_once() -> None:
    pins = (REPOSITORY / "constraints.txt").read_text("utf-8").splitlines()[1:]
    names = [re.sub(r"[-_.]+", "-", pin.partition("==")[0]).lower() for pin in pins]
    assert len(names) == len(set(names))
    needed = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    for one in needed:
        name = re.split(r"[<>=\[]", one)[0]
        assert re.sub(r"[-_.]+", "-", name).lower() in names, name
