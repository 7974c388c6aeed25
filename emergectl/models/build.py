"""Models out of experiments and directories, and back onto disk.

`new_model` makes one from scratch, `load_model` from weights somewhere, `save_model` writes a
directory that `from_pretrained` reads anywhere, `load_weights` puts saved weights back into a
model that stands. What is initialised at random is drawn from a seed given here, and the global
random state is left as it was found, so that the order of calls never changes a run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel

from emergectl.config.schema import ModelSpec
from emergectl.data.labels import HeadLabels
from emergectl.errors import ExperimentError, RequestError
from emergectl.models.attention import CAUSAL
from emergectl.models.families import import_family
from emergectl.models.family_config import family_config, set_dropout
from emergectl.models.forward import attends_plainly
from emergectl.models.model_types import family_kind
from emergectl.models.safety import check_model_directory, shapes_in_header, weight_files

Head = Literal["causal", "masked", "classify", "seq2seq"]
"""what a model answers with: the next token, the masked tokens, scores of classes, or the next
token of a decoder that sees an encoder's text"""

Problem = Literal["binary", "multiclass", "multilabel"]
"""kind of classification; binary has one logit"""

_AUTO = {
    "causal": transformers.AutoModelForCausalLM,
    "masked": transformers.AutoModelForMaskedLM,
    "classify": transformers.AutoModelForSequenceClassification,
    "seq2seq": transformers.AutoModelForSeq2SeqLM,
}

# As transformers names them, so that its pipelines apply the right activation: a sigmoid for one
# logit or independent ones, a softmax over classes.
_PROBLEM_TYPES: dict[Problem, str] = {
    "binary": "multi_label_classification",
    "multiclass": "single_label_classification",
    "multilabel": "multi_label_classification",
}


def _say_nothing(*_: object) -> None:
    pass


