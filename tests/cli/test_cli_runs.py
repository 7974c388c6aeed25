"""`emergectl runs`, as a person and as a script use it."""

import csv
import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from emergectl.cli.main import main
from emergectl.config.schema import Experiment
from emergectl.store.checkpoints import commit
from emergectl.store.measurements import Measurement, MetricFacts, append_measurements
from emergectl.store.run import Run, create_run, open_run

ESCAPE = "\x1b]0;owned\x07\x1b[2J"


@dataclass
class Answer:
    code: int
    out: str
    err: str


Ask = Callable[..., Answer]


def make_run(root: Path, name: str, *, lr: float = 1e-3, state: str = "done") -> Path:
    experiment = Experiment.model_validate(
        {"name": name, "data": {"train": [{"path": "a.txt"}]}, "optimizer": {"lr": lr}}
    )
    with create_run(root, experiment, argv=["emergectl", "train", "x.yaml"]) as run:
        fill(run)
        reason = f"bad {ESCAPE} batch" if state == "failed" else None
        run.set_status(state, step=40, exit_code=0, reason=reason)  # type: ignore[arg-type]
    return run.path


def fill(run: Run) -> None:
    run.set_status("running")
    for step in range(0, 50, 10):
        run.metrics.append({"step": step, "loss": 4.0 - step / 20})
    run.log(f"a line {ESCAPE}")
    commit(run.checkpoints, 40, lambda d: (d / "a").write_bytes(b"x") and None, facts={})


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs, which no test may change."""
    root = tmp_path_factory.mktemp("runs")
    make_run(root, "copy", lr=1e-3)
    make_run(root, "copy", lr=1e-4)
    make_run(root, "add", state="failed")
    return root


@pytest.fixture
def ask(runs: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Calls `emergectl runs …` in this process, on the three runs unless told otherwise."""

    def call(*arguments: str, root: Path = runs) -> Answer:
        code = main(["runs", *arguments, "--runs-dir", str(root)])
        return Answer(code, *capsys.readouterr())

    return call


def table(answer: Answer) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(answer.out)))


def test_list_shows_a_line_a_run_newest_first(ask: Ask) -> None:
    answer = ask("list")
    header, *lines = answer.out.splitlines()
    assert header.split() == ["id", "stage", "status", "step", "loss", "time", "reason"]
    assert [line.split()[0][16:-5] for line in lines] == ["add", "copy", "copy"]
    assert lines[0].split()[1:5] == ["pretrain", "failed", "40", "2"]
    assert answer.err == ""


def test_list_filters_sorts_and_limits(ask: Ask) -> None:
    assert [row["name"] for row in table(ask("list", "status=failed", "--csv"))] == ["add"]
    rows = json.loads(ask("list", "name=copy", "--sort", "optimizer.lr", "--json").out)
    assert [row["name"] for row in rows] == ["copy", "copy"]
    assert len(table(ask("list", "--limit", "1", "--csv"))) == 1


SHARE = MetricFacts("discontinuous", "up", "share")
LOSS = MetricFacts("continuous", "down", "loss")


@pytest.fixture
def with_sweep(tmp_path: Path) -> Path:
    """A run by itself, of which two things were measured, and the trials of a sweep."""
    root = tmp_path / "runs"
    alone = make_run(root, "alone")
    whole = Measurement("sums", "exact_match", 0.75, SHARE, "eval", 40, low=0.6, high=0.875, n=40)
    rows = [
        Measurement("sums", "exact_match", 0.125, SHARE, "eval", 20),
        whole,
        replace(whole, value=0.5, group=("digits", 2)),
        Measurement("sums", "loss", 2.5, LOSS, "eval", 40),
    ]
    append_measurements(alone, rows)
    for state in ("done", "done", "failed"):
        trial = make_run(root, "study-1", state=state)
        facts = json.loads((trial / "run.json").read_text())
        (trial / "run.json").write_text(json.dumps(facts | {"sweep": "study"}))
    return root


