"""What the tab key says: scripts for the shells, and the words that they ask for."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from emergectl.cli.main import COMMANDS

COMMAND = Path(sys.executable).parent / "emergectl"


def asked(*, home: Path, **environment: str) -> str:
    """What `emergectl` answers a shell that asks by these variables."""
    done = subprocess.run(
        [COMMAND],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": str(home), **environment},
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("emergectl ", set(COMMANDS)),
        ("emergectl val", {"validate"}),
        ("emergectl tasks s", {"show", "sample"}),
        ("emergectl runs rm --js", {"--json"}),
        ("emergectl train --resu", {"--resume"}),
    ],
)
def test_a_shell_is_told_the_commands_and_options_that_fit(
    words: str, expected: set[str], tmp_path: Path
) -> None:
    before = len(words.split(" ")) - 1
    answer = asked(
        home=tmp_path,
        _EMERGECTL_COMPLETE="complete_bash",
        COMP_WORDS=words,
        COMP_CWORD=str(before),
    )
    assert set(answer.split()) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_script_for_each_shell(shell: str, tmp_path: Path) -> None:
    script = asked(home=tmp_path, _EMERGECTL_COMPLETE=f"source_{shell}")
    assert f"_EMERGECTL_COMPLETE=complete_{shell}" in script
    if shutil.which(shell):
        parsed = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True)
        assert (parsed.returncode, parsed.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")
def test_completion_is_installed_for_the_shell_that_asks(tmp_path: Path) -> None:
    # Not the last command of the script: bash would make way for it, and there would be no shell.
    done = subprocess.run(
        ["bash", "-c", f"{COMMAND} --install-completion; exit $?"],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    script = "source ~/.bashrc; complete -p emergectl"
    known = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, env={"HOME": str(tmp_path)}
    )
    assert "emergectl" in known.stdout, known.stderr
