"""Few distinct answers are candidates: what their log-probabilities give, by plain transformers
and scikit-learn."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn import metrics as sk
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from emergectl.cli.main import main
from emergectl.store.measurements import Measurement, read_measurements

RUN = """\
name: answers
stage: finetune
seed: 1
model: {family: llama, size: 10k}
tokenizer: {kind: bpe, vocab_size: 300}
data: {train: {path: train.jsonl}, validation: {path: dev.jsonl}, test: {path: test.jsonl},
  seq_len: 64}
objective: {name: answer, prompt: "{q}", answer: "{a}"}
train: {epochs: 2, batch_size: 16, device: cpu, precision: fp32, compile: false}
optimizer: {lr: 0.01}
evaluation: {every: epoch, best: loss}
"""
ANSWERS = ("-1", "1", "10")
SEQ2SEQ = ("model.family=t5", "model.size=null", "model.config={d_model: 16, d_kv: 8, d_ff: 32, "
           "num_layers: 1, num_heads: 2}")  # fmt: skip


def rows(count: int, seed: int, answers: Sequence[str]) -> list[dict[str, str]]:
    """Sums of three digits and the answer that belongs to them, now and then another one."""
    draw, found = random.Random(seed), []
    for _ in range(count):
        digits = [draw.randint(0, 9) for _ in range(3)]
        right = answers[min(sum(digits) * len(answers) // 28, len(answers) - 1)]
        text = "+".join(map(str, digits))
        answer = draw.choice(answers) if draw.random() < 0.2 else right
        found.append({"q": f"say {text}=", "a": answer})
    return found


def trained(
    folder: Path, *overrides: str, answers: Sequence[str] = ANSWERS, code: int = 0, **sets: Any
) -> Path:
    """A run on rows with these answers; `sets` are rows in place of them."""
    for number, (name, count) in enumerate((("train", 120), ("dev", 50), ("test", 40))):
        some = sets.get(name) or rows(count, number, answers)
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    (folder / "run.yaml").write_text(RUN)
    run = folder / "run"
    assert (
        main(["train", str(folder / "run.yaml"), *overrides, "--json", "--run-dir", str(run)])
        == code
    )
    return run


def measured(run: Path, task: str, *, source: str = "loop") -> dict[str, Measurement]:
    """What was measured last of a set."""
    found = [one for one in read_measurements(run) if one.task == task and one.source == source]
    return {one.metric: one for one in found if one.step == max(each.step or 0 for each in found)}


def plain_logprobs(
    run: Path,
    step: int | None,
    rows: list[dict[str, str]],
    answers: Sequence[str],
    *,
    seq2seq: bool = False,
) -> np.ndarray:
    """log P(answer, end | prompt) by transformers alone: [rows, answers]."""
    path = run / "checkpoints" / f"step-{step:08d}"
    tokenizer = AutoTokenizer.from_pretrained(path)
    kind = AutoModelForSeq2SeqLM if seq2seq else AutoModelForCausalLM
    model = kind.from_pretrained(path).eval()
    end = tokenizer.eos_token_id

    def ids(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False).input_ids)

    scores = np.zeros((len(rows), len(answers)))
    for place, row in enumerate(rows):
        for number, answer in enumerate(answers):
            prompt, whole = ids(row["q"]), ids(row["q"] + answer)
            # A token that reaches over the border (`=-`) is none: then the answer stands apart.
            tail = whole[len(prompt) :] if whole[: len(prompt)] == prompt else ids(answer)
            tail = [*(ids(answer) if seq2seq else tail), end]
            with torch.no_grad():
                if seq2seq:
                    given = {"input_ids": torch.tensor([[*prompt, end]])}
                    logits = model(**given, labels=torch.tensor([tail])).logits[0]
                else:
                    logits = model(torch.tensor([[*prompt, *tail]])).logits[0, len(prompt) - 1 : -1]
            given_each = logits.double().log_softmax(-1)
            scores[place, number] = sum(
                float(given_each[at, token]) for at, token in enumerate(tail)
            )
    return scores


def calibration_error(given: np.ndarray, right: np.ndarray) -> float:
    """Guo et al. 2017, 15 bins, by hand."""
    confidence, hit = given.max(axis=1), given.argmax(axis=1) == right
    gap = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            gap += inside.mean() * abs(hit[inside].mean() - confidence[inside].mean())
    return gap


def expected(scores: np.ndarray, right: np.ndarray) -> dict[str, float]:
    given, classes = softmax(scores, axis=1), scores.shape[1]
    ranked = given[:, 1] if classes == 2 else given
    chosen = given.argmax(axis=1)
    return {
        "accuracy": sk.accuracy_score(right, chosen),
        "roc_auc": sk.roc_auc_score(right, ranked, multi_class="ovr"),
        "brier": float(((given - np.eye(classes)[right]) ** 2).sum(axis=1).mean()),
        "ece": calibration_error(given, right),
        "mcc": sk.matthews_corrcoef(right, chosen),
        "f1": sk.f1_score(right, chosen, average="binary" if classes == 2 else "macro"),
    }


@pytest.mark.parametrize(
    ("answers", "overrides"),
    [
        (("no", "yes"), ["tokenizer={kind: char}"]),
        (ANSWERS, []),
        (("否", "尧", "尧舜"), ['objective.answer="舜{a}"']),
        (("no", "yes"), [*SEQ2SEQ]),
    ],
    ids=["char", "bpe", "chinese", "seq2seq"],
)
def test_metrics_of_few_answers_are_those_of_their_plain_log_probabilities(
    answers: Sequence[str], overrides: list[str], tmp_path: Path
) -> None:
    run = trained(tmp_path, *overrides, answers=answers)
    before = "舜" if "舜" in str(overrides) else ""
    for name, count, seed in (("validation", 50, 1), ("test", 40, 2)):
        held = rows(count, seed, answers)
        found = measured(run, name)
        scores = plain_logprobs(
            run,
            found["loss"].step,
            held,
            [before + one for one in answers],
            seq2seq="t5" in str(overrides),
        )
        right = np.array([answers.index(row["a"]) for row in held])
        values = expected(scores, right)
        assert {metric: found[metric].value for metric in values} == pytest.approx(values, abs=2e-5)
        for metric in values:
            low, high = found[metric].low, found[metric].high
            assert low is not None
            assert high is not None
            assert low <= found[metric].value <= high
            assert found[metric].n == count


def test_a_finished_run_is_asked_alike_and_told_again_from_its_items(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(tmp_path, "evaluation.best=roc_auc")
    assert "the 3 answers ('-1', '1', '10') are candidates" in (run / "log.txt").read_text()
    loop = measured(run, "validation")
    capsys.readouterr()
    assert main(["eval", str(run), "--json"]) == 0
    told = capsys.readouterr()
    assert "validation: the candidates are '-1', '1', '10'" in told.err
    (result,) = json.loads(told.out)
    values = {one["metric"]: one["value"] for one in result["metrics"]}
    assert values == pytest.approx({name: one.value for name, one in loop.items()}, abs=1e-6)
    assert json.loads((Path(result["path"]) / "results.json").read_text())["candidates"] == [
        *ANSWERS
    ]
    assert main(["eval", str(run), "--rescore", "--metrics", "margin", "--json"]) == 0
    (again,) = json.loads(capsys.readouterr().out)
    anew = {one["metric"]: one["value"] for one in again["metrics"]}
    assert {name: anew[name] for name in values} == pytest.approx(values, abs=1e-9)
    assert -1 <= anew["margin"] <= 1


def test_a_held_out_answer_that_is_no_candidate_is_never_right(tmp_path: Path) -> None:
    dev = [*rows(30, 1, ("no", "yes")), *[{"q": "say 1+2+3=", "a": "maybe"}] * 10]
    run = trained(tmp_path, answers=("no", "yes"), dev=dev)
    assert "10 of 40 held-out answers are none of the candidates" in (run / "log.txt").read_text()
    found = measured(run, "validation")
    scores = plain_logprobs(run, found["loss"].step, dev, ("no", "yes"))
    right = np.array([{"no": 0, "yes": 1}.get(row["a"], -1) for row in dev])
    assert found["accuracy"].value == pytest.approx((scores.argmax(axis=1) == right).mean())
    assert (found["accuracy"].n, found["brier"].n) == (40, 30)


def test_candidates_are_asked_only_where_they_are_few_often_there_and_cheap(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = [{"q": f"{n}+0=", "a": str(n % 25)} for n in range(200)]
    run = trained(tmp_path, train=numbers, dev=numbers[:40])
    assert "accuracy" not in measured(run, "validation")
    assert "candidates" not in (run / "log.txt").read_text()

    words = [{"q": f"{n}=", "a": "abcdefghij"[n % 10] * 9} for n in range(200)]
    (long := tmp_path / "long").mkdir()
    run = trained(long, "tokenizer={kind: byte}", train=words, dev=words[:40])
    assert "accuracy" not in measured(run, "validation")
    # Prompts of 2.75 bytes in the mean: (2.75 + 10 · 9) / (2.75 + 9), ends are not run.
    assert (
        "no candidates for what is held out: that would take 7.9 times"
        in (run / "log.txt").read_text()
    )

    (best := tmp_path / "best").mkdir()
    capsys.readouterr()
    trained(best, "evaluation.best=roc_auc", train=numbers, dev=numbers[:40], code=2)
    assert "evaluation.best: `roc_auc` is of candidates" in capsys.readouterr().err
