"""The entry point: help without imports, and how each failure ends."""

import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
import typer

from emergectl import __version__
from emergectl.cli import main as frame
from emergectl.errors import AlreadyRunningError, EmergectlError, PreemptedError, RequestError

HEAVY = ("torch", "transformers", "datasets", "pandas", "sklearn", "matplotlib", "scipy", "numpy")


def run(*arguments: str, **more) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "emergectl", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **more)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch):
    """Put a function where a command is looked for; returns how to call it."""

    def install(function) -> None:
        module = types.ModuleType("a_command_module")
        module.it = function
        monkeypatch.setitem(sys.modules, "a_command_module", module)
        monkeypatch.setitem(frame.COMMANDS, "it", ("a_command_module:it", "Does it."))

    return install


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    file = tmp_path / "e.yaml"
    file.write_text("data: {train: {task: addition}}\nevaluation: {tasks: [sorting]}\n")
    return file


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["validate", "FILE"],
        ["schema"],
        ["configs", "--help"],
        ["eval", "--help"],
        ["tasks", "list"],
        ["tasks", "show", "gsm8k", "--help"],
    ],
)
def test_what_must_answer_at_once_imports_nothing_heavy(
    arguments: list[str], experiment: Path
) -> None:
    arguments = [str(experiment) if a == "FILE" else a for a in arguments]
    script = (
        "import sys; from emergectl.cli.main import main; code = main(sys.argv[1:]);"
        f"heavy = [m for m in {HEAVY} if m in sys.modules];"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_a_task_that_is_shown_costs_its_own_module_and_one_that_is_listed_no_reader() -> None:
    script = (
        "import sys; from emergectl.cli.main import main; code = main(sys.argv[1:]);"
        "print(*sorted(m for m in sys.modules), file=sys.stderr); sys.exit(code)"
    )

    def imported(*arguments: str) -> set[str]:
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return set(done.stderr.split())

    listed = imported("tasks", "list")
    assert "emergectl.tasks.arithmetic" in listed
    assert not {"yaml", "urllib.request", "numpy", "emergectl.tasks.references"} & listed
    shown = imported("tasks", "show", "addition")
    tasks = {name for name in shown if name.startswith("emergectl.tasks.")}
    assert tasks == {
        f"emergectl.tasks.{name}"
        for name in ("arithmetic", "catalog", "references", "shortcuts", "synthetic", "task")
    }
    assert not {"torch", "transformers", "datasets", "urllib.request"} & shown


def test_help_imports_no_command() -> None:
    script = (
        "import sys; from emergectl.cli.main import main; main(['--help']);"
        "sys.exit([m for m in sys.modules if m.startswith('emergectl.') and m not in "
        "('emergectl.cli', 'emergectl.cli.main', 'emergectl.errors')] or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    for name, (_, line) in frame.COMMANDS.items():
        assert f"  {name}" in done.stdout
        assert line in done.stdout


def test_the_version_is_printed() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"emergectl {__version__}\n")


def test_a_misspelt_command_is_a_wrong_request_with_the_nearest() -> None:
    done = run("vlidate")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Did you mean 'validate'?" in done.stderr


def test_a_misspelt_option_is_a_wrong_request_with_the_nearest() -> None:
    done = run("validate", "--jsn", "x")
    assert done.returncode == 2
    assert "--json" in done.stderr


def test_a_function_is_a_command_and_its_docstring_the_help(
    command, capsys: pytest.CaptureFixture[str]
) -> None:
    def anything(word: str, times: int = 1) -> None:
        """Say a word."""
        print(word * times)

    command(anything)
    assert frame.main(["it", "ha", "--times", "3"]) == 0
    assert capsys.readouterr().out == "hahaha\n"
    assert frame.main(["it", "-h"]) == 0
    assert "Say a word." in capsys.readouterr().out


def test_a_typer_is_a_group_of_commands(command, capsys: pytest.CaptureFixture[str]) -> None:
    group = typer.Typer(help="Things.")
    group.command("one")(lambda: print("one"))
    group.command("two")(lambda: print("two"))
    command(group)
    assert frame.main(["it", "two"]) == 0
    assert capsys.readouterr().out == "two\n"
    assert frame.main(["it", "--help"]) == 0
    assert "Things." in (help_ := capsys.readouterr().out)
    assert "--install-completion" not in help_


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (EmergectlError("it failed"), 1, "error: it failed\n"),
        (RequestError("f.yaml:3: seed: no"), 2, "error: f.yaml:3: seed: no\n"),
        (AlreadyRunningError("by 7"), 4, "error: by 7\n"),
        (PreemptedError("at step 3"), 75, "stopped: at step 3\n"),
        (KeyboardInterrupt(), 130, ""),
        (typer.Exit(3), 3, ""),
        (PermissionError(13, "Permission denied", "/x"), 1, "error: /x: Permission denied\n"),
        (RequestError("escape \x1b[31mcodes"), 2, "error: escape codes\n"),
    ],
)
def test_each_failure_ends_with_its_exit_code_and_one_line(
    command, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, line: str
) -> None:
    def fail() -> None:
        raise error

    command(fail)
    assert frame.main(["it"]) == code
    captured = capsys.readouterr()
    assert captured.err == line
    assert captured.out == ""


def test_a_bug_is_not_dressed_up_as_an_answer(command) -> None:
    def buggy() -> None:
        raise KeyError("a bug of ours")

    command(buggy)
    with pytest.raises(KeyError):
        frame.main(["it"])


@pytest.mark.parametrize("arguments", [["schema"], ["--help"], ["--version"]])
def test_a_reader_that_goes_away_is_no_cause_for_noise(arguments: list[str]) -> None:
    """`emergectl schema | head -1`: the pipe is closed before anything is written."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "emergectl", *arguments],
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=60,
        env={key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"},
    )
    os.close(writing)
    assert done.stderr == b""
    assert done.returncode == 1


def test_output_that_cannot_be_encoded_does_not_break_a_command(
    tmp_path: Path, experiment: Path
) -> None:
    file = experiment.rename(tmp_path / "宋词.yaml")
    done = run("validate", str(file), env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert "\\u5b8b\\u8bcd.yaml: ok" in done.stdout
