"""A search draws, learns and is gone on with; its journal survives a kill."""

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from nursery import Nursery
from sweep_study import Study

from emergectl.config.sweep import load_sweep
from emergectl.errors import RequestError
from emergectl.store.locate import list_runs
from emergectl.store.run import read_facts
from emergectl.sweeps.folder import Standing, SweepFolder
from emergectl.sweeps.plan import plan_sweep
from emergectl.sweeps.search import JOURNAL, JournalLock, SearchWork, open_study

SEARCH = """\
search:
  space: {optimizer.lr: {log: [1e-4, 1e-1]}, train.batch_size: 2..6, model.dropout: [0.0, 0.1]}
  metric: validation/loss
  trials: %d
"""


def open_work(sweep: Path, root: Path) -> SearchWork:
    plan = plan_sweep(load_sweep(sweep))
    folder = SweepFolder(root, plan.name)
    folder.make()
    return SearchWork(plan, folder, ["emergectl"])


def drawn(work: SearchWork, folder: SweepFolder, count: int) -> list[dict[str, Any]]:
    orders = [
        work.order(planned.key, Standing(state="waiting", record=folder.record(planned.key)))
        for planned in work.planned()[:count]
    ]
    return [dict(order.facts["values"]) for order in orders]


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes"])
def test_what_is_drawn_is_the_same_however_often_the_search_is_started(
    study: Study, tmp_path: Path, sampler: str
) -> None:
    sweep = study(SEARCH % 6 + f"  sampler: {sampler}\n")
    one, two = tmp_path / "one", tmp_path / "two"
    at_once = drawn(open_work(sweep, one), SweepFolder(one, "tiny"), 6)
    for count in range(1, 7):
        in_parts = drawn(open_work(sweep, two), SweepFolder(two, "tiny"), count)
    assert in_parts == at_once
    assert len({values["optimizer.lr"] for values in at_once}) == 6
    assert all(1e-4 <= values["optimizer.lr"] <= 1e-1 for values in at_once)


def test_a_journal_with_a_torn_last_line_is_mended_before_it_is_used(
    study: Study, tmp_path: Path
) -> None:
    sweep, folder = study(SEARCH % 4), SweepFolder(tmp_path / "runs", "tiny")
    drawn(open_work(sweep, folder.root), folder, 2)
    journal = folder.path / JOURNAL
    whole = journal.read_bytes()
    for cut in (1, 7, 20):
        journal.write_bytes(whole + whole.splitlines()[-1][:cut])
        drawn(open_work(sweep, folder.root), folder, 3)
        mended = journal.read_bytes()
        assert mended.startswith(whole)
        assert all(json.loads(line) for line in mended.splitlines())


def test_the_lock_of_a_journal_ends_with_its_holder(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        JournalLock(tmp_path / JOURNAL).acquire()
        os._exit(0)
    os.waitpid(pid, 0)
    began = time.monotonic()
    JournalLock(tmp_path / JOURNAL).acquire()
    assert time.monotonic() - began < 1.0


def test_a_search_killed_along_the_way_ends_with_every_place_done_once_and_told(
    nursery: Nursery, study: Study, tmp_path: Path
) -> None:
    sweep, root = study(SEARCH % 10), tmp_path / "runs"
    for seconds in (0.6, 0.9):
        started = nursery.start("sweep", sweep, "--workers", 2, "--runs-dir", root)
        time.sleep(seconds)
        started.kill_all()
        started.wait()
    ended = nursery.run("sweep", sweep, "--workers", 2, "--runs-dir", root)
    assert ended.code == 0, ended.said
    places = [read_facts(run)["sweep_key"] for run in list_runs(root)]
    assert sorted(places) == [f"search-{number:04}" for number in range(10)]
    spec = load_sweep(sweep).spec.search
    assert spec is not None
    folder = SweepFolder(root, "tiny")
    trials = open_study(folder, spec).get_trials()
    complete = [t for t in trials if t.state == optuna.trial.TrialState.COMPLETE]
    assert len(complete) == 10
    best = nursery.run("sweep", "best", "tiny", "-n", 1, "--json", "--runs-dir", root)
    told = best.stderr.partition("how much each key matters")[2].splitlines()[0]
    shares = dict(re.findall(r"([a-z.]+[a-z_]+) (\d\.\d\d)", told))
    assert {*shares} == {"optimizer.lr", "train.batch_size", "model.dropout"}
    assert sum(map(float, shares.values())) == pytest.approx(1.0, abs=0.02)
    assert f"{min(t.value for t in complete if t.value is not None):.4f}"[:6] in best.stdout


def test_hyperband_gives_up_trials_that_are_behind(
    nursery: Nursery, study: Study, tmp_path: Path
) -> None:
    space = "space: {optimizer.lr: {log: [1e-8, 1e-2]}}, pruner: hyperband"
    varies = f"search: {{{space}, metric: validation/loss, trials: 8}}"
    sweep, root = study(varies, steps=60), tmp_path / "runs"
    text = sweep.read_text().replace("{every: null, batches", "{every: 3, batches")
    sweep.write_text(text.replace("{every: 4", "{every: 1000"))
    ended = nursery.run("sweep", sweep, "--workers", 2, "--json", "--runs-dir", root)
    assert ended.code == 0, ended.said
    folder = SweepFolder(root, "tiny")
    standings = [folder.look(planned.key) for planned in folder.read_plan()]
    pruned = [standing for standing in standings if standing.state == "pruned"]
    assert 0 < len(pruned) < 8
    assert all(standing.step < 60 for standing in pruned)
    assert nursery.run("sweep", sweep, "--runs-dir", root).code == 0


def test_a_metric_that_no_trial_measures_is_told_with_those_there_are(
    nursery: Nursery, study: Study, tmp_path: Path
) -> None:
    sweep = study(SEARCH.replace("validation/loss", "copying/loss") % 3)
    ended = nursery.run("sweep", sweep, "--workers", 1, "--runs-dir", tmp_path / "runs")
    assert ended.code == 2
    assert "tiny.yaml:14: search.metric: no trial measures `copying/loss`" in ended.stderr
    assert "validation/loss" in ended.stderr


@pytest.mark.parametrize(
    ("metric", "wanted"),
    [
        ("validation/loss", optuna.study.StudyDirection.MINIMIZE),
        ("addition/exact_match", optuna.study.StudyDirection.MAXIMIZE),
        ("addition/exact_match\n  direction: minimize", optuna.study.StudyDirection.MINIMIZE),
    ],
)
def test_a_search_looks_for_what_is_better_by_its_metric_unless_it_is_told(
    metric: str, wanted: object, study: Study, tmp_path: Path
) -> None:
    sweep = study(SEARCH.replace("validation/loss", metric) % 3)
    plan, folder = plan_sweep(load_sweep(sweep)), SweepFolder(tmp_path, "tiny")
    folder.make()
    assert plan.sweep.spec.search is not None
    assert open_study(folder, plan.sweep.spec.search).direction == wanted


def test_a_metric_that_nobody_knows_needs_a_direction(study: Study) -> None:
    with pytest.raises(RequestError, match=r"tiny.yaml:14: search.metric: .*search.direction"):
        plan_sweep(load_sweep(study(SEARCH.replace("validation/loss", "a/wug") % 3)))
