"""The whole suite on other Pythons and on the oldest torch that is supported.

    pipx run nox                  all sessions whose Python is at hand
    pipx run nox -s tests-3.13    one of them
    pipx run nox -s tests-3.13 -- tests/tasks -k chance

Each session installs emergectl into an environment of its own, which holds a torch (some gigabytes
with CUDA; `PIP_INDEX_URL=https://download.pytorch.org/whl/cpu PIP_EXTRA_INDEX_URL=https://pypi.org/simple`
is the small one for CPUs). A Python that is not installed is left out with a word.
"""

from pathlib import Path

import nox

nox.options.error_on_missing_interpreters = False
PYTHONS = ["3.11", "3.12", "3.13"]
SMALL = ["-n", "2"]


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The suite with everything as `constraints.txt` pins it."""
    session.install("--constraint", "constraints.txt", "--editable", ".[dev]")
    session.run("pytest", *(session.posargs or SMALL))


@nox.session(python="3.11")
def oldest_torch(session: nox.Session) -> None:
    """The suite with torch 2.11, which machines with a torch of their own may have."""
    pins = Path("constraints.txt").read_text(encoding="utf-8").splitlines()
    others = Path(session.create_tmp(), "constraints.txt")
    others.write_text("\n".join(pin for pin in pins if not pin.startswith("torch==")) + "\n")
    session.install("--constraint", str(others), "torch==2.11.*", "--editable", ".[dev]")
    session.run("pytest", *(session.posargs or SMALL))
