"""`doctor`: what works, what does not, what to do, and an exit code that scripts can trust."""

import json
import subprocess
from pathlib import Path

import pytest

from emergectl.cli import doctor
from emergectl.cli.main import main


def test_every_check_is_told_with_advice_for_what_is_not_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--json", "--runs-dir", str(tmp_path / "runs")]) == 0
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    expected = {"python", "torch", "transformers", "cuda", "bf16", "compiler", "disk", "memory"}
    assert expected | {"runs directory"} <= set(checks)
    for check in checks.values():
        assert check["state"] in ("ok", "missing")
        assert check["found"]
        assert check["state"] == "ok" or check["advice"], check
    assert checks["torch"]["state"] == "ok"
    assert not (tmp_path / "runs").exists()


def test_runs_that_cannot_be_written_are_broken_and_the_exit_code_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["doctor", "--json", "--runs-dir", "/proc/runs"]) == 1
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert checks["runs directory"]["state"] == "broken"
    assert "--runs-dir" in checks["runs directory"]["advice"]


def test_a_package_that_does_not_import_is_broken() -> None:
    check = doctor.check_package("no_such_package_as_this")
    assert check.state == "broken"
    assert "does not import" in check.found


def test_a_compiler_that_does_not_compile_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "false")
    check = doctor.check_compiler()
    assert check.state == "missing"
    assert "cannot compile" in check.found


def test_a_machine_without_a_compiler_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    assert doctor.check_compiler().found == "no C++ compiler"


def test_a_check_that_fails_itself_is_a_finding() -> None:
    def check_something() -> doctor.Check:
        raise subprocess.TimeoutExpired("g++", 60)

    check = doctor._guarded(check_something)
    assert (check.name, check.state) == ("something", "missing")
    assert "TimeoutExpired" in check.found
