"""The experiment file, typed: every field with its meaning, its default and its bounds.

With `training_schema` this is the whole vocabulary of a YAML experiment. Models are frozen and
refuse unknown keys, NaN and infinities; checks that need more than one field stand in validators
beside the fields. What only torch or a task module can judge (a field of a family's own config, a
task's parameters) is checked where that knowledge lives, with the same error type.
"""
# ruff: noqa: RUF012 — pydantic copies a default that can change.

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from emergectl.config.parts import Fraction, Part, PositiveFloat, PositiveInt
from emergectl.config.training_schema import OptimizerSpec, ScheduleSpec, TrainSpec

DEFAULT_SEQ_LEN = 256
MOST_SAMPLES = 10_000
StepSchedule = Annotated[
    PositiveInt | Literal["log", "epoch"] | list[Annotated[int, Field(ge=0)]] | None,
    Field(
        description="a number N (every N steps), `log` (log-spaced), `epoch` (after each pass over "
        "the training data), a list of steps, or null"
    ),
]


class ModelSpec(Part):
    """The model: a family with a size or its own config fields, or weights to start from."""

    family: str = "gpt2"
    """a transformers model type (gpt2, llama, qwen3, bert, modernbert, t5 …) or attention_only"""
    size: str | None = None
    """non-embedding parameters, from which depth and width follow: 10k, 42m, 1.5b …"""
    config: dict[str, Any] = {}
    """fields of the family's own configuration; they win over what `size` derives"""
    from_: str | None = Field(default=None, alias="from")
    """start from the weights of a run, a model directory or a hub name"""
    dropout: Fraction | None = None
    """dropout everywhere the family has it; null: 0 from scratch, the source's own with `from`"""

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if self.from_ is not None and self.size is not None:
            raise ValueError("`size` and `from` exclude each other: weights bring their own size")
        return self


class TokenizerSpec(Part):
    """How text becomes tokens."""

    kind: Literal["char", "byte", "bpe"] | None = None
    """char and bpe are trained on the training text; byte needs no training. Null: byte for
    pretraining from scratch, the source model's own tokenizer with `model.from`"""
    vocab_size: Annotated[int, Field(ge=258, le=1_000_000)] | None = None
    """size of a trained bpe vocabulary, special tokens included (default 8192)"""
    from_: str | None = Field(default=None, alias="from")
    """take the tokenizer of a run, a directory or a hub name"""

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if self.from_ is not None and self.kind is not None:
            raise ValueError("`kind` and `from` exclude each other: give one")
        if self.vocab_size is not None and self.kind != "bpe":
            raise ValueError("`vocab_size` belongs to `kind: bpe`")
        return self


class FileSource(Part):
    """Rows from files or from a hub data set."""

    path: str | None = None
    """a file, a folder, a glob, or an https URL; relative paths start at the YAML's own folder"""
    hub: str | None = None
    """a data set's name on the hub, loaded through `datasets`"""
    format: Literal[
        "auto", "text", "jsonl", "csv", "tsv", "parquet", "json", "squad", "c3", "chid"
    ] = "auto"
    """how to read the files of `path`; auto goes by the file name's ending (.json: json where it
    begins with a list, else jsonl). json is one list of rows, as it stands or under `data` or
    `examples`; squad, c3 and chid are the JSON documents of these data sets"""
    header: list[str] = []
    """the columns of csv or tsv files whose first line is a row already"""
    config: str | None = None
    """the hub data set's configuration (subset)"""
    split: str | None = None
    """the named split of a hub data set (default: train for training)"""
    columns: dict[str, str] = {}
    """role → column: text, text_pair, label, or a field named in a prompt template"""
    join: str = "\n"
    """what stands between the parts of a list in a column where one text is wanted"""
    weight: PositiveFloat = 1.0
    """share of the rows drawn from this source, relative to the other sources' weights"""
    bad_rows: Literal["error", "skip"] = "error"
    """a row that cannot be used: stop and name it, or leave it out and count it"""

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.path is None) == (self.hub is None):
            raise ValueError("a source is exactly one of `path`, `hub` and `task`")
        if self.path is not None and (self.config is not None or self.split is not None):
            raise ValueError("`config` and `split` belong to `hub`")
        return self


class TaskAsked(Part):
    """A task whose items are asked; all further keys are the task's own parameters."""

    model_config = ConfigDict(extra="allow")

    task: str
    """name of the task, or the path of a task file"""

    @property
    def params(self) -> dict[str, Any]:
        """The task's own parameters."""
        return dict(self.model_extra or {})