def new_model(
    spec: ModelSpec,
    *,
    head: Head,
    vocab_size: int,
    seq_len: int,
    seed: int,
    labels: Sequence[str | int] | None = None,
    problem: Problem | None = None,
    pad_token_id: int | None = None,
    bos_token_id: int | None = None,
    eos_token_id: int | None = None,
) -> PreTrainedModel:
    """A model from scratch on the CPU in fp32, its weights a function of the spec and the seed.

    A `classify` head needs `labels` in class order and the `problem`. Raises ExperimentError
    naming the key for what the family refuses or cannot do.
    """
    config = family_config(
        spec,
        vocab_size=vocab_size,
        seq_len=seq_len,
        pad_token_id=pad_token_id,
        bos_token_id=bos_token_id,
        eos_token_id=eos_token_id,
    )
    _check_head(config, head)
    _set_labels(config, head, labels, problem)
    with seeded(seed), quiet():
        try:
            model = _AUTO[head].from_config(config, dtype=torch.float32)
        except (ValueError, TypeError, RuntimeError, AssertionError, KeyError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ExperimentError("model.config", reason) from error
    return _finished(model)


def load_model(
    source: str | Path,
    *,
    head: Head,
    seed: int,
    vocab_size: int | None = None,
    seq_len: int | None = None,
    labels: Sequence[str | int] | None = None,
    problem: Problem | None = None,
    pad_token_id: int | None = None,
    dropout: float | None = None,
    say: Callable[[str], None] = _say_nothing,
) -> PreTrainedModel:
    """A model from the weights in a directory, or of a hub name, on the CPU in fp32.

    Only safetensors are read, and nothing that the source brings is ever run. A head that the
    source lacks is initialised from `seed`; embeddings grow to `vocab_size` where the tokenizer
    has more tokens than the model; both are told to `say`. `dropout` None keeps the source's own.

    Raises ExperimentError for `model.from` where the source cannot be had or used, and for
    `data.seq_len` where its learned positions end before `seq_len`.
    """
    directory = _directory(source)
    config = _source_config(directory)
    _check_head(config, head)
    _set_labels(config, head, labels, problem)
    if dropout is not None:
        set_dropout(config, dropout)
    if pad_token_id is not None:
        config.pad_token_id = pad_token_id
    with seeded(seed), quiet():
        model, report = _from_pretrained(directory, config, head)
        _check_loaded(source, model, report, say)
        _grow_vocabulary(model, vocab_size, say)
    if seq_len is not None:
        _check_reach(model, seq_len, say)
    return _finished(model)


def source_config(source: str | Path) -> PretrainedConfig:
    """The config of a directory or hub name, checked. ExperimentError for `model.from`."""
    return _source_config(_directory(source))


def source_model_type(source: str | Path) -> str:
    """The transformers model type of a directory or hub name. ExperimentError for `model.from`."""
    return str(source_config(source).model_type)


def head_labels(source: str | Path) -> HeadLabels | None:
    """The classes of a directory's or hub name's classifier; None where it is none."""
    config = source_config(source)
    kinds = config.architectures or ()
    if not any(kind.endswith("ForSequenceClassification") for kind in kinds):
        return None
    names = tuple(str(config.id2label[number]) for number in range(config.num_labels))
    unnamed = all(name == f"LABEL_{number}" for number, name in enumerate(names))
    return HeadLabels(config.num_labels, None if unnamed else names)


def save_model(model: PreTrainedModel, directory: Path) -> None:
    """Write config and weights (safetensors) so that `from_pretrained(directory)` reads them."""
    with quiet():
        model.save_pretrained(directory)


def load_weights(model: PreTrainedModel, directory: Path) -> None:
    """Put the weights of a directory that `save_model` wrote into `model`, in place.

    Quicker than `load_model` and keeps the optimizer's references. Raises RequestError where the
    weights are not this model's.
    """
    weights: dict[str, torch.Tensor] = {}
    try:
        for path in weight_files(directory):
            weights |= load_file(path)
    except (OSError, SafetensorError) as error:
        raise RequestError(f"{directory}: weights cannot be read: {error}") from error
    own = model.state_dict(keep_vars=True)
    tied = {id(own[name]) for name in weights if name in own}
    missing = [name for name, tensor in own.items() if id(tensor) not in tied]
    strange = [n for n, t in weights.items() if n not in own or own[n].shape != t.shape]
    if missing or strange:
        name = (missing + strange)[0]
        raise RequestError(f"{directory}: the weights are not this model's, see `{name}`")
    with torch.no_grad():
        for name, tensor in weights.items():
            own[name].copy_(tensor)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random numbers from `seed` inside, the global random state untouched outside."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        yield


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from logging and drawing progress bars: we say ourselves what matters."""
    logging = transformers.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _check_head(config: PretrainedConfig, head: Head) -> None:
    """Refuse an architecture that cannot carry the head."""
    family = config.model_type
    fits = type(config) in _AUTO[head]._model_mapping
    if head == "causal" and family_kind(family) == "masked":
        fits = fits and getattr(config, "is_decoder", False)
    if not fits:
        wanted = {
            "causal": "predict the next token",
            "masked": "predict masked tokens",
            "classify": "classify sequences",
            "seq2seq": "write one text from another",
        }[head]
        other = {"causal": "; use `objective.name: mlm`", "masked": "; use `objective.name: clm`"}
        hint = other.get(head, "") if family_kind(family) else ""
        raise ExperimentError("model.family", f"{family} cannot {wanted}{hint}")


def _set_labels(
    config: PretrainedConfig,
    head: Head,
    labels: Sequence[str | int] | None,
    problem: Problem | None,
) -> None:
    """Name the classes in the config; binary is one logit, for the second label."""
    if head != "classify":
        return
    if not labels or problem is None:
        raise ExperimentError("objective.labels", "a classifier needs its labels")
    names = [str(label) for label in labels]
    if problem == "binary":
        if len(names) != 2:
            raise ExperimentError("objective.labels", f"binary has 2 labels, got {len(names)}")
        names = names[1:]
    # The problem first: transformers refuses a single label unless it knows that it is a sigmoid.
    config.problem_type = _PROBLEM_TYPES[problem]
    config.id2label = dict(enumerate(names))
    config.label2id = {name: i for i, name in enumerate(names)}


def _directory(source: str | Path) -> Path:
    """The directory that a source names or that a hub name was fetched into, checked."""
    path = Path(source)
    if not path.exists():
        if isinstance(source, Path) or path.is_absolute() or source.startswith((".", "~")):
            raise ExperimentError("model.from", f"{source}: no such directory")
        path = _fetched(source)
    check_model_directory(path)
    return path


def _fetched(name: str) -> Path:
    """The files of a hub name that are settings or weights, in the hub's own cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = ["config.json", "generation_config.json", "model*.safetensors", "*.index.json"]
    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    except HFValidationError as error:
        raise ExperimentError("model.from", f"{name}: no run, directory or hub name") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ExperimentError(
            "model.from",
            f"{name}: no run or directory of that name, and the hub cannot be asked or has none; "
            "give a run or a model directory, or fetch it beforehand with `hf download`",
        ) from error


def _source_config(directory: Path) -> PretrainedConfig:
    try:
        with quiet():
            import_family(str(PretrainedConfig.get_config_dict(directory)[0].get("model_type")))
            return AutoConfig.from_pretrained(directory, trust_remote_code=False)
    except Exception as error:  # a config can be wrong in as many ways as there are families
        raise _unusable(directory, error) from error


def _unusable(source: str | Path, error: Exception) -> ExperimentError:
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return ExperimentError("model.from", f"{source}: cannot be loaded: {reason}")


def _from_pretrained(
    directory: Path, config: PretrainedConfig, head: Head
) -> tuple[PreTrainedModel, dict[str, Any]]:
    try:
        return _AUTO[head].from_pretrained(
            directory,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except Exception as error:
        raise _mismatch(directory, config, head) or _unusable(directory, error) from error


def _mismatch(directory: Path, config: PretrainedConfig, head: Head) -> ExperimentError | None:
    """The first tensor whose shape in the weights is not what the config makes it, if any."""
    with contextlib.suppress(Exception), torch.device("meta"), quiet():
        wanted = _AUTO[head].from_config(config).state_dict()
        for file in weight_files(directory):
            for name, shape in shapes_in_header(file).items():
                if name in wanted and list(wanted[name].shape) != shape:
                    found, made = (
                        " × ".join(f"{n:,}" for n in s) for s in (shape, wanted[name].shape)
                    )
                    return ExperimentError(
                        "model.from",
                        f"{directory}: `{name}` is {found} in {file.name}, and config.json makes "
                        f"it {made}",
                    )
    return None


def _check_loaded(
    source: str | Path, model: PreTrainedModel, report: dict[str, Any], say: Callable[[str], None]
) -> None:
    """Let only a head be missing from the weights (a pooler is part of one), and say so."""
    body = f"{model.base_model_prefix}."
    missing = sorted(report["missing_keys"])
    lost = [name for name in missing if name.startswith(body) and ".pooler." not in name]
    if lost:
        raise ExperimentError(
            "model.from", f"{source}: {len(lost)} weights are missing, the first is `{lost[0]}`"
        )
    if missing:
        names = ", ".join(missing)
        say(f"{source} has no weights for {names}: initialised from the seed")


def _grow_vocabulary(
    model: PreTrainedModel, vocab_size: int | None, say: Callable[[str], None]
) -> None:
    own = model.get_input_embeddings().weight.shape[0]
    if vocab_size is not None and vocab_size > own:
        model.resize_token_embeddings(vocab_size, mean_resizing=False)
        say(f"embeddings grown from {own} to the tokenizer's {vocab_size} tokens")


def _check_reach(model: PreTrainedModel, seq_len: int, say: Callable[[str], None]) -> None:
    """Refuse sequences longer than the learned positions of the weights.

    Rotary positions can be computed as far as one likes, but mean nothing where they were never
    trained: that is said.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and name.endswith(
            ("wpe", "position_embeddings", "embed_positions")
        ):
            reach = module.num_embeddings
            if module.padding_idx is not None:  # RoBERTa counts positions from behind it
                reach -= module.padding_idx + 1
            if seq_len > reach:
                raise ExperimentError(
                    "data.seq_len", f"the weights have {reach} positions, got {seq_len}"
                )
    known = getattr(model.config, "max_position_embeddings", None)
    if isinstance(known, int) and seq_len > known:
        say(
            f"data.seq_len {seq_len} reaches beyond the {known} positions that the weights know "
            "(max_position_embeddings): what stands further back is new to them"
        )


def _finished(model: PreTrainedModel) -> PreTrainedModel:
    """Last touches on every model: no cache in training, and every token's embedding learns."""
    embedding = model.get_input_embeddings()
    if embedding.padding_idx is not None and _is_a_real_token(model.config, embedding.padding_idx):
        # Where pad is also the end of text, PyTorch would keep its embedding from learning.
        embedding.padding_idx = None
    if attends_plainly(model.base_model.config):
        model.base_model.config._attn_implementation_internal = CAUSAL
    for module in model.modules():
        if isinstance(module, PreTrainedModel):
            # It would look at every batch, for which a GPU has to be waited for, and warn of
            # padding that carries no loss.
            module.warn_if_padding_and_no_attention_mask = _say_nothing
    return model.train()


def _is_a_real_token(config: PretrainedConfig, token: int) -> bool:
    eos = config.eos_token_id
    return token in (eos if isinstance(eos, list) else [eos, config.bos_token_id])
