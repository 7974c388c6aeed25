"""`tasks`: what there is, what it takes, and what it asks."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from emergectl.cli.main import main
from emergectl.config.shipped import shipped_tasks
from emergectl.tasks.catalog import task_classes


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["tasks", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_list_holds_every_task_with_a_line_on_it(capsys: pytest.CaptureFixture[str]) -> None:
    rows = answer(capsys, "list")
    assert [row["name"] for row in rows] == [*sorted(task_classes()), *shipped_tasks()]
    assert all(row["description"] for row in rows)
    assert {row["name"]: row["asks for"] for row in rows}["copying"] == "every token"


@pytest.mark.parametrize("name", sorted(task_classes()))
def test_every_task_can_be_shown(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = answer(capsys, "show", name)
    assert shown["name"] == name
    assert all(parameter["meaning"] for parameter in shown["parameters"])
    assert main(["tasks", "show", name]) == 0
    assert f"{name}: " in capsys.readouterr().out


def test_a_task_is_shown_with_its_parameters_chance_and_real_examples(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = answer(capsys, "show", "addition", "digits=2")
    assert shown["chance"] == {"exact_match": 1 / 179}
    assert shown["metrics"][0] == "exact_match"
    [digits] = [p for p in shown["parameters"] if p["name"] == "digits"]
    assert digits == {
        "name": "digits",
        "default": 3,
        "values": "1 to 18",
        "meaning": "digits of either number",
    }
    for example in shown["examples"]:
        a, b = example["question"].rstrip("=").split("+")
        assert example["answer"] == str(int(a) + int(b))
    assert main(["tasks", "show", "addition", "digits=2"]) == 0
    printed = capsys.readouterr().out
    assert f"{shown['examples'][0]['question']}▸{shown['examples'][0]['answer']}" in printed
    assert "chance      exact_match 0.005587" in printed


def test_a_sample_is_as_many_items_of_a_split_as_are_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = ["sample", "recall", "pairs=3", "-n", "7", "--seed", "4"]
    train, again, test = (
        answer(capsys, *asked, "--split", split) for split in ("train", "train", "test")
    )
    assert len(train) == len(test) == 7
    assert train == again
    assert train != test
    assert all(item["facts"]["pairs"] == 3 for item in train)


def test_what_needs_no_ability_is_shown_with_the_best_that_can_be_reached(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = answer(capsys, "show", "recall", "pairs=4", "values=16")
    assert shown["chance"] == {"exact_match": 1 / 16}
    # 0.3372 of endless items, by enumeration of all 16⁴ lists: 1,000 items are within 4 errors.
    found = shown["shortcuts"]["exact_match"]["naming the most frequent listed value"]
    assert found == pytest.approx(0.3372, abs=0.06)
    assert found == max(shown["shortcuts"]["exact_match"].values())
    assert shown["ceiling"] == {"exact_match": 1}
    assert main(["tasks", "show", "recall", "pairs=4", "values=16"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"shortcuts   exact_match {found:.4g} naming the most frequent listed value" in lines
    assert "ceiling     exact_match 1" in lines
    assert any(line.startswith(" " * 12 + "exact_match 0.") for line in lines)


def test_a_sequence_task_shows_its_shortcuts_too(capsys: pytest.CaptureFixture[str]) -> None:
    shown = answer(capsys, "show", "copying", "vocab_size=8")
    assert shown["chance"] == {"token_accuracy": 1 / 8}
    assert max(shown["shortcuts"]["token_accuracy"].values()) > 1 / 8


def test_a_sequence_is_sampled_with_its_scored_tokens_marked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["tasks", "sample", "copying", "segment=3", "length=12", "-n", "1"]) == 0
    words = capsys.readouterr().out.split()
    assert len(words) == 12
    assert sum(word.startswith("[") for word in words) == 2 * 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "additoin"], "did you mean `addition`?"),
        (["sample", "addition", "digit=3"], "did you mean `digits`?"),
        (["sample", "addition", "digits=three"], "digits: "),
        (["sample", "addition", "digits"], "write it as parameter=value"),
        (["sample", "addition", "--split", "validation"], "--split is train or test"),
        (["sample", "hops", "hops=9"], "need more `entities`"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tasks", *arguments]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert not captured.out
    assert len(captured.err.splitlines()) == 1


def test_nothing_heavy_is_imported_to_show_a_task() -> None:
    code = (
        "import sys; from emergectl.cli.main import main; main(['tasks', 'show', 'dyck']);"
        "print([m for m in ('torch', 'transformers', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_task_file_is_shown_and_sampled_over_rows_of_ones_own(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "gorgeous .", "label": "positive"}\n')
    given = (f"path={rows}", "held_out=1.0")
    shown = answer(capsys, "show", "sentence_polarity", *given)
    assert shown["chance"]["accuracy"] == 0.5
    assert shown["examples"] == answer(capsys, "sample", "sentence_polarity", *given)
    assert shown["examples"][0]["answer"] == "positive"


def test_a_task_without_rows_is_shown_without_examples(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert answer(capsys, "show", "classification")["examples"] == []
    (tmp_path / "empty.jsonl").write_text("")
    shown = answer(capsys, "show", "classification", f"path={tmp_path / 'empty.jsonl'}")
    assert shown["examples"] == []