class TaskSource(TaskAsked):
    """Items that a task generates; all further keys are the task's own parameters."""

    weight: PositiveFloat = 1.0
    """share of the rows drawn from this source, relative to the other sources' weights"""


def _source_kind(value: Any) -> str:
    has_task = "task" in value if isinstance(value, dict) else isinstance(value, TaskSource)
    return "task" if has_task else "file"


DataSource = Annotated[
    Annotated[FileSource, Tag("file")] | Annotated[TaskSource, Tag("task")],
    Discriminator(_source_kind),
]


class DataSpec(Part):
    """What is learnt from and what is held out."""

    train: list[DataSource] = Field(min_length=1)
    """one source or a list of them"""
    validation: list[DataSource] = []
    """held-out sources; empty: `validation_fraction` of the training data is held out"""
    validation_fraction: Fraction = 0.1
    """share of the training data held out where `validation` is empty"""
    test: list[DataSource] = []
    """sources that are asked once, when training is over, and choose nothing: `test/…`"""
    validation_from: Literal["end", "random"] = "end"
    """hold out the end of each source (by position), or rows (documents) at random"""
    seq_len: Annotated[int, Field(ge=2, le=1_048_576)] | None = None
    """tokens in a training sequence. Null: what the items of a task need, 256 for anything else"""
    too_long: Literal["cut_prompt", "skip", "refuse"] = "cut_prompt"
    """rows longer than seq_len: cut_prompt: a prompt loses its beginning and a text with classes
    its end, an answer nothing: one that does not fit is not learnt, and held out it counts as
    wrong; skip: leave such rows out; refuse: stop. Questions of tasks are never cut: left out"""

    @property
    def row_tokens(self) -> int:
        """Tokens in a training sequence of what is read."""
        return self.seq_len or DEFAULT_SEQ_LEN

    @field_validator("train", "validation", "test", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, (dict, FileSource, TaskSource)) else value


class ObjectiveSpec(Part):
    """What is minimised."""

    name: str | None = None
    """clm: next token; mlm: masked tokens; binary, multiclass, multilabel: classification of `text`
    (and `text_pair`); answer: loss on the answer alone (t5 reads the prompt with its encoder).
    Null: clm or mlm by the family"""
    mask_probability: Annotated[float, Field(gt=0, lt=1)] = 0.15
    """mlm: share of tokens to predict; of these 80% become [MASK], 10% a random token, 10% stay"""
    whole_word: bool = False
    """mlm: mask all tokens of a word together"""
    labels: list[str | int] | None = None
    """classification: the labels in class order; null: found in the training data, sorted"""
    class_weights: list[PositiveFloat] | Literal["balanced"] | None = None
    """classification: weight of each class in the loss; balanced: n / (classes × n of the class)"""
    label_smoothing: Fraction = 0.0
    """share of the target mass spread evenly over all classes (or the vocabulary)"""
    prompt: str | None = None
    """answer: the template of the prompt, with {column} for a row's fields"""
    answer: str | None = None
    """answer: the template of the answer, the only part that carries loss"""


CLASSIFICATION = ("binary", "multiclass", "multilabel")
"""objectives whose data are texts with classes"""


class AskingSpec(Part):
    """How a model is asked, where it is no longer trained."""

    shots: Annotated[int, Field(ge=0)] = 0
    """solved training items that stand before each question"""
    limit: PositiveInt | None = None
    """ask so many items of a task at most"""
    by: list[str] = []
    """facts of the items (`digits`) by which results are grouped as well"""
    metrics: list[str] = []
    """metrics beside the tasks' own"""
    samples: PositiveInt = 1
    """texts written for each item, where a task is one of writing"""
    temperature: Annotated[float, Field(ge=0)] | None = None
    """of sampling; null: 0 (greedy) for one sample, 1 for several"""
    until_passes: Annotated[int, Field(ge=2)] | None = None
    """instead of `samples`, write texts for each item until so many are right:
    `pass_rate`, for abilities too rare for a fixed number of samples (10: to about a third)"""
    most_samples: PositiveInt = MOST_SAMPLES
    """with `until_passes`, texts of an item at most"""
    allow_code: bool = False
    """run the Python code that came with task files of lm-evaluation-harness; on the command line
    alone, a file cannot allow it"""

    @model_validator(mode="after")
    def _sampled_in_one_way(self) -> Self:
        if self.until_passes is not None and self.samples > 1:
            raise ValueError("`samples` and `until_passes` exclude each other")
        if self.until_passes is not None and self.temperature == 0:
            raise ValueError("`until_passes` needs a `temperature` above 0: greedy texts are equal")
        if self.until_passes is None and self.most_samples != MOST_SAMPLES:
            raise ValueError("`most_samples` belongs to `until_passes`")
        return self

    @field_validator("tasks", "by", "metrics", mode="before", check_fields=False)
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, (str, dict, TaskAsked)) else value


