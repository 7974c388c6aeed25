"""Tasks of lm-evaluation-harness, asked by our scorer and generator (extra `lm-eval`).

`AsLM` is a model to lm-eval: its requests become questions and writings, so a context is run once
for all of its choices. `run_task_file` has lm-eval run one task file, offline where its data are
local, without scanning the tasks that come with it; metrics are lm-eval's own, and what was asked
and answered becomes item records like any other. Items that do not fit into the model's context
are left out and counted: lm-eval itself would cut them.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager

from emergectl.errors import EmergectlError, RequestError
from emergectl.evaluation.lm_eval_files import read_task_file, sandboxed_templates
from emergectl.evaluation.metrics import metric_facts
from emergectl.evaluation.records import ItemRecord
from emergectl.inference.loading import LanguageModel
from emergectl.inference.requests import Cut, Question, Scored, TooLong, Writing
from emergectl.tasks.task import hash_of_prompt

_DEFAULT_MAX_TOKENS = 256
"""of free writing, as lm-eval has it"""


@dataclass(frozen=True)
class OwnMetric:
    """A metric as lm-eval took it."""

    metric: str
    filter: str
    """what made an answer of a text; `none` where nothing did"""
    value: float
    higher_is_better: bool | None
    """None where lm-eval does not say"""
    of_items: tuple[float, ...]
    """the number of each item, where the value is their mean"""

    @property
    def name(self) -> str:
        """What lm-eval calls it."""
        return f"{self.metric},{self.filter}"


@dataclass(frozen=True)
class HarnessResult:
    """What lm-eval found: its own metrics, and items."""

    task: str
    shots: int
    own: tuple[OwnMetric, ...]
    items: int
    """those that the metrics are of"""
    records: tuple[ItemRecord, ...]
    """one an item, in the order of the data, those that were too long among them"""

    @property
    def metrics(self) -> dict[str, float]:
        """Values as lm-eval names them: `acc`, `exact_match,strict`."""
        return {one.name.removesuffix(",none"): one.value for one in self.own}


class AsLM(LM):
    """A language model as lm-eval knows them.

    Raises RequestError for a request that does not fit into the model's context.
    """

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self._model = model
        self.scored: dict[Sequence[str], Scored] = {}
        """what was found of a request's arguments, tokens and bytes counted"""

    @property
    def tokenizer_name(self) -> str:
        """Tells lm-eval's caches of requests apart."""
        return self._model.name

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """(log-probability in nats, greedy) of each (context, continuation)."""
        asked = {request.args: _split(*request.args) for request in requests}
        continuations: dict[str, dict[str, None]] = {}
        for context, continuation in asked.values():
            continuations.setdefault(context, {})[continuation] = None
        questions = [Question(context, tuple(texts)) for context, texts in continuations.items()]
        found: dict[tuple[str, str], Scored] = {}
        for index, scores in self._model.score(questions):
            question = questions[index]
            for text, score in zip(question.continuations, _fitting(scores), strict=True):
                found[question.context, text] = score
        self.scored |= {arguments: found[pair] for arguments, pair in asked.items()}
        scored = [self.scored[request.args] for request in requests]
        return [(score.logprob, score.greedy) for score in scored]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Log-probability of each text in nats, however long."""
        texts = list({request.args[0]: None for request in requests})
        for text, score in zip(texts, self._model.score_texts(texts), strict=True):
            self.scored[(text,)] = score
        return [self.scored[request.args].logprob for request in requests]

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """What is written on from each context."""
        writings = [_writing(*request.args) for request in requests]
        found = dict(self._model.write(writings))
        return [_fitting(found[index])[0] for index in range(len(writings))]


def run_task_file(
    model: LanguageModel,
    path: Path,
    *,
    shots: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    allow_code: bool = False,
) -> HarnessResult:
    """Run the task of an lm-eval YAML file; `shots` None leaves their number to the file.

    `seed` draws the shots. Raises RequestError for a file that lm-eval cannot use, with its
    reason, and where no item fits into the model's context.
    """
    settings = read_task_file(path, allow_code=allow_code)
    name = settings["task"]
    with _quiet(), sandboxed_templates():
        with _blamed_on(path):
            loaded = TaskManager(include_defaults=False).load([settings])
            task = loaded["tasks"][name]
            if shots is not None or task.config.num_fewshot is None:
                task.set_config(key="num_fewshot", value=shots or 0)
            asked, skipped = _fitting_items(model, task, limit=limit, seed=seed)
        if not asked:
            reason = skipped[0].skipped if skipped else "the task has no items"
            raise RequestError(f"{path}: nothing can be asked: {reason}")
        adapter = AsLM(model)
        with _blamed_on(path):
            task.set_fewshot_seed(seed=seed)
            found = evaluate(
                lm=adapter,
                task_dict=loaded,
                samples={name: asked} if skipped else None,
                limit=None if skipped else limit,
                bootstrap_iters=0,
                confirm_run_unsafe_code=allow_code,
            )
    assert found is not None  # It is None on ranks other than lm-eval's 0, which all of ours are.
    carried = all(score.bytes is not None for score in adapter.scored.values())
    records = [
        *_records(task, found["samples"][name], adapter.scored),
        *skipped,
    ]
    return HarnessResult(
        task=name,
        shots=int(task.config.num_fewshot or 0),
        own=tuple(
            _own_metrics(task, found["results"][name], found["samples"][name], carried=carried)
        ),
        items=len(asked),
        records=tuple(sorted(records, key=lambda record: int(record.item))),
    )


def _split(context: str, continuation: str) -> tuple[str, str]:
    """White space at a context's end belongs to its continuation, as lm-eval has it."""
    bare = context.rstrip()
    return bare, context[len(bare) :] + continuation


