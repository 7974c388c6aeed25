"""`eval` with tasks, and stage `evaluate`: a small real run asked from the command line."""

import json
import os
import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest
from scipy import stats

from emergectl.cli.evaluate import split
from emergectl.cli.evaluate_display import AskingDisplay
from emergectl.cli.main import main
from emergectl.evaluation import checkpoints, run_tasks, session
from emergectl.evaluation.item_files import ItemFile
from emergectl.evaluation.records import ItemRecord
from emergectl.store.measurements import read_measurements

EXPERIMENT = """
name: sums
seed: 7
model: {family: gpt2, size: 10k}
data: {train: {task: addition, digits: 2, examples: 500, test_items: 60}}
train: {steps: 24, batch_size: 32, threads: 1, compile: false, precision: fp32}
evaluation: {every: [12, 24]}
snapshots: {every: [12, 24]}
"""
TASK = "addition:digits=2:test_items=60"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    (folder / "e.yaml").write_text(EXPERIMENT)
    run = folder / "runs" / "sums"
    assert main(["train", str(folder / "e.yaml"), "--json", "--run-dir", str(run)]) == 0
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMERGECTL_RUNS", str(tmp_path / "runs"))
    copied = tmp_path / "runs" / "sums"
    shutil.copytree(trained, copied)
    return copied


@pytest.fixture
def directory(run: Path, tmp_path: Path) -> Path:
    """The run's last model as somebody else's: a directory that knows of no run."""
    model = tmp_path / "model"
    checkpoint = max((run / "checkpoints").iterdir())
    shutil.copytree(checkpoint, model)
    (model / "manifest.json").unlink()
    return model


def told(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    out = capsys.readouterr()
    return out.out, out.err


def results_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict]:
    assert main([*arguments, "--json"]) == 0
    found: list[dict] = json.loads(told(capsys)[0])
    return found


def values(result: dict) -> dict[str, float]:
    return {one["metric"]: one["value"] for one in result["metrics"] if "group" not in one}


def items(folder: str | Path) -> list[dict]:
    return [json.loads(line) for line in (Path(folder) / "items.jsonl").read_text().splitlines()]


