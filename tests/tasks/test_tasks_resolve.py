"""What cannot be, found without torch: `validate` and `train` say it before anything is made."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from emergectl.config.schema import Experiment
from emergectl.errors import ExperimentError
from emergectl.tasks.resolve import check_asked, objective_of

ROWS = {"path": "rows.csv"}
TASK = {"task": "copying"}


def experiment(**sections: object) -> Experiment:
    return Experiment.model_validate({"data": {"train": ROWS}, **sections})


WRONG: dict[str, tuple[dict[str, object], str, str]] = {
    "a family": ({"model": {"family": "lama"}}, "model.family", "did you mean llama?"),
    "a size": ({"model": {"size": "2mb"}}, "model.size", "did you mean"),
    "a size too small for its family": (
        {
            "model": {"family": "t5", "size": "6k"},
            "objective": {"name": "answer", "prompt": "{q}", "answer": "{a}"},
        },
        "model.size",
        "no shape",
    ),
    "mlm with a causal family": (
        {"objective": {"name": "mlm"}},
        "objective.name",
        "`mlm` needs a masked model; `gpt2` is causal",
    ),
    "clm with a masked family": (
        {"model": {"family": "roberta"}, "objective": {"name": "clm"}},
        "objective.name",
        "`roberta` is masked",
    ),
    "fine-tuning for nothing": ({"stage": "finetune"}, "objective.name", "needs one"),
    "whole words without masks": (
        {"objective": {"whole_word": True}},
        "objective.whole_word",
        "belongs to `name: mlm`",
    ),
    "a task": ({"data": {"train": {"task": "copyng"}}}, "data.train.0.task", "no task `copyng`"),
    "a parameter of a task": (
        {"data": {"train": {**TASK, "sgment": 4}}},
        "data.train.0.sgment",
        "did you mean `segment`?",
    ),
    "more examples than there are": (
        {"data": {"train": {"task": "addition", "digits": 1, "examples": 1000}}},
        "data.train.0.examples",
        "different items to train on, not `examples: 1000`",
    ),
    "a task beside files": (
        {"data": {"train": [TASK, ROWS]}},
        "data.train",
        "do not mix with files",
    ),
    "a task classified": (
        {"data": {"train": TASK}, "objective": {"name": "binary"}},
        "objective.name",
        "learnt with clm",
    ),
    "a task to evaluate that makes no data": (
        {"evaluation": {"tasks": ["copying"]}},
        "evaluation.tasks.0",
        "only a run that learns it can be asked",
    ),
    "a role": (
        {
            "data": {"train": {**ROWS, "columns": {"text_pear": "b"}}},
            "objective": {"name": "binary"},
        },
        "data.train.0.columns.text_pear",
        "did you mean `text_pair`?",
    ),
    "a role of held-out rows": (
        {"data": {"train": ROWS, "validation": {**ROWS, "columns": {"label": "y"}}}},
        "data.validation.0.columns.label",
        "`clm` reads `text`",
    ),
    "a template": (
        {"objective": {"name": "answer", "prompt": "{q", "answer": "{a}"}},
        "objective.prompt",
        "a stray {",
    ),
    "early stopping without held-out rows": (
        {"data": {"train": ROWS, "validation_fraction": 0}, "train": {"early_stopping": {}}},
        "train.early_stopping",
        "nothing is held out",
    ),
    "a vocabulary that the weights do not know": (
        {"model": {"from": "some-run"}, "tokenizer": {"kind": "bpe"}},
        "tokenizer.kind",
        "know another vocabulary",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_unknown_or_cannot_be_is_named_with_its_key(what: str) -> None:
    sections, key, message = WRONG[what]
    with pytest.raises(ExperimentError) as error:
        check_asked(experiment(**sections))
    assert error.value.key == key
    assert message in error.value.message


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"model": {"family": "bert"}},
        {"model": {"family": "attention_only"}, "data": {"train": TASK}},
        {"stage": "finetune", "model": {"from": "owner/name"}, "objective": {"name": "binary"}},
        {"objective": {"name": "answer", "prompt": "{q}", "answer": "{{{a}}}"}},
    ],
)
def test_what_can_be_passes(sections: dict[str, object]) -> None:
    check_asked(experiment(**sections))


def test_the_objective_follows_from_the_family_and_from_the_weights(tmp_path: Path) -> None:
    assert objective_of(experiment(), "llama").name == "clm"
    assert objective_of(experiment(), "modernbert").name == "mlm"
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    wrong = experiment(model={"from": str(tmp_path)}, objective={"name": "clm"})
    with pytest.raises(ExperimentError, match="`bert` is masked"):
        check_asked(wrong)


def test_nothing_heavy_is_imported_to_check(tmp_path: Path) -> None:
    file = tmp_path / "e.yaml"
    file.write_text("model: {family: bert, size: 1m}\ndata: {train: {task: copying}}\n")
    code = (
        "import sys; from emergectl.cli.main import main; code = main(['validate', sys.argv[1]]);"
        "print(code, [m for m in ('torch', 'transformers', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True)
    assert done.stdout.strip() == "2 []"
    assert "`copying` is learnt with clm" in done.stderr