def test_list_counts_the_trials_of_a_sweep_and_shows_them_when_asked_to(
    with_sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def listed(*arguments: str) -> tuple[list[str], str]:
        assert main(["runs", "list", *arguments, "--runs-dir", str(with_sweep)]) == 0
        out, err = capsys.readouterr()
        return out.splitlines()[1:], err

    rows, said = listed()
    assert len(rows) == 1
    assert "alone" in rows[0]
    assert "sweep study: 3 trials: 2 done, 1 failed (`runs list sweep=study`)" in said
    assert [len(listed(*given)[0]) for given in (["--all"], ["sweep=study"], ["name=study*"])] == [
        4,
        3,
        3,
    ]


def test_list_and_compare_show_what_was_measured(
    with_sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(with_sweep)
    assert main(["runs", "list", "--runs-dir", root]) == 0
    assert "sums/exact_match 0.75 [0.6, 0.875]" in capsys.readouterr().out
    assert main(["runs", "list", "sums/exact_match>=0.7", "--json", "--runs-dir", root]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["name"] == "alone"
    command = ["runs", "compare", "name=alone", "-m", "sums/exact_match", "--json"]
    assert main([*command, "--runs-dir", root]) == 0
    assert [list(row.values()) for row in json.loads(capsys.readouterr().out)] == [
        [20, 0.125],
        [40, 0.75],
    ]


def test_list_of_nothing_says_so_on_stderr_and_gives_programs_an_empty_table(
    ask: Ask, tmp_path: Path
) -> None:
    assert ask("list", root=tmp_path) == Answer(0, "", f"no runs in {tmp_path}\n")
    assert json.loads(ask("list", "--json", root=tmp_path).out) == []


def test_show_tells_how_a_run_stands_and_where_it_came_from(ask: Ask) -> None:
    lines = dict(line.split(maxsplit=1) for line in ask("show", "add").out.splitlines())
    assert lines["status"] == "failed"
    assert lines["reason"] == "bad batch"
    assert lines["argv"] == "emergectl train x.yaml"
    assert lines["metrics.loss"] == "2"
    assert lines["checkpoints"] == "40"
    facts = json.loads(ask("show", "add", "--json").out)
    assert facts["experiment"]["optimizer"]["lr"] == 1e-3
    assert facts["versions"]["torch"]


def test_tail_prints_the_last_lines_three_ways(ask: Ask) -> None:
    assert ask("tail", "add", "-n", "2").out == "step 30  loss 2.5\nstep 40  loss 2\n"
    assert ask("tail", "add", "-n", "1", "--json").out == '{"step": 40, "loss": 2.0}\n'
    assert ask("tail", "add", "-n", "1", "--csv").out == "step,loss\n40,2.0\n"
    assert ask("tail", "add", "--log").out.endswith("a line \n")


def test_tail_follows_a_run_until_it_ends(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_run(tmp_path, "live")
    run = open_run(path)
    run.set_status("running")
    steps = iter((50, 60))

    def meanwhile(_seconds: float) -> None:
        """What happens between two looks."""
        step = next(steps, None)
        if step is not None:
            run.metrics.append({"step": step})
            return
        run.set_status("done")
        run.close()

    monkeypatch.setattr("emergectl.cli.following.time.sleep", meanwhile)
    answer = ask("tail", "live", "-n", "1", "--follow", root=tmp_path)
    assert answer.out.split() == ["step", "40", "loss", "2", "step", "50", "step", "60"]


def test_compare_puts_curves_side_by_side(ask: Ask) -> None:
    rows = table(ask("compare", "name=copy", "--csv"))
    assert [row["step"] for row in rows] == ["0", "10", "20", "30", "40"]
    assert {len(row) for row in rows} == {3}
    assert all(name.startswith("copy-") for name in list(rows[0])[1:])


def test_diff_shows_only_what_differs(ask: Ask) -> None:
    _, *lines = ask("diff", "name=copy").out.splitlines()
    assert [line.split() for line in lines] == [["optimizer.lr", "0.0001", "0.001"]]
    assert len(ask("diff", "name=copy", "--all").out.splitlines()) > 50


def test_path_prints_one_line_for_scripts(ask: Ask, runs: Path) -> None:
    answer = ask("path", "add")
    assert answer.out.count("\n") == 1
    assert Path(answer.out.strip()).parent == runs


def test_export_writes_tables_that_read_back(ask: Ask, tmp_path: Path) -> None:
    assert ask("export", "--metrics", "-o", str(tmp_path / "m.csv")).code == 0
    with (tmp_path / "m.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 15
    assert ask("export", "name=copy", "-o", str(tmp_path / "r.json")).code == 0
    exported = json.loads((tmp_path / "r.json").read_text())
    assert sorted(row["optimizer.lr"] for row in exported) == [1e-4, 1e-3]
    assert len(table(ask("export"))) == 3


def test_rm_removes_what_is_named_exactly_and_says_so(ask: Ask, tmp_path: Path) -> None:
    gone, kept = make_run(tmp_path, "a"), make_run(tmp_path, "b")
    assert ask("rm", gone.name, root=tmp_path).out == f"removed {gone.name}\n"
    assert list(tmp_path.iterdir()) == [kept]


@pytest.mark.parametrize("named", ["copy*", "name=copy", "copy", "latest", "../x", "/"])
def test_rm_takes_no_pattern_prefix_or_place_elsewhere(ask: Ask, runs: Path, named: str) -> None:
    before = sorted(runs.iterdir())
    answer = ask("rm", named)
    assert answer.code == 2
    assert answer.err.startswith("error: ")
    assert sorted(runs.iterdir()) == before


def test_rm_refuses_a_run_at_work_and_then_removes_nothing(ask: Ask, tmp_path: Path) -> None:
    finished = make_run(tmp_path, "finished")
    with open_run(make_run(tmp_path, "live")) as run:
        run.set_status("running")
        answer = ask("rm", finished.name, run.id, root=tmp_path)
        assert answer.code == 4
        assert f"already running: pid {os.getpid()}" in answer.err
        run.set_status("done")
    assert finished.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "nosuch"), "no run 'nosuch' in"),
        (("show", "copy"), "2 runs match 'copy'; name one:"),
        (("show", ""), "an empty text names no run"),
        (("list", "stauts=x"), "did you mean status?"),
        (("list", "--json", "--csv"), "--json and --csv exclude each other"),
        (("show", "add", "--json", "--csv"), "--json and --csv exclude each other"),
        (("compare", "add", "-m", "acc"), "has no metric 'acc'; it has loss"),
        (("diff", "add"), "diff wants two runs or more"),
        (("export", "-o", "/no/such/folder/x.csv"), "there is no folder /no/such/folder"),
    ],
)
def test_a_wrong_request_ends_with_2_and_one_sentence(
    ask: Ask, arguments: tuple[str, ...], said: str
) -> None:
    answer = ask(*arguments)
    assert answer.code == 2
    assert said in answer.err
    assert "Traceback" not in answer.err
    assert answer.out == ""


def test_nothing_printed_carries_what_a_terminal_would_obey(ask: Ask) -> None:
    commands = (
        ("list",),
        ("list", "--csv"),
        ("list", "--json"),
        ("show", "add"),
        ("show", "add", "--json"),
        ("tail", "add", "--log"),
        ("export",),
    )
    for command in commands:
        answer = ask(*command)
        assert answer.code == 0
        assert "\x1b" not in answer.out + answer.err, command
        assert "\x07" not in answer.out + answer.err, command
    assert json.loads(ask("show", "add", "--json").out)["reason"] == f"bad {ESCAPE} batch"


def test_a_terminal_gets_a_chart_with_the_comparison(runs: Path) -> None:
    program = "import sys; from emergectl.cli.main import main; sys.exit(main())"
    arguments = ["runs", "compare", "name=copy", "--runs-dir", str(runs)]
    terminal, inside = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=inside,
        env={**os.environ, "NO_COLOR": "1", "TERM": "xterm"},
    )
    os.close(inside)
    shown = b""
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # Linux says so when the other side is closed.
            break
        if not part:
            break
        shown += part
    os.close(terminal)
    assert child.wait() == 0
    text = shown.decode()
    assert "┌" in text
    assert "bbb" in text  # The curves are equal, and the second lies over the first.
    assert "\x1b[3" not in text


def test_runs_imports_nothing_heavy(runs: Path) -> None:
    program = (
        "import sys; from emergectl.cli.main import main\n"
        f"main(['runs', 'list', '--runs-dir', {str(runs)!r}])\n"
        "heavy = {'torch', 'transformers', 'datasets', 'numpy', 'matplotlib', 'plotext'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
