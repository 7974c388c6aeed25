"""The public Python API: what it lists, that it costs nothing to import, and what it answers."""

import ast
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from emergectl import api
from emergectl.cli.main import main
from emergectl.errors import RequestError

PACKAGE = Path(api.__file__).parent


def test_everything_that_is_listed_is_there_and_described() -> None:
    assert api.__all__ == sorted(api.__all__)
    tree = ast.parse(Path(api.__file__).read_text("utf-8"))
    public = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    }
    assert public <= set(api.__all__)
    for name in api.__all__:
        assert name == "Records" or getattr(api, name).__doc__


def test_it_is_typed_for_others() -> None:
    assert (PACKAGE / "py.typed").is_file()


def test_nothing_heavy_is_imported_with_it() -> None:
    code = (
        "import sys; import emergectl.api;"
        "print([m for m in ('torch', 'transformers', 'numpy', 'scipy', 'typer', 'pydantic')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_nothing_of_the_project_imports_it() -> None:
    for path in PACKAGE.rglob("*.py"):
        assert "emergectl.api" not in path.read_text("utf-8") or path.name == "api.py", path


def steps_and_shares() -> list[dict[str, float]]:
    """A clean break at 1e7 parameters in shares of 500 items, and where nothing happens."""
    sizes = [10 ** (5 + i / 2) for i in range(9)]
    return [{"params": size, "up": 0.96 if size > 1e7 else 0.0, "flat": 0.25} for size in sizes]


def test_records_in_memory_are_judged_as_the_same_table_on_disk(tmp_path: Path) -> None:
    records = steps_and_shares()
    options = {"values": ["up", "flat"], "n": 500, "chance": {"up": 0.0, "flat": 0.25}}
    found = api.judge(records, **options)
    assert {ability.task: ability.verdict for ability in found.abilities} == {
        "up": "emergent",
        "flat": "flat",
    }
    up = next(ability for ability in found.abilities if ability.task == "up")
    assert up.break_ is not None
    assert up.break_.position.low < 10**7.25 < up.break_.position.high

    file = tmp_path / "table.csv"
    rows = [",".join(map(str, row.values())) for row in records]
    file.write_text("\n".join([",".join(records[0]), *rows]) + "\n")
    on_disk = api.judge(file, **options)
    assert [a.q_emergent for a in on_disk.abilities] == [a.q_emergent for a in found.abilities]


def test_it_says_what_the_command_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "table.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in steps_and_shares()))
    asked = ["--values", "up", "--n", "500", "--chance", "0", "--json"]
    assert main(["analyze", "emergence", str(file), *asked]) == 0
    said = json.loads(capsys.readouterr().out)
    found = api.judge(file, values=["up"], n=500, chance=0)
    assert json.loads(json.dumps(found.to_json())) == said


def test_a_wrong_option_or_table_is_a_sentence() -> None:
    with pytest.raises(RequestError, match="no option 'chanc'; there are task, metric"):
        api.judge(steps_and_shares(), chanc=0)
    with pytest.raises(RequestError, match="no column 'params_m'"):
        api.read_table(steps_and_shares(), values=["up"], params="params_m")
    with pytest.raises(TypeError, match="a cell of a table is a text or a number, not type"):
        api.read_table([{"params": 1, "value": object}])
    with pytest.raises(RequestError, match="no run 'nowhere'"):
        api.load_run("nowhere", runs_dir="/nonexistent")
    with pytest.raises(RequestError, match="no task to ask"):
        api.ask("latest")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs folder with one tiny run that learns additions."""
    folder = tmp_path_factory.mktemp("api")
    (folder / "tiny.yaml").write_text(
        "name: tiny\nmodel: {family: llama, size: 10k}\n"
        "data: {train: {task: addition, digits: 1}}\n"
        "train: {steps: 4, batch_size: 4, threads: 1, compile: false, precision: fp32}\n"
    )
    train = ["train", str(folder / "tiny.yaml"), "--json", "--runs-dir", str(folder / "runs")]
    assert main(train) == 0
    return folder / "runs"


def test_a_run_is_loaded_with_its_rows_and_its_log(runs: Path) -> None:
    (only,) = api.list_runs(runs_dir=runs)
    run = api.load_run("tiny", runs_dir=runs)
    assert run == only
    assert (run.status.state, run.status.step) == ("done", 4)
    assert run.experiment["model"]["family"] == "llama"
    log = run.log()
    told = [line["addition/loss"] for line in log if "addition/loss" in line]
    rows = [row for row in run.rows() if row.measurement.metric == "loss"]
    assert [row.measurement.value for row in rows] == told
    assert rows[-1].tokens == log[-1]["tokens"]
    assert rows[-1].run.parameters == log[-1]["parameters"]


def test_a_run_is_asked_a_task(runs: Path) -> None:
    run = api.load_run("latest", runs_dir=runs)
    (result,) = api.ask(run, "addition:digits=1", limit=3, runs_dir=runs)
    assert result.items == 3
    assert (run.path / "evals").is_dir()
    likely = next(value for value in result.values if value.metric == "logprob")
    # An untrained model gives each of its tokens about the same.
    assert -5 * math.log(20) < likely.value < 0


def test_a_task_is_loaded() -> None:
    task = api.load_task("addition:digits=2")
    item = next(iter(task.items("test", seed=0)))  # type: ignore[union-attr]
    left, _, right = item.prompt.removesuffix("=").partition("+")
    assert int(left) + int(right) == int(item.target or "")
