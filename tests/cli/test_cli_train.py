"""`train` and `eval` as a person uses them, in this process, on a text of a few kilobytes."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from emergectl.cli.main import main
from emergectl.store.metrics_log import read_metrics

EXPERIMENT = """\
name: tiny
model: {family: llama, size: 10k}
tokenizer: {kind: char}
data: {train: {path: text.txt}, seq_len: 16}
train: {steps: 12, batch_size: 4, log_every: 3}
evaluation: {every: 6}
snapshots: {every: [3, 6]}
"""


@pytest.fixture(autouse=True)
def _signals_are_put_back() -> Iterator[None]:
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    (folder / "text.txt").write_text("the cat sat on the mat, 猫坐在垫子上。\n" * 60, "utf-8")
    (folder / "tiny.yaml").write_text(EXPERIMENT)
    (folder / "runs").mkdir()
    return folder


@pytest.fixture(scope="module")
def run(home: Path) -> Path:
    """One finished run that all tests look at."""
    assert main(["train", str(home / "tiny.yaml"), "--runs-dir", str(home / "runs")]) == 0
    (path,) = (home / "runs").iterdir()
    return path


def records(run: Path) -> list[dict[str, Any]]:
    return list(read_metrics(run / "metrics.jsonl"))


def test_a_run_leaves_what_the_design_promises(run: Path) -> None:
    kept = {path.name for path in run.iterdir()}
    wanted = {"experiment.yaml", "run.json", "status.json", "metrics.jsonl", "checkpoints"}
    assert wanted | {"snapshots", "report"} <= kept
    status = json.loads((run / "status.json").read_text())
    assert (status["state"], status["step"], status["exit_code"]) == ("done", 12, 0)
    facts = json.loads((run / "run.json").read_text())
    assert facts["parameters"] > facts["non_embedding_parameters"] > 0
    assert facts["data"]["train"][0]["fingerprint"]
    assert (run / "report" / "curves.png").stat().st_size > 1000


def test_metric_lines_carry_step_tokens_flops_and_time(run: Path) -> None:
    lines = records(run)
    training = [line for line in lines if "loss" in line]
    assert [line["step"] for line in training] == [1, 3, 6, 9, 12]
    facts = json.loads((run / "run.json").read_text())
    for line in training:
        assert line["tokens"] == line["step"] * 4 * 16
        assert line["flops"] == pytest.approx(line["tokens"] * facts["flops_per_token"])
    seconds = [line["seconds"] for line in lines]
    assert seconds == sorted(seconds)
    evaluated = [line["step"] for line in lines if "validation/loss" in line]
    assert evaluated == [0, 6, 12]


def test_a_checkpoint_loads_elsewhere_with_its_tokenizer(run: Path) -> None:
    path = max((run / "checkpoints").glob("step-*"))
    model = AutoModelForCausalLM.from_pretrained(path)
    tokenizer = AutoTokenizer.from_pretrained(path)
    ids = tokenizer("the 猫", return_tensors="pt")["input_ids"]
    assert tokenizer.decode(ids[0]).replace(" ", "") == "the猫"
    with torch.no_grad():
        assert model(ids).logits.shape == (1, 5, len(tokenizer))


def test_the_kept_experiment_runs_again_as_it_stands(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", str(run / "experiment.yaml"), "--run-dir", "again"]) == 0
    first, again = ([r["loss"] for r in records(p) if "loss" in r] for p in (run, Path("again")))
    assert first == again


def test_resume_auto_finds_the_finished_run_and_does_nothing(
    run: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (run / "metrics.jsonl").read_bytes()
    arguments = ["train", str(home / "tiny.yaml"), "--runs-dir", str(home / "runs")]
    assert main([*arguments, "--resume", "auto", "--json"]) == 0
    printed = capsys.readouterr()
    assert "done already" in printed.err
    assert json.loads(printed.out)["run"] == run.name
    assert (run / "metrics.jsonl").read_bytes() == before


def test_what_was_left_out_of_the_data_stands_in_the_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"text": "the cat sat"}] * 40 + [{"txt": "lost"}]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (tmp_path / "run.yaml").write_text(
        "model: {family: gpt2, size: 10k}\ntokenizer: {kind: char}\n"
        "data: {train: {path: rows.jsonl, bad_rows: skip}, seq_len: 8}\n"
        "train: {steps: 1, batch_size: 2, device: cpu}\n"
    )
    arguments = ["train", str(tmp_path / "run.yaml"), "--json", "--runs-dir", str(tmp_path)]
    assert main(arguments) == 0
    printed = capsys.readouterr()
    (note,) = json.loads(printed.out)["notes"]
    assert printed.err.strip() == note  # and no display
    assert "rows.jsonl: 1 bad rows skipped" in note


def test_another_experiment_does_not_go_on_in_this_run(
    run: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", str(home / "tiny.yaml"), "seed=5", "--runs-dir", str(home / "runs")]
    assert main([*arguments, "--resume", run.name]) == 2
    assert "a run of another experiment" in capsys.readouterr().err


def test_finetune_insists_on_its_stage_and_names_the_line(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "staged.yaml").write_text("stage: pretrain\n" + EXPERIMENT)
    assert main(["finetune", str(home / "staged.yaml"), "--runs-dir", str(home / "none")]) == 2
    error = capsys.readouterr().err
    assert "staged.yaml:1: stage" in error
    assert not (home / "none").exists()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model.size=12q", "model.size"),
        ("model.family=lama", "llama"),
        ("objective.name=mlm", "objective.name"),
        ("data.train.path=nowhere.txt", "nowhere.txt"),
        ("train.device=cuda", "train.device"),
        ("evaluation.tasks=[copying]", "evaluation.tasks"),
    ],
)
def test_a_wrong_request_is_one_line_exit_2_and_leaves_no_run(
    home: Path, override: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if override == "train.device=cuda" and torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    runs = home / "refused"
    assert main(["train", str(home / "tiny.yaml"), override, "--runs-dir", str(runs)]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert len(error.splitlines()) == 1
    assert not runs.exists() or not list(runs.iterdir())


def test_eval_measures_every_kept_step_and_writes_items(
    run: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(home / "runs")
    assert main(["eval", "tiny", "--checkpoint", "all", "--json", "--runs-dir", root]) == 0
    results = json.loads(capsys.readouterr().out)
    assert [result["step"] for result in results] == [3, 6, 12]
    in_loop = {r["step"]: r["validation/loss"] for r in records(run) if "validation/loss" in r}
    for result in results:
        folder = Path(result["path"])
        items = [json.loads(line) for line in (folder / "items.jsonl").read_text().splitlines()]
        assert len(items) == result["items"]
        scores = [item["target_score"] for item in items]
        mean = -sum(one["logprob"] for one in scores) / sum(one["tokens"] for one in scores)
        (loss,) = (one["value"] for one in result["metrics"] if one["metric"] == "loss")
        assert loss == pytest.approx(mean)
        if result["step"] in in_loop:
            assert loss == pytest.approx(in_loop[result["step"]], rel=1e-6)


def test_a_step_that_is_not_kept_is_refused_with_those_that_are(
    run: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", run.name, "--checkpoint", "5", "--runs-dir", str(home / "runs")]) == 2
    assert "it keeps 3, 6, 12" in capsys.readouterr().err


def test_training_goes_on_from_a_run_with_its_tokenizer_and_names_its_parent(
    run: Path, home: Path, tmp_path: Path
) -> None:
    onward = EXPERIMENT.replace("model: {family: llama, size: 10k}", "model: {from: tiny}")
    onward = onward.replace("tokenizer: {kind: char}\n", "").replace("tiny", "onward", 1)
    (home / "onward.yaml").write_text(onward)
    arguments = ["train", str(home / "onward.yaml"), "--runs-dir", str(home / "runs")]
    assert main([*arguments, "--run-dir", str(tmp_path / "onward")]) == 0
    facts = json.loads((tmp_path / "onward" / "run.json").read_text())
    assert facts["parent"] == run.name
    first = next(r for r in records(tmp_path / "onward") if "validation/loss" in r)
    last = [r for r in records(run) if "validation/loss" in r][-1]
    assert first["validation/loss"] == pytest.approx(last["validation/loss"], rel=1e-5)
