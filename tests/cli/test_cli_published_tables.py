"""Published tables by the command line alone: items and guessing by task, duplicates, laws."""

import json
from pathlib import Path

import pytest

from emergectl.analysis.table_curves import curves_of
from emergectl.cli.main import main
from emergectl.cli.tables import TableSource, read_source
from emergectl.errors import DataError, RequestError

WIDE = "size,arc,piqa,arc_items,piqa_guess\n1e6,.25,.5,1172,.5\n1e7,.3,.6,1172,.5\n"


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def levels(path: Path, **options: object) -> dict[str, tuple[float | None, float | None]]:
    source = TableSource([str(path)], {"params": "size", "values": ["arc,piqa"], **options})
    return {row.task: (row.n, row.chance) for row in read_source(source).rows}


def test_items_and_guessing_may_differ_by_task_in_every_way_of_telling(tmp_path: Path) -> None:
    wide = write(tmp_path / "wide.csv", WIDE)
    items = str(write(tmp_path / "n.csv", 'task,n\narc,1172\npiqa,"1,838"\n'))
    chances = str(write(tmp_path / "chance.tsv", "metric\tchance\narc\t25%\npiqa\t0.5\n"))
    expected = {"arc": (1172, 0.25), "piqa": (1838, 0.5)}
    assert levels(wide, n=[items], chance=[chances]) == expected
    assert levels(wide, n=["arc=1172", "piqa=1838"], chance=["0.5", "arc=0.25"]) == expected
    mixed = levels(wide, n=["arc=arc_items", "1838"], chance=["piqa=piqa_guess", "arc=0.25"])
    assert mixed == expected
    assert levels(wide, n=[items, "arc=100"])["arc"] == (100, None)  # What was typed wins.


def test_what_a_shortcut_scores_is_told_as_chance_is(tmp_path: Path) -> None:
    wide = write(tmp_path / "wide.csv", WIDE)
    file = str(write(tmp_path / "shortcut.csv", "task,shortcut\narc,0.3\npiqa,50.5%\n"))
    ways: list[dict[str, object]] = [
        {"shortcut": [file]},
        {"shortcut": ["arc=0.3", "0.505"]},
        {"shortcut": ["piqa=piqa_guess", "arc=0.3"]},
    ]
    expected = [{"arc": 0.3, "piqa": 0.505}, {"arc": 0.3, "piqa": 0.505}, {"arc": 0.3, "piqa": 0.5}]
    for way, told in zip(ways, expected, strict=True):
        options = {"params": "size", "values": ["arc,piqa"], "n": ["1000"], **way}
        rows = read_source(TableSource([str(wide)], options)).rows
        assert {row.task: row.shortcut for row in rows} == told
    tidy = write(
        tmp_path / "tidy.csv",
        "params,task,metric,value,shortcut,shortcut_by,ceiling\n"
        "1e6,arc,acc,0.2,0.3,the longest choice,0.9\n1e6,arc,loss,2.5,,,\n",
    )
    first, second = read_source(TableSource([str(tidy)], {"shortcut": ["0.4"]})).rows
    assert (first.shortcut, first.shortcut_by, first.ceiling) == (0.3, "the longest choice", 0.9)
    assert (second.shortcut, second.ceiling) == (None, None)  # Of a loss there is no shortcut.


def test_what_a_file_of_levels_does_not_fit_is_told(tmp_path: Path) -> None:
    wide = write(tmp_path / "wide.csv", WIDE)
    items = str(
        write(tmp_path / "n.jsonl", '{"task": "arc", "n": 5}\n{"task": "arx", "value": 6}\n')
    )
    options = {"params": "size", "values": ["arc,piqa"], "n": [items]}
    notes = read_source(TableSource([str(wide)], options)).notes
    assert any("the table has no arx" in note for note in notes) is False  # A row without `n`.
    assert any("nothing is said of piqa" in note for note in notes)
    items = str(write(tmp_path / "n.jsonl", '{"task": "arc", "n": 5}\n{"task": "arx", "n": 6}\n'))
    options = {"params": "size", "values": ["arc,piqa"], "n": [items]}
    notes = read_source(TableSource([str(wide)], options)).notes
    assert [note.partition(": ")[2] for note in notes[:2]] == [
        "the table has no arx",
        "nothing is said of piqa",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,count\narc,5\n", r"expected the columns task \(or metric\) and n; there are name"),
        ("task,n\narc,5\narc,6\n", r"3: n of arc is 6 and was 5"),
        ("task,n\narc,many\n", "n is 'many'"),
        ("task,n\narc,0\n", "n arc=0: a number of items is 1 or more"),
    ],
)
def test_a_wrong_file_of_levels_is_named(tmp_path: Path, text: str, said: str) -> None:
    wide = write(tmp_path / "wide.csv", WIDE)
    items = str(write(tmp_path / "n.csv", text))
    with pytest.raises((RequestError, DataError), match=said):
        levels(wide, n=[items])
    with pytest.raises(RequestError, match="no file"):
        levels(wide, n=[str(tmp_path / "other.csv")])


