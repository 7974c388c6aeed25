"""lm-evaluation-harness's tasks and its own model class, against ours, on the same model."""

import json
import random
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install emergectl[lm-eval]")

from asked_models import spread_out
from lm_eval.api.instance import Instance
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from emergectl.cli.main import main
from emergectl.config.schema import TokenizerSpec
from emergectl.data.tokenizers import build_tokenizer
from emergectl.errors import RequestError
from emergectl.evaluation.harness import evaluate_file, prepare_file
from emergectl.evaluation.intervals import wilson
from emergectl.evaluation.item_files import read_items
from emergectl.evaluation.lm_eval import AsLM, run_task_file
from emergectl.evaluation.lm_eval_files import read_task_file
from emergectl.evaluation.results import shown_metric
from emergectl.evaluation.task_items import Asking
from emergectl.inference.loading import LanguageModel, Weights
from emergectl.store.measurements import read_measurements

TEXT_OF_WORDS = "the cat dog sat on a red mat and saw how far home is in rain or sun one two three"
WORDS = TEXT_OF_WORDS.split()


@pytest.fixture(scope="module")
def asked() -> LanguageModel:
    """A small GPT-2 with a byte-level BPE tokenizer, whose tokens swallow the space before."""
    source = random.Random(0)
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    text = (" ".join(source.choice(WORDS) for _ in range(20)) for _ in range(200))
    backend.train_from_iterator(text, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>")
    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=2, n_embd=32, n_head=2, n_positions=96, vocab_size=len(tokenizer),
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return LanguageModel(spread_out(GPT2LMHeadModel(config)), tokenizer, Weights("small"))


@pytest.fixture(scope="module")
def peer(asked: LanguageModel) -> HFLM:
    return HFLM(pretrained=asked.model, tokenizer=asked.coder.tokenizer, batch_size=4)


def requests(kind: str, arguments: list[tuple[object, ...]]) -> list[Instance]:
    return [Instance(kind, {}, each, index) for index, each in enumerate(arguments)]


def made_rows(count: int) -> list[dict[str, object]]:
    source = random.Random(3)
    return [
        {
            "question": " ".join(source.choice(WORDS) for _ in range(source.randint(2, 12))),
            "options": source.sample(WORDS, 4),
            "answer": source.randrange(4),
        }
        for _ in range(count)
    ]


CHOICE = """\
task: rows
dataset_path: json
dataset_kwargs: {data_files: {test: rows.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "Q: {{question}}\\nA:"
doc_to_choice: "{{options}}"
doc_to_target: answer
metric_list: [{metric: acc}, {metric: acc_norm}]
"""
WRITE = """\
include: choice.yaml
task: written
output_type: generate_until
doc_to_choice: null
doc_to_target: "{{options[answer]}}"
generation_kwargs: {until: ["e", "\\n"], max_gen_toks: 8}
metric_list: [{metric: exact_match}]
"""
TEXT = """\
include: choice.yaml
task: texts
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_choice: null
doc_to_target: "{{question}}"
metric_list: [{metric: bits_per_byte}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {"choice": CHOICE, "write": WRITE, "text": TEXT}.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in made_rows(60)))
    return tmp_path


def test_log_likelihoods_are_those_of_hflm(asked: LanguageModel, peer: HFLM) -> None:
    contexts = ["the cat sat", "the cat sat ", "one two three\n", "", "A: ", "naïve 猫", "x" * 30]
    continuations = [" on the mat", "on", " 猫", "three", "  two spaces", "\n"]
    asking = requests("loglikelihood", [(a, b) for a in contexts for b in continuations])
    expected = peer.loglikelihood(asking, disable_tqdm=True)
    found = AsLM(asked).loglikelihood(asking)
    assert [value for value, _ in found] == pytest.approx([v for v, _ in expected], abs=1e-4)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]


def test_log_likelihoods_of_texts_longer_than_the_reach_are_those_of_hflm(
    asked: LanguageModel, peer: HFLM
) -> None:
    texts = [" ".join(WORDS * times) for times in (1, 4, 9, 13)]
    asking = requests("loglikelihood_rolling", [(text,) for text in texts])
    assert AsLM(asked).loglikelihood_rolling(asking) == pytest.approx(
        peer.loglikelihood_rolling(asking, disable_tqdm=True), abs=1e-3
    )


def test_what_is_written_is_what_hflm_writes(asked: LanguageModel, peer: HFLM) -> None:
    settings = {"until": ["e", "at"], "max_gen_toks": 10, "do_sample": False}
    asking = requests("generate_until", [(c, settings) for c in ("the cat", "one", "far home is")])
    assert AsLM(asked).generate_until(asking) == peer.generate_until(asking, disable_tqdm=True)


@pytest.mark.parametrize(
    ("name", "shots"), [("choice", 0), ("choice", 2), ("write", 0), ("text", 0)]
)
def test_a_task_file_gives_the_metrics_that_lm_eval_finds_with_hflm(
    asked: LanguageModel, peer: HFLM, folder: Path, name: str, shots: int
) -> None:
    path = folder / f"{name}.yaml"
    path.write_text(path.read_text() + f"num_fewshot: {shots}\nfewshot_split: test\n")
    found = run_task_file(asked, path)
    loaded = TaskManager(include_defaults=False).load([read_task_file(path)])
    loaded["tasks"][found.task].set_fewshot_seed(seed=0)
    expected = evaluate(lm=peer, task_dict=loaded, bootstrap_iters=0)["results"][found.task]
    assert (found.items, len(found.records), found.shots) == (60, 60, shots)
    assert found.metrics
    for metric, value in found.metrics.items():
        assert value == pytest.approx(expected[f"{metric},none"], abs=1e-6)


def test_records_hold_what_the_metrics_are_made_of(asked: LanguageModel, folder: Path) -> None:
    found = run_task_file(asked, folder / "choice.yaml", limit=20)
    rows = made_rows(20)
    assert [record.item for record in found.records] == [str(number) for number in range(20)]
    for record, row in zip(found.records, rows, strict=True):
        assert list(record.choices) == row["options"]
        assert record.right == (row["answer"],)
        likeliest = max(range(4), key=lambda place: record.choice_scores[place].logprob)
        assert record.prediction == record.choices[likeliest]
        assert record.target_score == record.choice_scores[row["answer"]]  # type: ignore[index]
    assert found.metrics["acc"] == sum(bool(record.correct) for record in found.records) / 20
    written = run_task_file(asked, folder / "write.yaml", limit=5).records[0]
    assert len(written.written) == 1
    assert written.correct == (written.written[0] == written.target)


def test_items_that_do_not_fit_are_left_out_and_counted(asked: LanguageModel, folder: Path) -> None:
    rows = made_rows(6)
    rows[2]["question"] = "far home " * 60
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = run_task_file(asked, folder / "choice.yaml")
    assert (found.items, len(found.records)) == (5, 6)
    assert "the model reaches 96" in str(found.records[2].skipped)
    assert found.records[2].choice_scores == ()


def test_shots_that_make_an_item_too_long_leave_it_out(asked: LanguageModel, folder: Path) -> None:
    path = folder / "choice.yaml"
    path.write_text(path.read_text() + "num_fewshot: 5\nfewshot_split: test\n")
    found = run_task_file(asked, path)
    assert 0 < found.items < len(found.records) == 60
    assert sum(record.skipped is None for record in found.records) == found.items


def test_code_that_comes_with_a_task_is_run_only_if_allowed(
    asked: LanguageModel, folder: Path
) -> None:
    (folder / "helper.py").write_text(
        "from pathlib import Path\nPath(__file__).with_name('canary').touch()\n"
        "def shout(doc):\n    return doc['question'].upper()\n"
    )
    path = folder / "code.yaml"
    path.write_text("include: choice.yaml\ntask: code\ndoc_to_text: !function helper.shout\n")
    with pytest.raises(RequestError, match=r"code.yaml:3: `!function helper.shout` would run"):
        run_task_file(asked, path)
    assert not (folder / "canary").exists()
    assert run_task_file(asked, path, limit=3, allow_code=True).items == 3
    assert (folder / "canary").exists()


def test_eval_refuses_code_before_any_model_is_loaded_and_names_the_option(
    asked: LanguageModel, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked.model.config.save_pretrained(tmp_path / "model")  # without weights
    (folder / "own.py").write_text(
        "from pathlib import Path\nPath(__file__).with_name('canary').touch()\n"
        "def right(doc, results):\n    return {'acc': float(doc['answer'] == 0)}\n"
    )
    path = folder / "code.yaml"
    path.write_text(
        "include: choice.yaml\ntask: code\nprocess_results: !function own.right\n"
        "metric_list: [{metric: acc, higher_is_better: false}]\n"
    )
    command = ["eval", str(tmp_path / "model"), "--tasks", str(path)]
    assert main([*command, "--runs-dir", str(tmp_path / "runs")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "code.yaml:3: `!function own.right` would run Python code" in line
    assert line.endswith("then allow it with --allow-code (evaluation.allow_code=true)")
    assert not (folder / "canary").exists()


def test_allowed_code_is_run_and_its_direction_is_what_the_file_says(
    asked: LanguageModel, folder: Path, tmp_path: Path
) -> None:
    (folder / "own.py").write_text(
        "def right(doc, results):\n    return {'acc': float(doc['answer'] == 0), 'bypass': 1.0}\n"
    )
    path = folder / "code.yaml"
    path.write_text(
        "include: choice.yaml\ntask: code\nprocess_results: !function own.right\n"
        "metric_list:\n- {metric: acc, aggregation: mean, higher_is_better: false}\n"
        "- {metric: bypass, aggregation: mean, higher_is_better: true}\n"
    )
    result = evaluate_file(
        prepare_file(path, Asking(limit=20, allow_code=True)),
        asked.weights,
        lambda: asked,
        tmp_path / "out",
        run=tmp_path,
        place=asked.place,
        resume=False,
        bf16=False,
    )
    theirs = {one.metric: one for one in result.values if one.source == "harness"}
    right = sum(row["answer"] == 0 for row in made_rows(60)[:20])
    assert theirs["acc"].value == right / 20
    assert theirs["acc"].what.direction == "down"
    assert theirs.keys() == {"acc"}  # of a metric that nobody knows, results.json has the value
    told = json.loads((tmp_path / "out" / "results.json").read_text())
    assert told["lm_eval"] == {"acc": right / 20, "bypass": 1.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("output_type: : x", r"bad.yaml:\d+: not YAML"),
        ("- a list", "expected a mapping, got list"),
        ("group: several", "no single task of lm-eval"),
        ("include: bad.yaml\ntask: x", "includes itself"),
        ("include: none.yaml\ntask: x", "none.yaml: cannot be read"),
        ("include: choice.yaml\nmetric_list: [{metric: nobody/knows}]", "has no metric 'nobody"),
        ("include: choice.yaml\nunsafe_code: true", "runs what the model writes as code"),
        ("include: choice.yaml\ndataset_kwargs: {data_files: {test: no.jsonl}}", "cannot run it"),
        ("include: choice.yaml\ndoc_to_text: '{{nothing_of_the_sort}}'", "nothing_of_the_sort"),
        (
            "include: choice.yaml\ndoc_to_text: '{{ question.__class__.__mro__ }}'",
            "access to attribute '__class__'",
        ),
        ("task: !!python/object/apply:os.getcwd []", "not YAML: could not determine"),
    ],
)
def test_a_wrong_or_hostile_task_file_is_refused_in_a_sentence(
    asked: LanguageModel, folder: Path, change: str, message: str
) -> None:
    path = folder / "bad.yaml"
    path.write_text(change)
    with pytest.raises(RequestError, match=message):
        run_task_file(asked, path)


def test_a_task_without_items_and_one_of_which_none_fits_are_refused(
    asked: LanguageModel, folder: Path
) -> None:
    rows = [{**row, "question": "far home " * 60} for row in made_rows(2)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(RequestError, match=r"nothing can be asked: .* the model reaches 96"):
        run_task_file(asked, folder / "choice.yaml")


def test_eval_runs_a_task_file_and_keeps_records_and_both_sides_metrics(
    asked: LanguageModel, folder: Path, tmp_path: Path
) -> None:
    path = folder / "choice.yaml"
    task = prepare_file(path, Asking(limit=20))
    result = evaluate_file(
        task,
        asked.weights,
        lambda: asked,
        tmp_path / "out",
        run=tmp_path,
        place=asked.place,
        resume=False,
        bf16=False,
    )
    values = {shown_metric(value): value.value for value in result.values}
    assert (
        values["lm_eval/acc"]
        == values["accuracy"]
        == run_task_file(asked, path, limit=20).metrics["acc"]
    )
    assert len(list(read_items(tmp_path / "out" / "items.jsonl"))) == 20

    def no_model() -> LanguageModel:
        raise AssertionError("what is complete is not asked again")

    again = evaluate_file(
        task,
        asked.weights,
        no_model,
        tmp_path / "out",
        run=tmp_path,
        place=asked.place,
        resume=True,
        bf16=False,
    )
    assert again.values == result.values
    assert again.was_there
    left = read_measurements(tmp_path)
    assert [(one.source, one.metric) for one in left] == [
        (one.source, one.metric) for one in result.values
    ]
    (theirs,) = [one for one in left if (one.source, one.metric) == ("harness", "acc")]
    (ours,) = [one for one in left if (one.source, one.metric) == ("eval", "accuracy")]
    assert theirs.asked == {"filter": "none"}
    assert (theirs.low, theirs.high) == wilson(theirs.value * 20, 20)
    assert (theirs.n, theirs.items) == (20, ours.items)


def test_texts_that_did_not_end_are_counted(asked: LanguageModel, folder: Path) -> None:
    found = run_task_file(asked, folder / "write.yaml", limit=20)
    for record in found.records:
        prompt = f"Q: {made_rows(20)[int(record.item)]['question']}\nA:"
        ids = asked.coder.tokenizer(prompt, return_tensors="pt").input_ids
        more = asked.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=9,
            do_sample=False,
            pad_token_id=0,
        )[0, ids.shape[1] :]
        text = asked.coder.tokenizer.decode(more)  # the ninth token may end it
        ended = any(stop in text for stop in ("e", "\n", "<eos>"))
        assert record.extra.get("cut", 0) == (not ended)
    assert {record.extra.get("cut", 0) for record in found.records} == {0, 1}


def test_nothing_is_said_per_byte_of_texts_that_tokens_do_not_carry(folder: Path) -> None:
    tokenizer = build_tokenizer(TokenizerSpec(kind="char"), [TEXT_OF_WORDS], for_mlm=False)
    config = GPT2Config(
        n_layer=1, n_embd=16, n_head=2, n_positions=96, vocab_size=len(tokenizer),
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = LanguageModel(GPT2LMHeadModel(config), tokenizer, Weights("small"))
    assert "bits_per_byte" in run_task_file(model, folder / "text.yaml", limit=5).metrics
    rows = made_rows(5)
    rows[3]["question"] = "the 猫 sat"
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = run_task_file(model, folder / "text.yaml")
    assert found.metrics == {}
    assert [one.target_score and one.target_score.bytes is None for one in found.records] == [
        False, False, False, True, False,
    ]  # fmt: skip
