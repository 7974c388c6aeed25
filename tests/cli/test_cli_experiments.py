"""`validate`, `schema` and `configs`, as they are called."""

import json
from pathlib import Path

import pytest

from emergectl.cli.main import main

GOOD = "# Copying.\ndata: {train: {task: copying}}\n"


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of shipped experiments with one of them."""
    folder = tmp_path / "shipped"
    (folder / "pretrain").mkdir(parents=True)
    (folder / "pretrain" / "copying.yaml").write_text(GOOD)
    monkeypatch.setattr("emergectl.config.shipped.shipped_folder", lambda: folder)
    monkeypatch.chdir(tmp_path)
    return folder


def test_a_good_file_is_ok(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "e.yaml"
    file.write_text(GOOD)
    assert main(["validate", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: ok\n"


def test_all_files_are_checked_and_all_errors_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad, gone = tmp_path / "good.yaml", tmp_path / "bad.yaml", tmp_path / "gone.yaml"
    good.write_text(GOOD)
    bad.write_text(GOOD + "seed: x\nlr: 1\n")
    assert main(["validate", str(bad), str(gone), str(good)]) == 2
    captured = capsys.readouterr()
    assert captured.out == f"{good}: ok\n"
    assert captured.err.splitlines() == [
        f"error: {bad}:3: seed: expected a whole number, got text `x`",
        f"error: {bad}:4: lr: unknown key; did you mean `optimizer.lr`?",
        f"error: {gone}: cannot be read: No such file or directory",
    ]


def test_validate_answers_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(GOOD)
    bad.write_text("[")
    assert main(["validate", "--json", str(good), str(bad)]) == 2
    captured = capsys.readouterr()
    first, second = json.loads(captured.out)
    assert first == {"file": str(good), "ok": True, "errors": [], "warnings": [], "notes": []}
    assert second["ok"] is False
    assert second["errors"][0].startswith(f"{bad}:1: ")
    assert captured.err == ""


def test_schema_prints_the_json_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert "optimizer" in json.loads(capsys.readouterr().out)["properties"]


def test_configs_are_listed_with_their_descriptions(
    shipped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shipped.is_dir()
    assert main(["configs", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed == [{"name": "pretrain/copying", "description": "Copying."}]


def test_a_config_is_copied_and_never_over_a_file(
    shipped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shipped.is_dir()
    assert main(["configs", "copy", "pretrain/copying"]) == 0
    assert capsys.readouterr().out == "copying.yaml\n"
    copied = tmp_path / "copying.yaml"
    assert copied.read_text() == GOOD
    copied.write_text("mine")
    assert main(["configs", "copy", "pretrain/copying"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert copied.read_text() == "mine"
    assert main(["configs", "copy", "pretrain/copying", "--force"]) == 0
    assert copied.read_text() == GOOD
    assert main(["configs", "copy", "pretrain/copying", "new/folder/x.yaml"]) == 0
    assert (tmp_path / "new/folder/x.yaml").read_text() == GOOD


def test_a_config_that_is_not_shipped_is_a_wrong_request(
    shipped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shipped.is_dir()
    assert main(["configs", "copy", "pretrain/copyin"]) == 2
    assert "did you mean `pretrain/copying`?" in capsys.readouterr().err
