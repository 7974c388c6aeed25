"""The metric that chooses: known beforehand, and better in its own direction."""

import numpy as np
import pytest

from emergectl.config.schema import Experiment
from emergectl.errors import ExperimentError, TrainingError
from emergectl.evaluation.columns import columns_of_rows
from emergectl.evaluation.metrics import held_out_metrics, metric_facts
from emergectl.evaluation.watched import check_watched, held_out_names, watched_value
from emergectl.store.measurements import Measurement
from emergectl.tasks.objectives.objective import DataShape
from emergectl.tasks.resolve import ResolvedExperiment, resolve


def experiment(best: str, **sections: object) -> ResolvedExperiment:
    data = {"train": {"path": "rows.csv"}}
    whole = {"data": data, "evaluation": {"best": best}} | sections
    return resolve(Experiment.model_validate(whole))


def measured(**values: float) -> list[Measurement]:
    return [
        Measurement("validation", name, value, facts, "loop")
        for name, value in values.items()
        if (facts := metric_facts(name)) is not None
    ]


def test_a_metric_that_is_not_measured_is_named_with_those_that_are() -> None:
    with pytest.raises(ExperimentError) as error:
        check_watched(experiment("accuracy"))
    assert error.value.key == "evaluation.best"
    assert "there are: loss, perplexity, bits_per_byte" in error.value.message


def test_what_tasks_called_accuracy_before_is_found_under_its_name() -> None:
    data = {"train": {"task": "copying"}}
    with pytest.raises(ExperimentError, match="did you mean `token_accuracy`"):
        check_watched(experiment("accuracy", data=data))
    check_watched(experiment("copying/token_accuracy", data=data))


def test_a_minus_before_what_is_better_low_is_refused_and_else_says_nothing_new() -> None:
    classes = {"objective": {"name": "binary"}, "model": {"family": "bert"}}
    for best in ("accuracy", "-accuracy", "loss", "validation/f1", "-validation/f1"):
        check_watched(experiment(best, **classes))
    with pytest.raises(ExperimentError, match="`loss` is better the lower it is"):
        check_watched(experiment("-loss", **classes))


@pytest.mark.parametrize("best", ["accuracy", "-accuracy", "validation/accuracy"])
def test_more_of_what_is_better_high_is_better(best: str) -> None:
    worse, better = (watched_value(measured(loss=1.0, accuracy=a), best) for a in (0.2, 0.9))
    assert better < worse
    assert watched_value(measured(loss=1.0), "loss") == 1.0
    with pytest.raises(TrainingError, match="measured are validation/loss"):
        watched_value(measured(loss=1.0), best)


def classes(outputs: int, labels: np.ndarray) -> dict[str, np.ndarray]:
    logits = np.random.default_rng(0).normal(size=(len(labels), outputs))
    return {"nll": np.ones(len(labels)), "logits": logits, "labels": labels}


def test_the_metrics_that_may_be_watched_are_those_that_are_measured() -> None:
    tokens = {"nll": np.ones(4), "targets": np.full(4, 2)}
    counted = {**tokens, "correct": np.array([0, 1, 2, 2])}
    rows: dict[tuple[DataShape, bool], dict[str, np.ndarray]] = {
        ("clm", False): tokens,
        ("clm", True): counted,
        ("mlm", False): tokens,
        ("answer", False): counted,
        ("binary", False): classes(1, np.array([0, 1, 0, 1])),
        ("multiclass", False): classes(3, np.array([0, 1, 2, 1])),
        ("multilabel", False): classes(2, np.array([[0, 1], [1, 0], [1, 1]])),
    }
    for (objective, is_task), kept in rows.items():
        is_text = (objective, is_task) == ("clm", False)
        columns = columns_of_rows(kept, bytes_per_token=2.0 if is_text else None)
        found = [one.name for one in held_out_metrics() if one.measure(columns) is not None]
        assert held_out_names(objective, is_task=is_task) == found
