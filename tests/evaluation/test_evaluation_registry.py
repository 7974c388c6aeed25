"""The registry: a metric says once what it is, and everybody who measures goes by that."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from emergectl.cli.main import main
from emergectl.evaluation.columns import Columns
from emergectl.evaluation.estimates import Measure, mean, ratio
from emergectl.evaluation.estimates import interval as interval_of
from emergectl.evaluation.intervals import end_of_range, wilson
from emergectl.evaluation.metrics import METRICS, find_metric, metric_facts, metric_names
from emergectl.evaluation.metrics.field_names import FIELD_NAMES
from emergectl.store.measurements import MetricFacts, read_measurements
from emergectl.store.rows import rows_of_run

EXPERIMENT = """
name: sums
model: {family: gpt2, size: 10k}
data: {train: {task: addition, digits: 1, examples: 80}}
train: {steps: 12, batch_size: 16, threads: 1, compile: false, precision: fp32}
evaluation: {every: [3, 6, 9, 12], best: wrong_tokens}
snapshots: {every: [6, 12]}
"""


@pytest.fixture(scope="module", autouse=True)
def from_outside() -> Iterator[None]:
    """A metric that stands in no file of the package: this function is all of it."""

    @METRICS.metric("continuous", "ratio", direction="down", least=0.0, held_out=("answers",))
    def wrong_tokens(columns: Columns) -> Measure | None:
        """Wrong tokens to each right one."""
        answers = columns.answers
        if answers is None or answers.right_tokens is None:
            return None
        return ratio(answers.tokens - answers.right_tokens, answers.right_tokens + 1)

    @METRICS.metric("continuous", "mean", direction="down", least=0.0)
    def surprise(columns: Columns) -> Measure | None:
        """How unlikely right answers are, in nats."""
        return mean(-columns.answers.logprob) if columns.answers else None

    yield
    del METRICS["wrong_tokens"], METRICS["surprise"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    (folder / "e.yaml").write_text(EXPERIMENT)
    run = folder / "runs" / "sums"
    assert main(["train", str(folder / "e.yaml"), "--json", "--run-dir", str(run)]) == 0
    return run


def test_a_metric_from_outside_is_measured_in_the_loop_and_chooses_in_its_own_direction(
    run: Path,
) -> None:
    found = [one for one in read_measurements(run) if one.metric == "wrong_tokens"]
    assert [one.step for one in found] == [0, 3, 6, 9, 12]
    assert {one.what for one in found} == {
        MetricFacts("continuous", "down", "ratio", least=0.0),
    }
    assert all(one.low is not None and one.low <= one.value for one in found)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    logged = {x["step"]: x["addition/wrong_tokens"] for x in lines if "addition/loss" in x}
    assert logged == {one.step: one.value for one in found}
    assert len(set(logged.values())) > 1
    newest = max((run / "checkpoints").iterdir())
    progress = json.loads((newest / "training_state.json").read_text())["progress"]
    assert progress["best_value"] == min(logged.values())


def test_a_metric_from_outside_can_be_asked_of_eval(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["eval", str(run), "--tasks", "addition:digits=1:examples=80", "--metrics", "surprise"]
    assert main([*asked, "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    values = {one["metric"]: one for one in result["metrics"]}
    assert values["surprise"]["value"] == pytest.approx(-values["logprob"]["value"])
    assert values["surprise"]["direction"] == "down"
    stored = {one.metric: one for one in read_measurements(run) if one.source == "eval"}
    assert stored["surprise"].value == values["surprise"]["value"]


def test_the_same_items_under_two_names_are_one_curve(run: Path) -> None:
    asked = ["eval", str(run), "--tasks", "addition:digits=1:examples=80", "--checkpoint", "all"]
    assert main([*asked, "--json"]) == 0
    measured = read_measurements(run)
    assert len({one.items for one in measured}) == 1
    assert {one.task for one in measured} == {"addition", "addition:digits=1,examples=80"}
    rows = [row.measurement for row in rows_of_run(run)]
    assert {one.task for one in rows} == {"addition"}
    exact = [(one.step, one.source) for one in rows if one.metric == "exact_match"]
    assert exact == [(0, "loop"), (3, "loop"), (6, "eval"), (9, "loop"), (12, "eval")]


def test_fewer_of_the_items_or_shots_before_them_are_other_items(run: Path) -> None:
    for more in (["--limit", "3"], ["--shots", "1"]):
        asked = ["eval", str(run), "--tasks", "addition:digits=1:examples=80", *more, "--json"]
        assert main(asked) == 0
    of_loop = {one.items for one in read_measurements(run) if one.source == "loop"}
    others = [one for one in read_measurements(run) if one.items not in of_loop]
    assert {one.n for one in others if not one.asked} == {3}


def interval(name: str, values: list[float]) -> tuple[float | None, float | None]:
    measure = mean(values)
    assert measure is not None
    return interval_of(METRICS[name].facts, measure)


def test_what_a_metric_is_decides_its_interval_and_never_the_values() -> None:
    values = [1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    assert interval("exact_match", values) == wilson(2, 8)
    for name in ("edit_distance", "mrr", "ndcg", "recall", "pass", "brier"):
        low, high = interval(name, values)
        assert (low, high) != wilson(2, 8), name
        assert low is not None
        assert high is not None
        assert low < 0.25 < high
    shares = {name for name, metric in METRICS.items() if metric.facts.quantity == "share"}
    assert shares == {"accuracy", "accuracy_per_byte", "exact_match"}


def test_where_all_items_stand_at_one_end_the_interval_is_the_exact_one() -> None:
    # Clopper and Pearson: of 10 trials none, (0, 0.3085); in scipy's words the same.
    from scipy.stats import binomtest

    exact = binomtest(0, 10).proportion_ci(method="exact")
    assert end_of_range(np.zeros(10), 0.0, 1.0) == pytest.approx((exact.low, exact.high))
    assert end_of_range(np.full(10, 2.0), -2.0, 2.0) == pytest.approx((2 - 4 * exact.high, 2.0))
    assert end_of_range(np.array([0.0, 0.1]), 0.0, 1.0) is None
    assert end_of_range(np.zeros(10), 0.0, None) is None
    assert interval("recall", [0.0] * 10) == pytest.approx((exact.low, exact.high))


@pytest.mark.parametrize(
    ("name", "direction", "quantity", "scale"),
    [
        ("acc", "up", "share", "linear"),
        ("acc,none", "up", "share", "linear"),
        ("exact_match,strict-match", "up", "share", "linear"),
        ("em", "up", "share", "linear"),
        ("acc_norm", "up", "share", "linear"),
        ("error_rate", "down", "share", "linear"),
        ("ppl", "down", "ratio", "log"),
        ("word_perplexity", "down", "ratio", "log"),
        ("log_perplexity", "down", "loss", "linear"),
        ("nll", "down", "loss", "linear"),
        ("bits_per_character", "down", "loss", "linear"),
        ("val_loss", "down", "loss", "linear"),
        ("eval/loss", "down", "loss", "linear"),
        ("Perplexity", "down", "ratio", "log"),
        ("wer", "down", "ratio", "linear"),
        ("mse", "down", "mean", "linear"),
        ("ROUGE-L", "up", "mean", "linear"),
        ("auroc", "up", "area", "linear"),
        ("macro-F1", "up", "ratio", "linear"),
        ("hits@10", "up", "share", "linear"),
        ("recall@5", "up", "mean", "linear"),
        ("recall", "up", "ratio", "linear"),
        ("pass@100", "up", "mean", "linear"),
        ("brier_score", "down", "mean", "linear"),
        ("token_accuracy", "up", "ratio", "linear"),
    ],
)
def test_names_of_the_field_are_known(name: str, direction: str, quantity: str, scale: str) -> None:
    facts = metric_facts(name)
    assert facts is not None
    assert (facts.direction, facts.quantity, facts.scale) == (direction, quantity, scale)


@pytest.mark.parametrize("name", ["", "step", "train", "val_", "score", "gloss", "learning_rate"])
def test_of_what_nobody_declared_nothing_is_guessed(name: str) -> None:
    assert metric_facts(name) is None


def test_no_name_of_the_field_shadows_a_metric() -> None:
    assert not FIELD_NAMES.keys() & set(metric_names())
    for name in metric_names():
        metric = find_metric(name.replace("@k", "@2"))
        assert metric_facts(metric.name) == metric.facts


def test_what_only_looks_a_name_up_imports_neither_numpy_nor_torch() -> None:
    code = (
        "import sys; from emergectl.evaluation.metrics import metric_facts; metric_facts('acc');"
        "print([m for m in ('numpy', 'torch', 'transformers', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