def test_what_a_run_learnt_is_measured_as_while_it_learnt(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = results_of(capsys, "eval", "sums", "--tasks", TASK, "--checkpoint", "all")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    within = {line["step"]: line for line in lines if "addition/loss" in line}
    assert [result["step"] for result in found] == [12, 24]
    for result in found:
        line, taken = within[result["step"]], values(result)
        assert -taken["logprob_per_token"] == pytest.approx(line["addition/loss"], abs=1e-5)
        assert taken["exact_match"] == line["addition/exact_match"]
        assert result["items"] == 60


def test_all_snapshots_are_asked_of_one_model_loaded_once(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    load = run_tasks.load_language_model

    def counted(*given: object, **options: object) -> object:
        loaded.append(given)
        return load(*given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(run_tasks, "load_language_model", counted)
    both = results_of(capsys, "eval", str(run), "--tasks", TASK, "--checkpoint", "all")
    assert len(loaded) == 1
    last = results_of(capsys, "eval", str(run), "--tasks", TASK)
    assert values(both[1]) == pytest.approx(values(last[0]), abs=1e-6)
    assert values(both[0]) != pytest.approx(values(last[0]), abs=1e-6)


def test_the_table_shows_intervals_chance_and_groups(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", "sums", "--tasks", TASK, "--by", "carries"]) == 0
    out, err = told(capsys)
    header, *rows = out.splitlines()
    columns = ["task", "group", "metric", "value", "95%", "interval", "chance", "shortcut", "n"]
    assert header.split() == columns
    assert " giving the most frequent answer " in rows[0]
    assert sum("carries=" in row for row in rows) == 9
    assert rows[0].split()[1] == "exact_match"
    assert " … " in rows[0]
    assert f"written to {run / 'evals'}" in err


def test_csv_has_every_column(run: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: ARG001
    assert main(["eval", "sums", "--tasks", TASK, "--limit", "5", "--csv"]) == 0
    header, *rows = told(capsys)[0].splitlines()
    around = "chance,shortcut,shortcut_by,ceiling"
    assert header == f"model,step,task,group,metric,value,low,high,{around},n"
    assert len(rows) == 3
    assert rows[0].endswith(",5")


def test_what_shortcuts_score_is_that_of_the_items_asked_and_of_each_group(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (result,) = results_of(capsys, "eval", "sums", "--tasks", TASK, "--by", "carries")
    carries = {item["item"]: item["facts"]["carries"] for item in items(result["path"])}
    targets = {item["item"]: item["target"] for item in items(result["path"])}
    for one in result["metrics"]:
        if one["metric"] != "exact_match":
            assert "shortcut" not in one
            continue
        wanted = one.get("group", {}).get("carries")
        own = [t for item, t in targets.items() if wanted is None or carries[item] == wanted]
        assert one["shortcut"] >= max(Counter(own).values()) / len(own)
        assert one["shortcut_by"]
        assert one["ceiling"] == 1
        assert one["n"] == len(own)
    # Computed anew from what was kept, they are the same.
    (again,) = results_of(capsys, "eval", "--rescore", "sums")
    assert again["metrics"] == result["metrics"]
    kept = [one for one in read_measurements(run) if one.metric == "exact_match" and one.step == 24]
    by_loop, *others = sorted(kept, key=lambda one: one.source != "loop")
    whole = next(one for one in others if one.group is None)
    assert by_loop.source == "loop"
    assert (by_loop.shortcut, by_loop.shortcut_by) == (whole.shortcut, whole.shortcut_by)
    assert by_loop.shortcut == result["metrics"][0]["shortcut"]


def test_shots_that_do_not_fit_are_skipped_and_told(
    run: Path,  # noqa: ARG001
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["eval", "sums", "--tasks", TASK, "--shots", "9"]) == 0
    out, err = told(capsys)
    assert len(out.splitlines()) == 1
    assert "60 of 60 items skipped" in err
    assert "the model reaches" in err


class StopAfter:
    """Sends this process a signal when so many items have been answered."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answers: int, signum: int) -> None:
        self.records: list[ItemRecord] = []
        append = ItemFile.append

        def appended(file: ItemFile, record: ItemRecord) -> None:
            append(file, record)
            self.records.append(record)
            if len(self.records) == answers:
                os.kill(os.getpid(), signum)

        monkeypatch.setattr(ItemFile, "append", appended)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_an_evaluation_that_is_stopped_goes_on_where_it_was(
    run: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    signum: int,
    code: int,
) -> None:
    command = ["eval", "sums", "--tasks", TASK]
    (whole,) = results_of(capsys, *command)
    before = items(whole["path"])
    shutil.rmtree(whole["path"])  # what is complete would be kept
    with monkeypatch.context() as patched:
        StopAfter(patched, 7, signum)
        assert main(command) == code
    assert "--resume goes on" in told(capsys)[1]
    folder = run / "evals" / "step-00000024" / "addition-digits=2,test_items=60"
    assert not (folder / "results.json").exists()
    assert len(items(folder)) == 7
    with monkeypatch.context() as patched:
        rest = StopAfter(patched, 10**6, signum)
        (again,) = results_of(capsys, *command, "--resume")
    assert len(rest.records) == 53
    assert values(again) == pytest.approx(values(whole), abs=1e-5)
    for one, other in zip(before, items(folder), strict=True):
        assert one | {"target_score": 0} == other | {"target_score": 0}


def test_what_is_complete_is_not_asked_again(
    run: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = ["eval", "sums", "--tasks", TASK]
    first = results_of(capsys, *command)
    monkeypatch.setattr(run_tasks, "load_language_model", None)
    assert results_of(capsys, *command, "--resume") == first
    measured = (run / "measurements.jsonl").read_bytes()
    assert main(command) == 0
    assert f"asked before, and kept ({first[0]['path']})" in told(capsys)[1]
    assert (run / "measurements.jsonl").read_bytes() == measured


def test_what_was_held_out_is_kept_like_any_items_and_measured_once(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = results_of(capsys, "eval", "sums", "--checkpoint", "all")
    assert [(one["task"], one["step"], one["items"]) for one in found] == [
        ("addition", 12, 60),
        ("addition", 24, 60),
    ]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    within = {line["step"]: line for line in lines if "addition/loss" in line}
    for one in found:
        line = within[one["step"]]
        taken = {name: line[f"addition/{name}"] for name in values(one)}
        assert taken.keys() == {"loss", "perplexity", "exact_match", "token_accuracy"}
        assert values(one) == pytest.approx(taken, abs=1e-5)
        assert {path.name for path in Path(one["path"]).iterdir()} == {
            "asked.json",
            "items.jsonl",
            "results.json",
        }
    monkeypatch.setattr(checkpoints, "make_model", None)
    before = (run / "measurements.jsonl").read_bytes()
    assert results_of(capsys, "eval", "sums", "--checkpoint", "all") == found
    assert (run / "measurements.jsonl").read_bytes() == before
    (again, _) = results_of(capsys, "eval", "sums", "--rescore", "--metrics", "logprob_per_byte")
    assert values(again).items() >= values(found[0]).items()
    assert values(again)["logprob_per_byte"] < 0


def test_rescoring_adds_metrics_and_groups_without_a_model(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = results_of(capsys, "eval", "sums", "--tasks", TASK)
    monkeypatch.setattr(run_tasks, "load_language_model", None)
    command = ["eval", "sums", "--rescore", "--metrics", "logprob_per_byte", "--by", "carries"]
    (again,) = results_of(capsys, *command)
    assert values(again).items() > values(first).items()
    assert "logprob_per_byte" in values(again)
    kept = json.loads((Path(first["path"]) / "results.json").read_text())
    assert kept["metrics"] == again["metrics"]
    assert kept["by"] == ["carries"]
    assert main(["eval", "sums", "--rescore", "--by", "carry"]) == 2
    assert "no item has the fact `carry`" in told(capsys)[1]
    assert main(["eval", str(run), "--rescore", "--tasks", "sorting"]) == 2
    assert f"tasks: {first['task']}" in told(capsys)[1]


def test_a_model_that_is_no_run_gets_a_run_of_its_own(
    run: Path, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own,) = results_of(capsys, "eval", "sums", "--tasks", TASK, "--limit", "9")
    (found,) = results_of(capsys, "eval", str(directory), "--tasks", TASK, "--limit", "9")
    path = Path(found["path"])
    made = path.parents[1]
    assert made.parent == run.parent
    facts = json.loads((made / "run.json").read_text())
    assert (facts["stage"], facts["name"]) == ("evaluate", "eval-model")
    assert json.loads((made / "status.json").read_text())["state"] == "done"
    # A model from elsewhere is not asked to end after its answer.
    assert values(found)["logprob"] > values(own)["logprob"]
    (line,) = (made / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line)[f"{found['task']}/logprob"] == values(found)["logprob"]
    asked_again = ["eval", str(directory), "--tasks", TASK, "--limit", "9", "--resume"]
    (same,) = results_of(capsys, *asked_again)
    assert same["path"] == found["path"]


def test_stage_evaluate_asks_the_same(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "ask.yaml"
    file.write_text(
        "name: ask\nstage: evaluate\nmodel: {from: sums@all}\nevaluation:\n  by: carries\n"
        "  contamination: true\n"
        "  tasks: {task: addition, digits: 2, test_items: 60}\n"
    )
    assert main(["validate", str(file)]) == 0
    told(capsys)
    made = tmp_path / "asked"
    found = results_of(capsys, "train", str(file), "--run-dir", str(made))
    own = results_of(
        capsys, "eval", "sums", "--tasks", TASK, "--by", "carries", "--checkpoint", "all"
    )
    assert [r["metrics"] for r in found] == [r["metrics"] for r in own]
    kept = json.loads((Path(found[0]["path"]) / "results.json").read_text())
    assert kept["contamination"]["items"] == 0
    assert "first 100,000 items" in kept["contamination"]["rule"]
    facts = json.loads((made / "run.json").read_text())
    assert facts["parent"] == run.name
    steps = [json.loads(line)["step"] for line in (made / "metrics.jsonl").read_text().splitlines()]
    assert steps == [12, 24]


def test_stage_evaluate_goes_on_after_a_stop(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ask.yaml"
    file.write_text(
        f"stage: evaluate\nmodel: {{from: {run}}}\n"
        "evaluation: {tasks: {task: addition, digits: 2, test_items: 60}}\n"
    )
    made = tmp_path / "asked"
    with monkeypatch.context() as patched:
        StopAfter(patched, 5, signal.SIGTERM)
        assert main(["train", str(file), "--json", "--run-dir", str(made)]) == 75
    assert json.loads((made / "status.json").read_text())["state"] == "preempted"
    told(capsys)
    with monkeypatch.context() as patched:
        rest = StopAfter(patched, 10**6, signal.SIGTERM)
        (found,) = results_of(capsys, "train", "--resume", str(made))
    assert len(rest.records) == 55
    assert found["items"] == 60
    assert json.loads((made / "status.json").read_text())["state"] == "done"


def test_contamination_is_told_and_grouped_by(
    run: Path,  # noqa: ARG001
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = ["eval", "sums", "--tasks", TASK, "--contamination"]
    (clean,) = results_of(capsys, *command)
    kept = json.loads((Path(clean["path"]) / "results.json").read_text())
    assert kept["contamination"]["items"] == 0
    assert "13 words" in kept["contamination"]["rule"]
    some = {record["item"] for record in items(clean["path"])[:4]}
    monkeypatch.setattr(session, "find_contaminated", lambda _, tasks: {tasks[0].label: some})
    (found,) = results_of(capsys, *command)
    groups = {one["group"]["contaminated"]: one["n"] for one in found["metrics"] if "group" in one}
    assert groups == {False: 56, True: 4}
    assert main(command) == 0
    assert "4 of 60 items are in the training data" in told(capsys)[1]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--tasks", "additoin"], "did you mean `addition`?"),
        (["--tasks", "addition:digts=2"], "did you mean `digits`?"),
        (["--tasks", "copying"], "makes its own tokens"),
        (["--tasks", f"{TASK},{TASK}"], "two tasks are called"),
        (["--tasks", TASK, "--metrics", "acuracy"], "did you mean `accuracy`?"),
        (["--tasks", TASK, "--by", "hops"], "no item has the fact `hops`"),
        (["--tasks", TASK, "--checkpoint", "7"], "keeps no step 7"),
        (["--shots", "3"], "--shots needs --tasks"),
        (["--tasks", TASK, "--json", "--csv"], "exclude each other"),
    ],
)
def test_a_wrong_request_ends_with_one_sentence(
    run: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    assert main(["eval", "sums", *arguments]) == 2
    out, err = told(capsys)
    assert out == ""
    assert reason in err
    assert len(err.splitlines()) == 1
    assert not (run / "evals").exists()


def test_a_directory_says_nothing_of_what_it_was_trained_on(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", str(directory), "--tasks", TASK, "--contamination"]) == 2
    assert "what it was trained on is not known" in told(capsys)[1].replace(str(directory), "it")


def test_a_model_that_cannot_be_asked_leaves_no_run(
    run: Path, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (directory / "tokenizer.json").unlink()
    (directory / "tokenizer_config.json").unlink()
    assert main(["eval", str(directory), "--tasks", TASK]) == 2
    assert "tokenizer" in told(capsys)[1]
    assert list(run.parent.iterdir()) == [run]


def test_progress_in_a_pipe_is_a_plain_line_now_and_then_with_the_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10_000, 4))
    monkeypatch.setattr("emergectl.cli.evaluate_display.time.monotonic", lambda: next(clock))
    display = AskingDisplay(silent=False)
    for done in range(0, 100, 10):
        display.tell("addition", 24, done, 100)
    lines = told(capsys)[1].splitlines()
    assert lines == [
        "step 24, addition: 20 of 100 items, 0:32 left",
        "step 24, addition: 50 of 100 items, 0:20 left",
        "step 24, addition: 80 of 100 items, 0:08 left",
    ]


def test_the_time_before_the_first_answer_is_not_taken_for_the_pace(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0, 0, 100, 110, 120])
    monkeypatch.setattr("emergectl.cli.evaluate_display.time.monotonic", lambda: next(clock))
    display = AskingDisplay(silent=False)
    for done in (0, 1, 11, 21):
        display.tell("addition", None, done, 41)
    assert told(capsys)[1].splitlines() == [
        "addition: 1 of 41 items",
        "addition: 11 of 41 items, 0:30 left",
        "addition: 21 of 41 items, 0:20 left",
    ]


def test_names_are_split_at_commas_outside_brackets() -> None:
    assert split("a, b:x=[1,2],c:y={d: 1, e: 2},") == ["a", "b:x=[1,2]", "c:y={d: 1, e: 2}"]
    assert split("") == []


UNTIL = ("--until-passes", "3", "--most-samples", "40", "--limit", "12")


def test_sampling_until_passes_says_how_often_and_out_of_how_many(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (result,) = results_of(capsys, "eval", str(run), "--tasks", TASK, *UNTIL)
    assert {"pass_rate", "exact_match"} <= set(values(result))
    for item in items(result["path"]):
        found = item["extra"]
        assert found["reached"] == (found["passes"] == 3)
        assert found["reached"] or found["samples"] == 40
    capsys.readouterr()
    assert main(["eval", "sums", "--tasks", TASK, *UNTIL[:2], "--resume"]) == 2
    assert "asked with limit 12" in told(capsys)[1] or "most_samples 40" in told(capsys)[1]


def test_sampling_that_was_stopped_goes_on_item_by_item_with_the_same_samples(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("eval", "sums", "--tasks", TASK, *UNTIL)
    (whole,) = results_of(capsys, *asked)
    expected = items(whole["path"])
    shutil.rmtree(whole["path"])
    append, kept = ItemFile.append, []

    def append_few(self: ItemFile, record: ItemRecord) -> None:
        append(self, record)
        kept.append(record.item)
        if len(kept) == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(ItemFile, "append", append_few)
    assert main([*asked]) == 75
    monkeypatch.undo()
    assert len(kept) == 5
    monkeypatch.setenv("EMERGECTL_RUNS", str(run.parent))
    (again,) = results_of(capsys, *asked, "--resume")
    assert items(again["path"]) == expected
    assert again["metrics"] == whole["metrics"]


def test_the_display_says_how_many_samples_were_drawn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("emergectl.cli.evaluate_display.LINE_SECONDS", 0)
    AskingDisplay(silent=False).tell("addition", 12, 3, 60, samples=4321)
    assert "step 12, addition: 3 of 60 items, 4,321 samples" in told(capsys)[1]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--until-passes", "5"), "--until-passes needs --tasks"),
        (("--samples", "3"), "--samples needs --tasks"),
        (("--resume",), "--resume needs --tasks"),
        (("--rescore", "--shots", "2"), "--shots is for asking, and --rescore asks nothing"),
        (("--rescore", "--checkpoint", "12"), "--checkpoint is for asking"),
        (("--tasks", TASK, "--most-samples", "9"), "--most-samples belongs to --until-passes"),
        (("--tasks", TASK, "--until-passes", "5", "--samples", "3"), "exclude each other"),
        (("--tasks", TASK, "--until-passes", "5", "--temperature", "0"), "above 0"),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    run: Path, options: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", str(run), *options]) == 2
    assert reason in told(capsys)[1]


def test_stage_evaluate_samples_until_passes_too(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "asked.yaml").write_text(
        f"name: asked\nstage: evaluate\nmodel: {{from: {run}}}\nevaluation: {{until_passes: 2, "
        "most_samples: 30, limit: 4, tasks: [{task: addition, digits: 2, test_items: 60}]}\n"
    )
    assert main(["train", str(tmp_path / "asked.yaml")]) == 0
    assert "pass_rate" in told(capsys)[0]
    (tmp_path / "asked.yaml").write_text(
        f"stage: evaluate\nmodel: {{from: {run}}}\n"
        "evaluation: {until_passes: 2, samples: 4, tasks: [addition]}\n"
    )
    assert main(["train", str(tmp_path / "asked.yaml")]) == 2
    assert "exclude each other" in told(capsys)[1]


def test_a_run_that_is_misspelt_is_guessed_before_the_hub_is_asked(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert run.name == "sums"
    assert main(["eval", "sumz", "--tasks", TASK]) == 2
    assert "no run `sumz` (did you mean `sums`?)" in told(capsys)[1]


def test_all_checkpoints_are_asked_only_what_they_were_not_asked_before(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("eval", "sums", "--tasks", TASK)
    (last,) = results_of(capsys, *command)
    first = (Path(last["path"]) / "asked.json").stat().st_mtime_ns
    both = results_of(capsys, *command, "--checkpoint", "all")
    assert [result["step"] for result in both] == [12, 24]
    kept = {path: path.stat().st_mtime_ns for path in run.glob("evals/*/*/asked.json")}
    assert results_of(capsys, *command, "--checkpoint", "all") == both
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert (Path(last["path"]) / "asked.json").stat().st_mtime_ns == first
    # Asked otherwise, it is asked anew.
    fewer = results_of(capsys, *command, "--checkpoint", "all", "--limit", "7")
    assert [result["items"] for result in fewer] == [7, 7]


def test_a_sweeps_models_are_asked_one_after_the_other_into_one_table(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = run.parent
    folder = root / "sweeps" / "study"
    (folder / "trials").mkdir(parents=True)
    names = ["20260101-000000-a-0000", "20260101-000000-b-0001", "none-yet"]
    for number, name in enumerate(names):
        if number < 2:
            shutil.copytree(run, root / name)
            facts = json.loads((root / name / "run.json").read_text())
            (root / name / "run.json").write_text(json.dumps(facts | {"id": name}))
        record = {"key": str(number), "trial": str(number), "run": name}
        (folder / "trials" / f"{number}.json").write_text(json.dumps(record))
    trials = [{"key": str(number), "values": {}} for number in range(3)]
    (folder / "plan.json").write_text(json.dumps({"trials": trials}))
    assert main(["eval", "study", "--tasks", TASK]) == 0
    out, err = told(capsys)
    assert "study: 1 of 3 trials are not trained: left out" in err
    header, *rows = out.splitlines()
    assert header.split()[0] == "model"
    assert {row.split()[0] for row in rows} == set(names[:2])
    asked = {path: path.stat().st_mtime_ns for path in root.glob("2026*/evals/*/*/asked.json")}
    assert len(asked) == 2
    found = results_of(capsys, "eval", "study", "--tasks", TASK, "--checkpoint", "all")
    assert [(one["model"], one["step"]) for one in found] == [
        (f"{name}@{step}", step) for name in names[:2] for step in (12, 24)
    ]
    assert {path: path.stat().st_mtime_ns for path in asked} == asked


def test_what_a_models_tokenizer_does_not_know_is_told_and_such_choices_are_skipped(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"question": "1+1=", "options": ["2", "3"], "answer": "2"},
        {"question": "1+2=", "options": ["三", "二"], "answer": "三"},
        {"question": "1+3=", "options": ["4天", "4地"], "answer": "4天"},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "task.yaml").write_text(
        "task: multiple_choice\ntest_path: rows.jsonl\ncolumns: {choices: options}\n"
        'prompt: "{question}"\nbefore_answer: ""\n'
    )
    assert main(["eval", str(run), "--tasks", str(tmp_path / "task.yaml"), "--json"]) == 0
    out, said = told(capsys)
    (found,) = json.loads(out)
    assert {one["n"] for one in found["metrics"] if one["metric"] == "accuracy"} == {1}
    assert sum(found["skipped"].values()) == 2
    reasons = " ".join(found["skipped"])
    assert "knows no character of '三'" in reasons
    assert "has the same for '4天' and '4地'" in reasons
    assert "the tokenizer does not know 20% of the characters that are asked" in said


def test_two_models_are_compared_by_the_items_that_both_answered(
    run: Path, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier = directory.with_name("earlier")
    shutil.copytree(run / "snapshots" / "step-00000012", earlier)
    (earlier / "manifest.json").unlink()
    names, answers = [], []
    for model in (earlier, directory):
        (found,) = results_of(capsys, "eval", str(model), "--tasks", TASK)
        folder = Path(found["path"])
        names.append(folder.parent.parent.name)
        answers.append({one["item"]: one["target_score"]["logprob"] for one in items(folder)})
    assert main(["analyze", "compare", *names, "--json"]) == 0
    differences = json.loads(told(capsys)[0])["differences"]
    found = next(one for one in differences if one["metric"] == "logprob")
    assert (found["over"], found["items"]) == ("items", 60)
    first, second = ([side[item] for item in sorted(side)] for side in answers)
    assert found["p"] == pytest.approx(stats.ttest_rel(second, first).pvalue)
    assert main(["analyze", "compare", names[0], names[0]]) == 2
