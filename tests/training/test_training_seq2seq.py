"""An encoder–decoder learns answers through the same loop, and is asked like any other model."""

import json
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from emergectl.cli.main import main
from emergectl.inference.loading import LanguageModel, find_weights, load_language_model
from emergectl.inference.requests import Question, TooLong, Writing
from emergectl.store.metrics_log import read_metrics

EXPERIMENT = """\
name: backwards
stage: finetune
model: {family: t5, size: 30k}
tokenizer: {kind: byte}
data: {train: {path: rows.jsonl}, seq_len: 32}
objective: {name: answer, prompt: "{word} backwards: ", answer: "{turned}"}
train: {steps: 200, batch_size: 32, device: cpu, threads: 1, precision: fp32, compile: false}
optimizer: {lr: 0.01}
evaluation: {every: 100}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Words of one and two letters out of four, turned around."""
    folder = tmp_path_factory.mktemp("backwards")
    source = random.Random(0)
    words = ["".join(source.choices("abcd", k=source.choice([1, 2]))) for _ in range(300)]
    rows = [json.dumps({"word": word, "turned": word[::-1]}) for word in words]
    (folder / "rows.jsonl").write_text("\n".join(rows))
    (folder / "backwards.yaml").write_text(EXPERIMENT)
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    runs = folder / "runs"
    assert main(["train", str(folder / "backwards.yaml"), "--json", "--runs-dir", str(runs)]) == 0
    yield next(runs.iterdir())
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.fixture(scope="module")
def asked(run: Path) -> LanguageModel:
    return load_language_model(find_weights("backwards", root=run.parent)[0])


WORDS = ["ab", "da", "c", "dd"]


def test_it_learns_to_answer(run: Path) -> None:
    last = [
        line for line in read_metrics(run / "metrics.jsonl") if "validation/exact_match" in line
    ][-1]
    assert last["validation/exact_match"] > 0.9
    assert last["validation/loss"] < 0.1


def test_it_writes_what_it_has_learnt(asked: LanguageModel) -> None:
    found = dict(asked.write([Writing(f"{word} backwards: ", (), 8) for word in WORDS]))
    assert [found[i] for i in range(4)] == [(word[::-1],) for word in WORDS]


def test_its_scores_are_those_that_transformers_gives_from_labels(asked: LanguageModel) -> None:
    peer = AutoModelForSeq2SeqLM.from_pretrained(asked.weights.source).eval()
    tokenizer = AutoTokenizer.from_pretrained(asked.weights.source)
    questions = [
        Question(f"{word} backwards: ", (word[::-1], word, "aa"), ends=True) for word in WORDS
    ]
    found = dict(asked.score(questions))
    for number, question in enumerate(questions):
        context = torch.tensor([[*tokenizer(question.context)["input_ids"], asked.coder.end]])
        for continuation, score in zip(question.continuations, found[number], strict=True):  # type: ignore[arg-type]
            ids = [*tokenizer(continuation)["input_ids"], asked.coder.end]
            with torch.no_grad():
                loss = peer(input_ids=context, labels=torch.tensor([ids])).loss
            assert score.tokens == len(ids)
            assert score.logprob == pytest.approx(-float(loss) * len(ids), abs=1e-4)
        assert found[number][0].greedy  # type: ignore[index]
        assert not found[number][2].greedy  # type: ignore[index]


def test_greedy_and_sampled_texts_do_not_depend_on_the_batch(asked: LanguageModel) -> None:
    writings = [
        Writing(f"{word} backwards: ", ("d",), 6, samples=4, temperature=2.0) for word in WORDS
    ]
    together = dict(asked.write(writings))
    alone = [dict(asked.write([writing]))[0] for writing in writings]
    assert [together[number] for number in range(4)] == alone
    assert len(set(alone[0])) > 1  # type: ignore[arg-type]


def test_a_context_is_encoded_once_for_all_of_its_continuations(asked: LanguageModel) -> None:
    seen: list[int] = []
    hook = asked.model.get_encoder().register_forward_pre_hook(
        lambda _, __, inputs: seen.append(inputs["input_ids"].numel()), with_kwargs=True
    )
    list(asked.score([Question("ab backwards: ", ("ba", "abc", "b", "dd"))]))
    hook.remove()
    assert seen == [len("ab backwards: ") + 1]


def test_it_has_no_last_position(asked: LanguageModel) -> None:
    found = dict(asked.score([Question("ab " * 200, ("ba",))]))
    assert not isinstance(found[0], TooLong)


def test_other_objectives_are_refused_with_the_one_that_fits(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run.parent.parent / "backwards.yaml"
    wrong = path.with_name("wrong.yaml")
    learns = 'objective: {name: answer, prompt: "{word} backwards: ", answer: "{turned}"}'
    wrong.write_text(path.read_text().replace(learns, "objective: {name: clm}"))
    assert main(["validate", str(wrong)]) == 2
    assert "`t5` is seq2seq: it learns by `answer`" in capsys.readouterr().err