TWICE = "task,params,value\na,1e6,.1\na,1e6,.4\na,1e6,.2\na,1e7,.5\n"


@pytest.mark.parametrize(
    ("option", "value"), [("mean", (0.1 + 0.4 + 0.2) / 3), ("first", 0.1), ("last", 0.2)]
)
def test_duplicates_are_merged_on_request_and_told(
    tmp_path: Path, option: str, value: float
) -> None:
    path = write(tmp_path / "t.csv", TWICE)
    table = read_source(TableSource([str(path)], {"duplicates": option}))
    (curve,) = curves_of(table, "params")
    assert curve.values.tolist() == [pytest.approx(value, rel=1e-12), 0.5]
    assert curve.seeds.tolist() == [1, 1]  # Duplicates are no seeds.
    assert any(note.startswith("2 values stand for measurements") for note in table.notes)


@pytest.mark.parametrize("seeds", [True, False])
def test_models_that_share_a_size_are_no_seeds(
    tmp_path: Path, seeds: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["model,params,task,value,n" + ",seed" * seeds]
    for i, params in enumerate((1e6, 1e7, 1e8, 1e9)):  # too few for a verdict, which takes long
        for j, model in enumerate("abc"):
            value = 0.8 if i > 1 and j != i % 3 else 0.0
            name = "m" if seeds else model
            lines.append(f"{name},{params:g},t,{value},500" + f",{j}" * seeds)
    path = write(tmp_path / "t.csv", "\n".join(lines) + "\n")
    assert main(["analyze", "emergence", str(path), "--chance", "0"]) == 0
    said = capsys.readouterr().err
    assert ("models that succeed" in said) != seeds
    assert ("would tell the share" in said) == seeds


def test_duplicates_are_refused_by_default_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "t.csv", TWICE)
    for options in ([], ["--duplicates", "refuse"]):
        assert main(["analyze", "emergence", str(path), *options]) == 2
        assert "--duplicates mean, first or last" in capsys.readouterr().err
    assert main(["analyze", "emergence", str(path), "--duplicates", "median"]) == 2
    assert "one of refuse, mean, first, last" in capsys.readouterr().err


def losses(path: Path, *, model: str = "", step: bool = True) -> Path:
    """Sixteen runs by a known law, each with an earlier checkpoint where steps are told."""
    lines = ["params,tokens,loss" + ",step" * step + ",model" * bool(model)]
    for params in (1e5, 1e6, 1e7, 1e8):
        for last in (1e5, 1e6, 1e7, 1e8):
            for tokens in (last / 10, last) if step and model else (last,):
                loss = 1.7 + 40 / params**0.34 + 410 / tokens**0.28
                line = f"{params:g},{tokens:g},{loss:.12g}" + f",{tokens / 100:g}" * step
                lines.append(line + f",{model}-{params:g}-{last:g}" * bool(model))
    return write(path, "\n".join(lines) + "\n")


@pytest.mark.parametrize(("model", "step"), [("m", True), ("", True), ("", False)])
def test_a_law_is_of_whole_runs_with_and_without_steps(
    tmp_path: Path, model: str, step: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    path = losses(tmp_path / "runs.csv", model=model, step=step)
    assert main(["analyze", "scaling", str(path), "--draws", "100", "--json"]) == 0
    captured = capsys.readouterr()
    law = json.loads(captured.out)
    assert law["runs"] == 16
    assert law["parameters"]["alpha"]["value"] == pytest.approx(0.34, rel=0.02)
    assert ("every row is a run" in captured.err) == (step and not model)


def test_delta_changes_the_objective_of_a_law(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Within delta the Huber loss is half the square: halved with delta where all is beyond it."""
    path = losses(tmp_path / "runs.csv", step=False)
    text = path.read_text().splitlines()
    parts = text[1].split(",")
    text[1] = ",".join([*parts[:2], str(float(parts[2]) * 2)])  # One outlier of log 2.
    write(path, "\n".join(text) + "\n")
    objectives = []
    for delta in ("1e-3", "1e-4"):
        main(["analyze", "scaling", str(path), "--draws", "100", "--json", "--delta", delta])
        objectives.append(json.loads(capsys.readouterr().out)["objective"])
    assert objectives[0] == pytest.approx(1e-3 * 0.693147, rel=0.01)
    assert objectives[1] == pytest.approx(1e-4 * 0.693147, rel=0.01)


def test_two_losses_of_one_run_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = losses(tmp_path / "runs.csv", model="m")
    last = path.read_text().splitlines()[-1].split(",")
    last[2] = "3.5"
    path.write_text(path.read_text() + ",".join(last) + "\n")
    assert main(["analyze", "scaling", str(path), "--draws", "100"]) == 2
    assert "loss 3.5 and" in capsys.readouterr().err