def _writing(context: str, settings: Mapping[str, Any]) -> Writing:
    stops = settings.get("until") or ()
    samples = settings.get("do_sample", float(settings.get("temperature") or 0) > 0)
    return Writing(
        context,
        stop=(stops,) if isinstance(stops, str) else tuple(stops),
        max_tokens=int(settings.get("max_gen_toks") or _DEFAULT_MAX_TOKENS),
        temperature=float(settings.get("temperature") or 1.0) if samples else 0.0,
    )


_Answer = TypeVar("_Answer")


def _fitting(answer: _Answer | TooLong) -> _Answer:
    if isinstance(answer, TooLong):
        raise RequestError(f"a request of lm-eval does not fit: {answer}")
    return answer


def _fitting_items(
    model: LanguageModel, task: Any, *, limit: int | None, seed: int
) -> tuple[list[int], list[ItemRecord]]:
    """The numbers of the items that fit, and records of those that do not.

    Leaving items out moves the shots of those behind them, so that is done until all fit.
    """
    subset: list[int] | None = None
    skipped: list[ItemRecord] = []
    while True:
        task.set_fewshot_seed(seed=seed)
        task.build_all_requests(
            limit=limit if subset is None else None, samples=subset, rank=0, world_size=1
        )
        # lm-eval numbers the items of a subset anew.
        places = sorted({instance.doc_id for instance in task.instances})
        asked = places if subset is None else subset
        too_long = _too_long(model, task.instances)
        for place, (prompt, reason) in too_long.items():
            skipped.append(_record(task, asked[place], prompt=prompt, skipped=reason))
        subset = [number for place, number in enumerate(asked) if place not in too_long]
        if not too_long or not subset:
            return subset, skipped


def _too_long(model: LanguageModel, instances: Sequence[Instance]) -> dict[int, tuple[str, str]]:
    """Number of the item → its prompt and why it does not fit, of those that do not."""
    scored = [i for i in instances if i.request_type == "loglikelihood"]
    written = [i for i in instances if i.request_type == "generate_until"]
    questions = [
        Question(context, (continuation,))
        for context, continuation in (_split(*instance.args) for instance in scored)
    ]
    fits: list[object] = [*model.coder.pairs(questions)]
    fits += model.coder.contexts([instance.args[0] for instance in written])
    return {
        instance.doc_id: (instance.args[0], str(fit))
        for instance, fit in zip([*scored, *written], fits, strict=True)
        if isinstance(fit, TooLong)
    }


