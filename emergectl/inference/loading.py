"""MODEL as a person names it (a run, one of its steps, a directory, a hub name), made askable.

`find_weights` settles what is meant without loading anything; `load_language_model` builds the
model and its tokenizer once; `swap` puts the next snapshot's weights into it. What cannot be asked
for continuations, because it fills gaps or scores classes, is refused before weights are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from emergectl.data.tokenizers import load_tokenizer
from emergectl.errors import ExperimentError, RequestError
from emergectl.inference.capabilities import Ways, find_ways
from emergectl.inference.encoding import Coder, reach_of
from emergectl.inference.generator import write_texts
from emergectl.inference.hub import fetch_revision, find_revisions, is_hub_revision
from emergectl.inference.requests import Question, Scored, TooLong, Writing
from emergectl.inference.scorer import score_questions, score_texts
from emergectl.models.build import Head, load_model, load_weights, source_config
from emergectl.models.model_types import family_kind
from emergectl.runtime.place import Place
from emergectl.store import checkpoints
from emergectl.store.locate import find_run
from emergectl.store.model_names import HUB, split_revision
from emergectl.store.origins import find_origin, pick_checkpoints

_DOES_NOT_GO_ON = {
    "ForMaskedLM": "fills gaps",
    "ForPreTraining": "fills gaps",
    "ForSequenceClassification": "scores classes",
    "ForTokenClassification": "scores classes",
    "ForMultipleChoice": "scores classes",
    "ForQuestionAnswering": "marks places in a text",
}


@dataclass(frozen=True)
class Weights:
    """Where a model's weights are.

    `source` is a directory or a hub name; `run` and `step` are those of a run's checkpoint or
    snapshot, None elsewhere. Of a `revision` on the hub, `hub:NAME@REVISION` is the source and
    `step` what its name tells.
    """

    source: str
    run: Path | None = None
    step: int | None = None
    revision: str | None = None

    @property
    def name(self) -> str:
        """What results call it: `RUN@STEP`, or the source."""
        if self.run is None:
            return self.source.removeprefix(HUB)
        return f"{self.run.name}@{self.step}"


def find_weights(ref: str, *, which: str = "last", root: Path) -> list[Weights]:
    """What `ref` names, verified where it is a run's: one, or with `which` "all" every step kept.

    `which` (last, best, all, or a step) is for a run; `RUN@best` and `RUN@STEP` name one too.
    Raises RequestError where there is nothing of the sort, or where a checkpoint does not verify.
    """
    if is_hub_revision(ref):
        if which != "last":
            raise RequestError(f"{ref} names revisions already, so there is no `{which}` of it")
        name, _ = split_revision(ref)
        return [
            Weights(f"{HUB}{name}@{revision}", step=step, revision=revision)
            for revision, step in find_revisions(ref)
        ]
    name, at, asked = ref.rpartition("@")
    run = _run_named(ref, root) or (_run_named(name, root) if at else None)
    if run is not None:
        if at and _run_named(ref, root) is None:
            if which not in ("last", asked):
                raise RequestError(f"{ref} names a step already, so it cannot be `{which}` too")
            which = asked
        return [_of_run(run, path) for path in pick_checkpoints(run, which)]
    if which != "last":
        raise RequestError(f"{ref} is no run of {root}: it has no checkpoint `{which}`")
    directory = Path(ref).expanduser()
    try:
        source = find_origin(ref, root, key="").source
    except ExperimentError as error:
        raise RequestError(error.message) from None
    if checkpoints.is_committed(directory):
        return [_of_run(Path(source).parent.parent, Path(source))]
    return [Weights(source)]


def _run_named(ref: str, root: Path) -> Path | None:
    try:
        return find_run(ref, root)
    except RequestError:
        return None  # then it is a directory or a hub name, or the search for these will say


def _of_run(run: Path, checkpoint: Path) -> Weights:
    return Weights(str(checkpoint), run, checkpoints.read_manifest(checkpoint).step)


class LanguageModel:
    """A model that can be asked (`emergectl.inference.requests.Model`).

    `weights` says which it holds now; `swap` puts others of the same model in. `place` says where
    and with which ranks; `bf16` computes in bfloat16, up to three times as fast, with
    log-probabilities that move by up to 0.1.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerFast,
        weights: Weights,
        *,
        place: Place | None = None,
        bf16: bool = False,
    ) -> None:
        self.place = place or Place(device=model.device, autocast=nullcontext)
        self.weights = weights
        self.model = model.to(self.place.device).eval()
        self.seq2seq = bool(model.config.is_encoder_decoder)
        self.coder = Coder(tokenizer, reach=reach_of(model.config), seq2seq=self.seq2seq)
        self._bf16 = bf16
        self._settle()

    @property
    def name(self) -> str:
        """What it is called in results."""
        return self.weights.name

    def swap(self, weights: Weights) -> None:
        """Put the weights of another step of the same model in. RequestError where they differ."""
        self.model.float()
        load_weights(self.model, Path(weights.source))
        self.weights = weights
        self._settle()

    def score(
        self, questions: Sequence[Question]
    ) -> Iterator[tuple[int, tuple[Scored, ...] | TooLong]]:
        """(index of the question, what its continuations score), each once, in any order."""
        return score_questions(self.model, self.coder, self.ways, questions, place=self.place)

    def score_texts(self, texts: Sequence[str]) -> list[Scored]:
        """Each text as a whole, however long. RequestError for an encoder–decoder."""
        if self.ways is None:
            raise RequestError(f"{self.name}: a text without a question is for causal models")
        return score_texts(self.model, self.coder, self.ways, texts, place=self.place)

    def write(self, writings: Sequence[Writing]) -> Iterator[tuple[int, tuple[str, ...] | TooLong]]:
        """(index of the writing, its samples), each once, in any order."""
        return write_texts(self.model, self.coder, self.ways, writings, place=self.place)

    def _settle(self) -> None:
        """What the weights can do is tried in fp32, where rounding does not blur it."""
        ways = None if self.seq2seq else find_ways(self.model)
        # Ranks share batches that are made for one way: all of them go rank 0's.
        self.ways: Ways | None = self.place.gather(ways)[0]
        if self._bf16:
            self.model.bfloat16()


