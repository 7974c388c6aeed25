"""Published results, measured again: published value, ours, the band, and whether ours is inside.

Each experiment is one function from what it needs (data files, a way to train) to rows. Bands stand
beside the published values, each with the reason for its width: rounding where the publication
rounds, its own stated uncertainty where it has one, a factor where a single run was published and
only its order and range can hold elsewhere.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emergectl.errors import RequestError
from emergectl.store.metrics_log import read_metrics

Trainer = Callable[[str, Mapping[str, object]], Path]
"""(shipped experiment, fields to set) → the directory of its finished run"""


@dataclass(frozen=True)
class Reproduced:
    """One published number and ours; inside where `low` ≤ ours ≤ `high` (None is never inside)."""

    what: str
    published: float
    ours: float | None
    low: float
    high: float

    @property
    def inside(self) -> bool:
        """Whether ours lies in the band."""
        return self.ours is not None and self.low <= self.ours <= self.high


@dataclass(frozen=True)
class DataFile:
    """A file or folder that is needed: where below --data, where it comes from, its licence."""

    path: str
    origin: str
    licence: str

    def find(self, name: str, folder: Path | None) -> Path:
        """The file below a folder, by its path or by its bare name. Raises RequestError."""
        bare = Path(self.path).name
        for path in (folder / self.path, folder / bare) if folder is not None else ():
            if path.exists():
                return path
        place = "" if folder is None else f" below {folder}"
        raise RequestError(
            f"{name} needs {self.path}{place} (--data DIR): from {self.origin}, {self.licence}"
        )


@dataclass(frozen=True)
class PublishedResult:
    """What is reproduced, what it needs, and how it is measured."""

    about: str
    measure: Callable[[Sequence[Path], Trainer], list[Reproduced]]
    files: tuple[DataFile, ...] = ()


def measure_again(name: str, *, data: Path | None, train: Trainer) -> list[Reproduced]:
    """Measure one experiment of `EXPERIMENTS`.

    Raises RequestError for a name that is none, or a data file that is missing.
    """
    if name not in EXPERIMENTS:
        raise RequestError(f"no experiment {name!r}; there are {', '.join(EXPERIMENTS)}")
    experiment = EXPERIMENTS[name]
    files = [file.find(name, data) for file in experiment.files]
    return experiment.measure(files, train)


def _around(what: str, published: float, ours: float | None, *, share: float) -> Reproduced:
    half = share * abs(published)
    return Reproduced(what, published, ours, published - half, published + half)


def _within(what: str, published: float, ours: float | None, *, half: float) -> Reproduced:
    return Reproduced(what, published, ours, published - half, published + half)


def _factor(what: str, published: float, ours: float | None, *, factor: float) -> Reproduced:
    return Reproduced(what, published, ours, published / factor, published * factor)


def _order(what: str, values: Sequence[float | None]) -> Reproduced:
    """1 where the values rise, each known."""
    known = [value for value in values if value is not None]
    rising = len(known) == len(values) and all(np.diff(known) > 0)
    return Reproduced(what, 1, float(rising), 1, 1)


# Besiroglu et al. 2024, "Chinchilla scaling: a replication attempt": three digits, and standard
# errors to 15 percent, for theirs and ours are both bootstraps.
CHINCHILLA = {"A": 477.84, "B": 2143.86, "E": 1.8172, "alpha": 0.34731, "beta": 0.36718}
CHINCHILLA_ERRORS = {"A": 124.52, "B": 1293.28, "E": 0.02566, "alpha": 0.01540, "beta": 0.02060}
CHINCHILLA_OBJECTIVE = 0.00101827


def _chinchilla(files: Sequence[Path], _: Trainer) -> list[Reproduced]:
    from emergectl.analysis.scaling import fit_law_with_intervals

    with files[0].open(encoding="utf-8", newline="") as stream:
        rows = [
            (float(row["Model Size"]), float(row["Training FLOP"]), float(row["loss"]))
            for row in csv.DictReader(stream)
        ]
    # The five highest losses are outliers of reading a picture; tokens are FLOPs / 6 N.
    params, flops, loss = np.array(sorted(rows, key=lambda row: row[2])[:-5]).T
    tokens, rng = flops / (6 * params), np.random.default_rng(0)
    # The tail of B is heavy: 2,000 draws miss its standard error by up to 15 percent themselves.
    found = fit_law_with_intervals(params, tokens, loss, rng, draws=4000)
    law = [
        _around(name, value, getattr(found.law, name), share=0.002)
        for name, value in CHINCHILLA.items()
    ]
    goal = _around("objective", CHINCHILLA_OBJECTIVE, found.law.objective, share=1e-4)
    errors = [
        _around(f"standard error of {name}", value, found.standard_errors[name], share=0.15)
        for name, value in CHINCHILLA_ERRORS.items()
    ]
    return [*law, goal, *errors]


# Clauset, Shalizi and Newman 2009, table 6.1, with the uncertainties printed there: file, discrete,
# unit, α, ± α, xmin, ± xmin.
TAILS = (
    ("words", True, 1.0, 1.95, 0.02, 7.0, 2.0),
    ("terrorism", True, 1.0, 2.4, 0.2, 12.0, 4.0),
    ("blackouts", False, 1e-3, 2.3, 0.3, 230.0, 90.0),
)


def _tails(files: Sequence[Path], _: Trainer) -> list[Reproduced]:
    from emergectl.analysis.tails import fit_tail

    rows = []
    for path, (name, discrete, unit, alpha, alpha_half, xmin, xmin_half) in zip(
        files, TAILS, strict=True
    ):
        tail = fit_tail(unit * np.loadtxt(path), discrete=discrete)
        rows.append(_within(f"{name}: alpha", alpha, tail.alpha, half=alpha_half))
        rows.append(_within(f"{name}: xmin", xmin, tail.xmin, half=xmin_half))
    return rows


# EleutherAI's own evaluations of Pythia v1 (Biderman et al. 2023), zero-shot, rounded to 3 digits.
LAMBADA = {
    "160m": {512: 0.0, 1000: 0.065, 3000: 0.228, 143000: 0.328},
    "12b": {512: 0.0, 1000: 0.043, 3000: 0.312, 143000: 0.705},
}
LAMBADA_SIZES = ("160m", "410m", "1.4b", "2.8b", "6.9b", "12b")
BREAK_BETWEEN = (512.0, 1000.0)
MMLU_CHANCE, MMLU_ITEMS, LAMBADA_ITEMS = 0.25, 14042, 5153


def _pythia(files: Sequence[Path], _: Trainer) -> list[Reproduced]:
    from emergectl.analysis.columns import ColumnMapping
    from emergectl.analysis.reading import read_tables
    from emergectl.analysis.sharpness import ALPHA
    from emergectl.analysis.table import Table, with_defaults
    from emergectl.analysis.table_curves import curves_of
    from emergectl.analysis.verdict import judge
    from emergectl.evaluation.metrics import metric_facts

    conditions = {"variant": "standard"}
    columns = ColumnMapping(params="params_non_embedding")
    table = read_tables(
        files, columns, where={**conditions, "task": "lambada_openai"}, lookup=metric_facts
    )
    values = {(row.model, row.step): row.value for row in table.rows if row.metric == "acc"}
    rows = [
        _within(f"LAMBADA, {size}, step {step:,}", value, values.get((size, step)), half=0.0005)
        for size, steps in LAMBADA.items()
        for step, value in steps.items()
    ]
    judged = with_defaults(table, n=LAMBADA_ITEMS, chance={"acc": 0.0})
    judged = Table([row for row in judged.rows if row.model in LAMBADA_SIZES])
    findings = judge(curves_of(judged, "step"))
    low, high = BREAK_BETWEEN
    as_late = 0
    for finding in findings:
        if finding.curve.metric == "ppl":
            as_late += finding.q_break <= ALPHA
            continue
        last, first = finding.evidence.onset_between
        name = f"LAMBADA, {finding.curve.group}"
        rows.append(Reproduced(f"{name}: last step at chance", low, last, low, low))
        rows.append(Reproduced(f"{name}: above chance from step", high, first, high, high))
    rows.append(Reproduced("… sizes whose perplexity rises sharply", 0, float(as_late), 0, 0))
    table = read_tables(
        files, columns, where={**conditions, "task": "mmlu_mean_57"}, lookup=metric_facts
    )
    mmlu = with_defaults(table, n=MMLU_ITEMS, chance={"": MMLU_CHANCE})
    for axis in ("step", "params"):
        found = judge(curves_of(mmlu, axis))
        count = float(sum(finding.verdict == "emergent" for finding in found))
        rows.append(
            Reproduced(f"MMLU over {axis}: emergent curves of {len(found)}", 0, count, 0, 0)
        )
    return rows


# Magnusson et al. 2025 (arXiv 2504.11393), abstract and figure 1: of the pairs of 25 data recipes,
# 150M puts some 80% in the order of 1B (mean accuracy of ten tasks, one seed of 150M deciding by
# itself); it is read off a figure, so five points either way.
RECIPES, SMALL_MODELS = 25, 150e6
DECISIONS, DECISIONS_HALF = 0.80, 0.05


def _data_decide(files: Sequence[Path], _: Trainer) -> list[Reproduced]:
    from emergectl.analysis.noise import judge_noise
    from emergectl.analysis.reading import read_tables
    from emergectl.evaluation.metrics import metric_facts

    where = {"task": "olmes_10_macro_avg", "metric": "primary_metric"}
    found = judge_noise(read_tables(files, where=where, lookup=metric_facts)).benchmarks
    told = next((one.decisions for one in found if one.scale == SMALL_MODELS), None)
    right = None if told is None else told.accuracy.value
    recipes = None if told is None else float(told.recipes)
    return [
        _within("recipes at 150M and 1B", RECIPES, recipes, half=0),
        _within("pairs of them put in the order of 1B", DECISIONS, right, half=DECISIONS_HALF),
    ]


# Van der Wal et al. 2025 (arXiv 2503.09543), figure 4: of ten runs of 410M, seeds 3 and 4 are
# outliers by their mean standardised accuracy on these tasks.
SEEDS, OUTLIERS, LAST_STEP = 10, {"3", "4"}, 143000
STANDARDISED = ("arc_easy", "lambada_openai", "piqa", "sciq")


def _polypythias(files: Sequence[Path], _: Trainer) -> list[Reproduced]:
    from emergectl.analysis.reading import read_tables
    from emergectl.evaluation.metrics import metric_facts

    values: dict[str, dict[str, float]] = {}
    pattern = f"pythia-410m-seed*/step{LAST_STEP}/**/results_*.json"
    for path in sorted(files[0].glob(pattern), key=lambda path: path.name):  # by time
        seed = path.relative_to(files[0]).parts[0].rpartition("seed")[2]
        for row in read_tables([path], lookup=metric_facts).rows:
            # Some files lie in the folder of another model than they are of.
            if row.metric == "acc" and (row.seed or "0") == seed and row.task in STANDARDISED:
                values.setdefault(row.task, {}).setdefault(seed, row.value)
    seeds = set.intersection(*(set(own) for own in values.values())) if values else set()
    scores = dict.fromkeys(seeds, 0.0)
    for own in values.values():
        kept = np.array([own[seed] for seed in seeds])
        for seed in seeds if kept.std() > 0 else ():
            scores[seed] += (own[seed] - kept.mean()) / kept.std()
    lowest = set(sorted(scores, key=lambda seed: scores[seed])[:2])
    tasks = f"{', '.join(sorted(values)) or 'no task'} at step {LAST_STEP:,}"
    return [
        _within(f"seeds of 410M that have {tasks}", SEEDS, float(len(seeds)), half=0),
        _within("seeds 3 and 4 are the lowest (1: yes)", 1, float(lowest == OUTLIERS), half=0),
    ]


# One published run: the order, and each step to a factor of two.
INDUCTION = {4.0: 812, 2.0: 904, 1.0: 1077, 0.35: 1929}


def _induction(_: Sequence[Path], train: Trainer) -> list[Reproduced]:
    run = train("reproduce/induction-heads", {})
    steps = [first_below(run, "loss", level) for level in INDUCTION]
    rows = [
        _factor(f"step with loss below {level:g}", published, step, factor=2)
        for (level, published), step in zip(INDUCTION.items(), steps, strict=True)
    ]
    return [*rows, _order("the steps in this order (1: yes)", steps)]


# Nanda et al. 2023, one run for each share of the table: half as early to half as late again. The
# training set is known by heart at step 155 to 323, whatever the share.
GROKKING = {0.8: (439, 10215, 700), 0.5: (1109, 6384, 1400)}
BY_HEART = (155.0, 323.0)


def _grokking(_: Sequence[Path], train: Trainer) -> list[Reproduced]:
    rows, steps = [], []
    for share, (published, batch, most) in GROKKING.items():
        fields = {
            "data.train.0.train_fraction": share,
            "train.batch_size": batch,
            "train.steps": most,
        }
        run = train("reproduce/grokking", fields)
        by_heart = first_below(run, "loss", 0.01)
        middle = float(np.mean(BY_HEART))
        steps.append(first_below(run, "modular/loss", 0.01))
        rows.append(
            Reproduced(f"share {share:g}: training loss below .01", middle, by_heart, *BY_HEART)
        )
        what = f"share {share:g}: test loss below .01"
        rows.append(_factor(what, published, steps[-1], factor=1.5))
    return [*rows, _order("the smaller share later (1: yes)", steps)]


SHAKESPEARE_LOSS, SHAKESPEARE_HALF = 1.88, 0.03


def _shakespeare(files: Sequence[Path], train: Trainer) -> list[Reproduced]:
    run = train("pretrain/shakespeare_char", {"data.train.0.path": str(files[0].absolute())})
    losses = [loss for _, loss in series(run, "validation/loss")]
    ours = losses[-1] if losses else None
    return [_within("validation loss at the end", SHAKESPEARE_LOSS, ours, half=SHAKESPEARE_HALF)]


# nanoGPT's transformer_sizing.ipynb: GPT-2 of 124M, biases left out, one sequence of 1,024 tokens.
GPT2_PARAMETERS, GPT2_FORWARD_FLOPS = 124_337_664, 291_648_307_200


def _gpt2(_: Sequence[Path], __: Trainer) -> list[Reproduced]:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from emergectl.models.counting import count_parameters, forward_flops

    with torch.device("meta"):
        model = GPT2LMHeadModel(GPT2Config())
    count = count_parameters(model)
    flops = forward_flops(model, batch=1, seq_len=1024)
    return [
        _within("parameters without biases", GPT2_PARAMETERS, count.total - count.bias, half=0),
        _within("FLOPs of a forward pass", GPT2_FORWARD_FLOPS, flops, half=0),
    ]


def series(run: Path, metric: str) -> list[tuple[int, float]]:
    """(step, value) of a metric of a run."""
    records: Iterable[Mapping[str, object]] = read_metrics(run / "metrics.jsonl")
    return [(int(str(r["step"])), float(str(r[metric]))) for r in records if metric in r]


def first_below(run: Path, metric: str, level: float) -> float | None:
    """The first step at which a metric of a run lies below a level; None if it never does."""
    return next((float(step) for step, value in series(run, metric) if value < level), None)


_CHINCHILLA_FILE = DataFile(
    "chinchilla_epoch/svg_extracted_data.csv",
    "github.com/epoch-research/analyzing-chinchilla (data/svg_extracted_data.csv)",
    "no licence stated there; MIT in github.com/mcleish7/gemstone-scaling-laws",
)
_TAIL_FILES = tuple(
    DataFile(
        f"powerlaw_shared/{name}.txt",
        f"github.com/jeffalstott/powerlaw (powerlaw/reference_data/{name}.txt)",
        "MIT",
    )
    for name, *_ in TAILS
)
_PYTHIA_FILE = DataFile(
    "pythia_v1_zeroshot/pythia_v1_zeroshot.csv",
    "github.com/EleutherAI/pythia (evals/pythia-v1, as one table: model, variant, step, tokens, "
    "params_non_embedding, task, metric, value)",
    "Apache-2.0",
)
_SHAKESPEARE_FILE = DataFile(
    "tiny_shakespeare/input.txt",
    "github.com/karpathy/char-rnn (data/tinyshakespeare/input.txt)",
    "MIT; the text is in the public domain",
)

_DATA_DECIDE_FILE = DataFile(
    "datadecide/macro_avg-00000-of-00001.parquet",
    "huggingface.co/datasets/allenai/DataDecide-eval-results (data/, the file of that name)",
    "ODC-BY 1.0",
)
_POLYPYTHIAS_FOLDER = DataFile(
    "polypythias-evals",
    "huggingface.co/datasets/EleutherAI/polypythias-evals (the folders pythia-410m-seed*)",
    "no licence stated there",
)

EXPERIMENTS = {
    "chinchilla-refit": PublishedResult(
        "L = E + A/N^α + B/D^β refitted to Chinchilla's runs", _chinchilla, (_CHINCHILLA_FILE,)
    ),
    "powerlaw-tails": PublishedResult("power-law tails of three data sets", _tails, _TAIL_FILES),
    "pythia-lambada": PublishedResult(
        "LAMBADA breaks between steps 512 and 1,000; MMLU does not", _pythia, (_PYTHIA_FILE,)
    ),
    "datadecide": PublishedResult(
        "small models order data recipes as 1B does", _data_decide, (_DATA_DECIDE_FILE,)
    ),
    "polypythias": PublishedResult(
        "two of ten seeds of 410M are outliers", _polypythias, (_POLYPYTHIAS_FOLDER,)
    ),
    "induction-heads": PublishedResult("the loss falls off its plateau", _induction),
    "grokking": PublishedResult("the test loss falls long after the training loss", _grokking),
    "shakespeare-char": PublishedResult(
        "nanoGPT's validation loss on a CPU", _shakespeare, (_SHAKESPEARE_FILE,)
    ),
    "gpt2-flops": PublishedResult("parameters and FLOPs of GPT-2", _gpt2),
}