def _records(
    task: Any, samples: Sequence[Mapping[str, Any]], scored: Mapping[Sequence[str], Scored]
) -> Iterator[ItemRecord]:
    """A record an item; lm-eval gives one a filter of the answers, of which the first is taken."""
    seen: set[int] = set()
    for sample in samples:
        number = sample["doc_id"]
        if number in seen:
            continue
        seen.add(number)
        requests = [tuple(arguments) for arguments in sample["arguments"]]
        answers: dict[str, Any] = {"target": str(sample["target"])}
        if task.OUTPUT_TYPE == "multiple_choice":
            answers = _choices(task, sample["doc"], requests, scored)
        elif task.OUTPUT_TYPE == "generate_until":
            answers["written"] = tuple(str(text) for text in sample["resps"][0])
            cut = sum(isinstance(text, Cut) for text in sample["resps"][0])
            answers["extra"] = {"cut": cut} if cut else {}
            answers["prediction"] = sample["filtered_resps"][0]
            answers["correct"] = _judged(sample)
        else:
            answers["target_score"] = scored[requests[0]]
            answers["correct"] = answers["target_score"].greedy
        yield _record(task, number, prompt=requests[0][0], **answers)


def _choices(
    task: Any,
    document: Any,
    requests: Sequence[tuple[str, ...]],
    scored: Mapping[Sequence[str], Scored],
) -> dict[str, Any]:
    """What a record holds of a choice; further requests (the choices without their context, for
    mutual information) are not of the item."""
    choices = tuple(str(choice) for choice in task.doc_to_choice(document))
    scores = tuple(scored[request] for request in requests[: len(choices)])
    target = task.doc_to_target(document)
    targets = target if isinstance(target, list) else [target]
    right = tuple(t if isinstance(t, int) else choices.index(t) for t in targets)
    likeliest = max(range(len(scores)), key=lambda place: scores[place].logprob)
    return {
        "choices": choices,
        "right": right,
        "target": choices[right[0]],
        "target_score": scores[right[0]],
        "choice_scores": scores,
        "prediction": choices[likeliest],
        "correct": likeliest in right,
    }


def _judged(sample: Mapping[str, Any]) -> bool | None:
    """Whether lm-eval's own metric calls a written answer right; None where none of them does."""
    for name in ("exact_match", "acc"):
        if name in sample["metrics"]:
            return bool(sample[name])
    return None


def _record(task: Any, number: int, *, prompt: str, **answers: Any) -> ItemRecord:
    return ItemRecord(
        task=task.config.task,
        item=str(number),
        facts={},
        prompt_hash=hash_of_prompt(prompt),
        shots=int(task.config.num_fewshot or 0),
        **answers,
    )


def _own_metrics(
    task: Any, results: Mapping[str, Any], samples: Sequence[Mapping[str, Any]], *, carried: bool
) -> Iterator[OwnMetric]:
    """lm-eval's metrics, from its `metric,filter` names, and what it made them of; none per byte
    where tokens do not carry the texts."""
    directions = task.higher_is_better() or {}
    for name, value in results.items():
        metric, comma, kept = name.partition(",")
        if not isinstance(value, int | float) or not comma or metric.endswith("_stderr"):
            continue
        facts = metric_facts(metric)
        if not carried and facts is not None and facts.likelihood == "byte":
            continue
        numbers = [one.get(metric) for one in samples if one.get("filter", "none") == kept]
        found = tuple(float(one) for one in numbers if isinstance(one, int | float))
        is_mean = len(found) == len(numbers) > 0 and math.isclose(
            math.fsum(found) / len(found), value, rel_tol=1e-9, abs_tol=1e-12
        )
        yield OwnMetric(
            metric, kept, float(value), directions.get(metric), found if is_mean else ()
        )


@contextlib.contextmanager
def _blamed_on(path: Path) -> Iterator[None]:
    """Errors of lm-eval become one sentence: it raises whatever comes of a wrong task file."""
    try:
        yield
    except EmergectlError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RequestError(f"{path}: lm-eval cannot run it: {reason}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """lm-eval logs and draws bars of its own."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