class EvaluationSpec(AskingSpec):
    """Evaluation while training; with stage `evaluate`, all that is asked of a model, and how
    (shots, limit, by, metrics, samples, temperature, until_passes, most_samples, allow_code)."""

    every: StepSchedule = "log"
    """when to evaluate; the last step is always evaluated"""
    batches: PositiveInt | None = None
    """at most so many batches of held-out data an evaluation; null: all of it"""
    batch_size: PositiveInt | None = None
    """sequences in an evaluation batch; null: that of training"""
    tasks: list[str | TaskAsked] = []
    """tasks whose metrics are taken beside the held-out loss: names, or mappings with parameters"""
    train_rows: bool = False
    """also measure rows that are trained on (at most `batches` of them), as `train/…`"""
    best: str = "loss"
    """the held-out metric by which the best checkpoint is kept: its highest or lowest value, as is
    better for it (`-accuracy`, as older files have it, means the same)"""
    contamination: bool = False
    """stage evaluate: look for the items in what the run that is asked was trained on"""


class SnapshotSpec(Part):
    """Weights kept for looking at later."""

    every: StepSchedule = None
    """when to keep a snapshot"""


class CheckpointSpec(Part):
    """What is needed to go on after an interruption."""

    every: PositiveInt | None = None
    """steps between checkpoints; null: by `minutes` alone"""
    minutes: PositiveFloat | None = 10.0
    """minutes between checkpoints; null: by `every` alone"""
    keep_best: bool = True
    """keep the best checkpoint beside the last"""


class TrackerSpec(Part):
    """A tracker beside metrics.jsonl."""

    name: Literal["tensorboard", "wandb", "mlflow", "trackio"]
    """which tracker"""
    project: str = "emergectl"
    """project or experiment there"""
    offline: bool = False
    """wandb: write locally, for a later `wandb sync`"""


NO_DATA = DataSpec.model_construct(train=[])
"""Where nothing is learnt."""
ASKING = (
    "shots",
    "limit",
    "by",
    "metrics",
    "samples",
    "temperature",
    "until_passes",
    "most_samples",
    "allow_code",
    "contamination",
)
"""fields of `evaluation` that belong to stage `evaluate`"""


class Experiment(Part):
    """Everything needed to repeat a run."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = "run"
    """letters, digits, dot, dash and underscore; part of the run's id"""
    stage: Literal["pretrain", "finetune", "evaluate"] = "pretrain"
    """pretrain a language model, fine-tune one for a task, or ask `model.from` what it can do"""
    notes: str = ""
    """for people"""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """of weights, data order, masking and dropout"""
    model: ModelSpec = ModelSpec()
    tokenizer: TokenizerSpec = TokenizerSpec()
    data: DataSpec
    objective: ObjectiveSpec = ObjectiveSpec()
    train: TrainSpec = TrainSpec()
    optimizer: OptimizerSpec = OptimizerSpec()
    schedule: ScheduleSpec = ScheduleSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    snapshots: SnapshotSpec = SnapshotSpec()
    checkpoints: CheckpointSpec = CheckpointSpec()
    tracking: list[TrackerSpec] = []
    """trackers to write to, beside metrics.jsonl"""

    @field_validator("tracking", mode="before")
    @classmethod
    def _names_are_trackers(cls, value: Any) -> Any:
        if isinstance(value, list):
            return [{"name": v} if isinstance(v, str) else v for v in value]
        return value

    @model_validator(mode="before")
    @classmethod
    def _evaluating_needs_no_data(cls, value: Any) -> Any:
        if not isinstance(value, dict) or value.get("stage") != "evaluate":
            return value
        data = value.get("data")
        trains_on_nothing = data is None or (isinstance(data, dict) and data.get("train") == [])
        return value | {"data": NO_DATA} if trains_on_nothing else value

    @model_validator(mode="after")
    def _stage_fits(self) -> Self:
        if self.stage != "evaluate":
            for field in ASKING:
                if getattr(self.evaluation, field) != EvaluationSpec.model_fields[field].default:
                    raise ValueError(f"`evaluation.{field}` belongs to `stage: evaluate`")
            return self
        if self.data.train:
            raise ValueError("`data` does not belong to `stage: evaluate`: nothing is learnt")
        if self.model.from_ is None:
            raise ValueError("`stage: evaluate` needs `model.from`: the model that is asked")
        if not self.evaluation.tasks:
            raise ValueError("`stage: evaluate` needs `evaluation.tasks`: what the model is asked")
        return self