def load_language_model(
    weights: Weights, *, place: Place | None = None, bf16: bool = False
) -> LanguageModel:
    """The model and tokenizer of some weights, on the CPU unless `place` says otherwise.

    Raises RequestError for what cannot be had, cannot be trusted (`emergectl.models.safety`), has
    no output head, or goes by another vocabulary than its tokenizer.
    """
    source = weights.source if weights.revision is None else str(fetch_revision(weights.source))
    try:
        config = source_config(source)
        _check_goes_on(weights.name, config)
        head: Head = "seq2seq" if config.is_encoder_decoder else "causal"
        model = load_model(source, head=head, seed=0, say=_refuse)
        tokenizer = load_tokenizer(source, key="")
    except ExperimentError as error:
        raise RequestError(error.message) from error
    known = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > known:
        raise RequestError(
            f"{weights.source}: its tokenizer has {len(tokenizer):,} tokens and its model knows "
            f"{known:,}: they do not belong together"
        )
    return LanguageModel(model, tokenizer, weights, place=place, bf16=bf16)


def _check_goes_on(source: str, config: PretrainedConfig) -> None:
    """Refuse what was trained to do something else than to continue a text."""
    for architecture in config.architectures or ():
        for ending, does in _DOES_NOT_GO_ON.items():
            if architecture.endswith(ending):
                raise RequestError(
                    f"{source}: {architecture} {does}, it does not continue texts; ask a causal "
                    "or an encoder–decoder model, or see `emergectl eval RUN` without tasks"
                )
    kind = family_kind(config.model_type)
    if kind is None or (kind == "masked" and not getattr(config, "is_decoder", False)):
        raise RequestError(f"{source}: {config.model_type} does not continue texts")


def _refuse(what: str) -> None:
    """Weights that are missing would be drawn at random: such a model has nothing to say."""
    raise RequestError(f"{what}: a model that never learnt them cannot be asked")
