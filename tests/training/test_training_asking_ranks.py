"""`eval` and stage `evaluate` on two ranks: the answers of one, each item once, and what survives.

Ranks are started from the nursery as torchrun would start them; `--gpus 2` itself once.
"""

import json
import shutil
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from nursery import Ended, Nursery

from emergectl.evaluation.item_files import read_items
from emergectl.store.status import read_status

EXPERIMENT = """\
name: sums
seed: 5
model: {family: gpt2, size: 10k}
data: {train: {task: addition, digits: 2, examples: 500, test_items: 180}}
train: {steps: 20, batch_size: 32, threads: 1, compile: false, precision: fp32, device: cpu}
"""
TASK = "addition:digits=2:test_items=180"
ASKED = "step-00000020/addition-digits=2,test_items=180"


@pytest.fixture(scope="module")
def trained(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("asked")
    (folder / "e.yaml").write_text(EXPERIMENT)
    run = folder / "run"
    ended = nursery.run("train", folder / "e.yaml", "--json", "--run-dir", run)
    assert ended.code == 0, ended.said
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


def on_two_ranks(
    nursery: Nursery, *arguments: object, sabotage: Sequence[dict[str, Any]] = ()
) -> list[Ended]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    started = [
        nursery.start(
            *arguments,
            sabotage=sabotage,
            environment=where | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    return [one.wait(40.0) for one in started]


def answers(folder: Path) -> dict[str, tuple[float, bool | None, int]]:
    found = {}
    for record in read_items(folder / "items.jsonl"):
        assert record.item not in found, "asked twice"
        assert record.target_score is not None
        score = record.target_score
        found[record.item] = (score.logprob, record.correct, score.tokens)
    return found


def assert_same_answers(one: Path, other: Path) -> None:
    expected, found = answers(one), answers(other)
    assert list(found) == list(expected)
    for item, (logprob, *rest) in expected.items():
        assert found[item][0] == pytest.approx(logprob, abs=1e-4)
        assert list(found[item][1:]) == rest


def test_two_ranks_leave_the_records_of_one_and_each_item_once(
    nursery: Nursery, run: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "alone"
    shutil.copytree(run, alone)
    assert nursery.run("eval", alone, "--tasks", TASK, "--json").code == 0
    first, second = on_two_ranks(nursery, "eval", run, "--tasks", TASK, "--json")
    assert (first.code, second.code) == (0, 0), first.said + second.said
    assert_same_answers(alone / "evals" / ASKED, run / "evals" / ASKED)
    (result,) = json.loads(first.stdout)
    assert result["items"] == 180
    assert second.stdout == ""


@pytest.mark.parametrize("killed", [0, pytest.param(1, marks=pytest.mark.long)])
def test_where_a_rank_is_killed_the_other_ends_and_resume_goes_on(
    nursery: Nursery, run: Path, tmp_path: Path, killed: int
) -> None:
    alone = tmp_path / "alone"
    shutil.copytree(run, alone)
    assert nursery.run("eval", alone, "--tasks", TASK, "--json").code == 0
    command = ("eval", run, "--tasks", TASK, "--json")
    harm = {"what": "in_answers", "batch": 3, "signum": signal.SIGKILL, "rank": killed}
    ended = on_two_ranks(nursery, *command, sabotage=[harm])
    assert ended[killed].code == -signal.SIGKILL
    survivor = ended[1 - killed]
    assert survivor.code == 1, survivor.said
    assert "another rank is gone" in survivor.stderr
    assert "Traceback" not in survivor.stderr
    kept = (run / "evals" / ASKED / "items.jsonl").read_text().splitlines()
    assert 0 < len(kept) < 180
    again = on_two_ranks(nursery, *command, "--resume")
    assert [one.code for one in again] == [0, 0], again[0].said + again[1].said
    assert_same_answers(alone / "evals" / ASKED, run / "evals" / ASKED)


def test_a_signal_to_one_rank_stops_stage_evaluate_on_all_and_it_goes_on(
    nursery: Nursery, run: Path, tmp_path: Path
) -> None:
    file = tmp_path / "ask.yaml"
    file.write_text(
        f"stage: evaluate\nmodel: {{from: {run}}}\n"
        "evaluation: {tasks: {task: addition, digits: 2, test_items: 180}}\n"
    )
    made = tmp_path / "made"
    harm = {"what": "in_answers", "batch": 3, "signum": signal.SIGTERM, "rank": 1}
    ended = on_two_ranks(
        nursery, "train", file, "--json", "--run-dir", made, "--runs-dir", tmp_path, sabotage=[harm]
    )
    assert [one.code for one in ended] == [75, 75], ended[0].said + ended[1].said
    assert read_status(made).state == "preempted"
    assert "--resume goes on" in ended[0].stderr
    assert ended[1].stderr == ""
    again = on_two_ranks(nursery, "train", "--resume", made, "--json", "--runs-dir", tmp_path)
    assert [one.code for one in again] == [0, 0], again[0].said + again[1].said
    assert read_status(made).state == "done"
    assert len(answers(made / "evals" / ASKED)) == 180


@pytest.mark.parametrize(
    ("options", "reason"),
    [((), "what a run held out is for one process"), (("--rescore",), "--rescore is for one")],
)
def test_what_ranks_cannot_share_is_refused_and_told_by_one(
    nursery: Nursery, run: Path, options: tuple[str, ...], reason: str
) -> None:
    first, second = on_two_ranks(nursery, "eval", run, *options)
    assert (first.code, second.code) == (2, 2)
    assert reason in first.stderr
    assert second.stderr == ""


def test_two_ranks_sample_until_passes_as_one(nursery: Nursery, run: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    shutil.copytree(run, alone)
    asked = ("--tasks", TASK, "--until-passes", "2", "--most-samples", "60", "--limit", "20")
    assert nursery.run("eval", alone, *asked, "--json").code == 0
    first, second = on_two_ranks(nursery, "eval", run, *asked, "--json")
    assert (first.code, second.code) == (0, 0), first.said + second.said
    one, other = (list(read_items(at / "evals" / ASKED / "items.jsonl")) for at in (alone, run))
    assert [(r.extra, r.written) for r in other] == [(r.extra, r.written) for r in one]
    assert {record.extra["samples"] for record in one} == {60}


def test_a_wrong_request_is_told_by_one_rank(nursery: Nursery, run: Path) -> None:
    ended = on_two_ranks(nursery, "eval", run, "--tasks", TASK, "--by", "hops")
    assert [one.code for one in ended] == [2, 2], ended[0].said + ended[1].said
    assert "no item has the fact `hops`" in ended[0].stderr
    assert ended[1].stderr == ""


def test_gpus_2_starts_the_ranks_and_ends_as_they_do(nursery: Nursery, run: Path) -> None:
    ended = nursery.run("eval", run, "--tasks", TASK, "--json", "--gpus", 2)
    assert ended.code == 0, ended.said
    (result,) = json.loads(ended.stdout)
    assert result["items"] == 180
    assert len(answers(run / "evals" / ASKED)) == 180
    wrong = nursery.run("eval", run, "--rescore", "--gpus", 2)
    assert wrong.code == 2, wrong.said


@pytest.mark.long
def test_gpus_2_ends_as_its_ranks_do_where_the_request_is_wrong(
    nursery: Nursery, run: Path
) -> None:
    wrong = nursery.run("eval", run, "--tasks", "additoin", "--gpus", 2)
    assert wrong.code == 2, wrong.said
    assert wrong.stderr.count("did you mean `addition`?") == 1
