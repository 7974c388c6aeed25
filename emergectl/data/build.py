"""From an experiment's data section to feeds: the one call that training makes.

Language modelling packs running text, classification and answers pack rows; both need a tokenizer
first, loaded or learnt from the training sources.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from emergectl.config.schema import Experiment
from emergectl.data.cache import cached, entry_key
from emergectl.data.files import cache_root
from emergectl.data.job import DataJob, ExperimentData
from emergectl.data.labels import HeadLabels
from emergectl.data.packing import FORMAT_VERSION, ReadProgress, source_content
from emergectl.data.readers import Tally
from emergectl.data.row_data import row_data
from emergectl.data.rows import row_texts
from emergectl.data.sources import iter_pieces
from emergectl.data.text_data import text_data
from emergectl.data.tokenizers import build_tokenizer, load_tokenizer


def build_data(
    experiment: Experiment,
    *,
    objective: str | None = None,
    apart: bool = False,
    head: HeadLabels | None = None,
    tokenizer: PreTrainedTokenizerFast | None = None,
    cache: Path | None = None,
    progress: ReadProgress | None = None,
) -> ExperimentData:
    """Read, tokenise and pack an experiment's data.

    `objective` says what the data is shaped for, by the name of the objective that first had data
    of that shape (default: the experiment's own, else clm). `apart`:
    answers are for an encoder–decoder, and begin a text of their own. `head`: the classes of the
    classifier that is trained on.
    `tokenizer` is one that stands already, such as a run's or that of the model to start from;
    without it the experiment's is built or loaded. Classification without [CLS] needs a pad token
    of its own, which is added where it is missing, so take the vocabulary's size from the result.
    `cache` is `cache_root()` where not given. Raises DataError, ExperimentError and RequestError
    for what cannot be read, EmergectlError for a cache that cannot be written.
    """
    job = DataJob(
        experiment=experiment,
        objective=objective or experiment.objective.name or "clm",
        cache=cache or cache_root(),
        progress=progress,
        apart=apart,
        head=head,
    )
    tokenizer = tokenizer or _tokenizer(job)
    if job.objective in ("clm", "mlm"):
        return text_data(job, tokenizer)
    return row_data(job, tokenizer)


def _tokenizer(job: DataJob) -> PreTrainedTokenizerFast:
    """The tokenizer an experiment asks for: loaded, or built on the text of its training sources.

    What has to be learnt from the text is kept in the cache.
    """
    spec = job.experiment.tokenizer
    for_mlm = job.objective == "mlm"
    if spec.from_ is not None:
        return load_tokenizer(spec.from_)
    if spec.kind in (None, "byte"):
        return build_tokenizer(spec, (), for_mlm=for_mlm)
    contents = [
        [source_content(source, key=key, cache=job.cache), source.columns, repr(job.shape(source))]
        for source, key in job.train
    ]
    name = entry_key("tokenizer", FORMAT_VERSION, spec.model_dump(), for_mlm, contents)

    def make(folder: Path) -> dict[str, Any]:
        build_tokenizer(spec, _training_texts(job), for_mlm=for_mlm).save_pretrained(folder)
        return {}

    folder, _ = cached(job.cache, name, make)
    loaded: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(folder)
    return loaded


def _training_texts(job: DataJob) -> Iterator[str]:
    for source, key in job.train:
        if job.objective in ("clm", "mlm"):
            pieces = iter_pieces(
                source,
                key=key,
                cache=job.cache,
                tally=Tally(),
                next_border=lambda _, start: start,
            )
            yield from (piece.text for piece in pieces)
        else:
            yield from row_texts(source, job.shape(source), key=key, cache=job.cache)
