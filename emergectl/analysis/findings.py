"""What analysis says of a table: typed, from `examine` to JSON, terminal, figures and page.

`Findings` holds everything; whatever shows findings reads its attributes and nothing else. What is
not known, or cannot be asked of the table, is None, never NaN. `to_json` is the one way out and
`from_json` the one way back; `FINDINGS_VERSION` is raised when a field changes its meaning or name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from emergectl.analysis.axis import AxisScore
from emergectl.analysis.breaks import Break, Interval
from emergectl.analysis.claims import OnsetClaim, SharpnessClaim, SurpriseClaim
from emergectl.analysis.forecast import Backtest
from emergectl.analysis.lags import Lag
from emergectl.analysis.metric_claim import MetricClaim
from emergectl.analysis.metric_pair import MetricPair
from emergectl.analysis.plain import as_plain, from_plain
from emergectl.analysis.scaling import ScalingFinding
from emergectl.analysis.seeds import SeedsFinding
from emergectl.analysis.table import Skipped
from emergectl.analysis.verdict import VERDICTS, Finding, Word
from emergectl.errors import DataError
from emergectl.store.measurements import MetricFacts

FORMAT = "emergectl.findings"
FINDINGS_VERSION = f"{FORMAT}/3"


@dataclass(frozen=True)
class ShapeWeight:
    """A fitted shape: its Akaike weight among all, the root mean square error of rungs that were
    left out, and its parameters by name (position in log10 of the scale, width in decades)."""

    shape: str
    weight: float
    left_out_error: float | None
    parameters: dict[str, float]


@dataclass(frozen=True)
class DrawnFit:
    """The likeliest shape, drawn out: values in the metric's units at scales of the axis."""

    shape: str
    scales: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class SeedValue:
    """One measurement: the items that it is of, whose it is, and `file:line` where it stands."""

    value: float
    items: float | None
    seed: str
    model: str
    where: str


@dataclass(frozen=True)
class MeasuredRung:
    """Every measurement at one scale; `value` is their mean."""

    scale: float
    value: float
    seeds: tuple[SeedValue, ...]


@dataclass(frozen=True)
class AbilityFinding:
    """What is said of one ability under one metric.

    The claims are those of the verdict; `surprise` is known of what is shown in full. The other
    p-values are of the tests of `verdict.Evidence`, q-values adjusted for all abilities judged
    together. `turn`: the scale at which a non-monotone ability turns. `dispersion`: noise relative
    to that of the items (of metrics that are no shares: the variance of one measurement).
    `chance`: what guessing gets; `shortcut`: what the best way around the ability scores, whether
    that is more or not, and `shortcut_by` which it is; `ceiling`: the best that the task allows.
    `scales`, `values`, `seeds` (how many) and `items` are by rung. `pair`: the continuous metric of
    the same outputs beside a discontinuous one. Only what is shown in full has `measured`, `fit`,
    `success` (of the seeds, by scale), `forecast` (each method, scored over all cutoffs), `axes`
    (how well one curve over each axis predicts models left out) and `loss_at_appearance`. Errors of
    logged metrics are in decades.
    """

    name: str
    group: str
    task: str
    metric: str
    what: MetricFacts
    axis: str
    verdict: Word
    reason: str
    overturn: str
    settle: str
    onset: OnsetClaim
    sharpness: SharpnessClaim
    metric_claim: MetricClaim
    surprise: SurpriseClaim | None
    p_emergent: float | None
    q_emergent: float | None
    p_gradual: float | None
    p_rise: float | None
    p_fall: float | None
    p_flat: float | None
    turn: float | None
    dispersion: float | None
    break_: Break | None
    breakthroughness: float | None
    linearity: float | None
    shapes: tuple[ShapeWeight, ...]
    chance: float | None
    shortcut: float | None
    shortcut_by: str
    ceiling: float | None
    scales: tuple[float, ...]
    values: tuple[float, ...]
    seeds: tuple[int, ...]
    items: tuple[float | None, ...]
    pair: MetricPair | None = None
    measured: tuple[MeasuredRung, ...] = ()
    fit: DrawnFit | None = None
    success: SeedsFinding | None = None
    forecast: tuple[Backtest, ...] = ()
    axes: tuple[AxisScore, ...] = ()
    loss_at_appearance: Interval | None = None

    def has_break(self, alpha: float) -> bool:
        """Whether a sharp rise is shown, among all abilities judged together."""
        q = self.sharpness.q
        return self.break_ is not None and q is not None and q <= alpha

    def has_rise(self, alpha: float) -> bool:
        """Whether a rise is shown, sharp or not: only then is its place a finding."""
        rises = self.p_rise is not None and self.p_rise <= alpha
        return self.break_ is not None and rises and self.verdict != "flat"


@dataclass(frozen=True)
class Findings:
    """Everything that is said of a table, over one axis.

    `parameters`: which count the axis of parameters and everything else here shows
    (`count_shown`; "" where only who brought the table knows). `sharp_decades` and `margin`: the
    conventions of `verdict.judge`. `notes`: what had to be chosen.
    `lags`: along steps and tokens, what moves first and by how much the next lags. `scaling`: the
    law of loss.
    """

    axis: str
    parameters: str
    alpha: float
    sharp_decades: float
    margin: float
    notes: tuple[str, ...]
    left_out: tuple[Skipped, ...]
    abilities: tuple[AbilityFinding, ...]
    lags: tuple[Lag, ...]
    scaling: ScalingFinding | None

    @property
    def counts(self) -> dict[str, int]:
        """How many of each verdict that there is, the strongest first."""
        return count_verdicts(self.abilities)

    @property
    def over(self) -> str:
        """The axis in words, with the count of parameters where it is one of them."""
        return axis_in_words(self.axis, self.parameters)

    def to_json(self) -> dict[str, Any]:
        """Plain data with the version of its form."""
        return {"format": FINDINGS_VERSION, **as_plain(self)}


def from_json(data: Any, where: str = "findings") -> Findings:
    """The inverse of `Findings.to_json`.

    Raises DataError, beginning with `where`, for another version or a field that is not as said.
    """
    if not isinstance(data, dict) or data.get("format") != FINDINGS_VERSION:
        said = data.get("format") if isinstance(data, dict) else None
        raise DataError(f"{where}: format is {said!r}; expected {FINDINGS_VERSION!r}")
    return from_plain(Findings, {k: v for k, v in data.items() if k != "format"}, where)


def count_verdicts(found: Sequence[AbilityFinding | Finding]) -> dict[str, int]:
    """How many of each verdict that there is, the strongest first."""
    words = [each.verdict for each in found]
    return {word: words.count(word) for word in VERDICTS if word in words}


def axis_in_words(axis: str, parameters: str) -> str:
    """An axis as one reads it: `non-embedding parameters`, `training FLOPs`."""
    if axis != "params":
        return {"flops": "FLOPs", "step": "steps"}.get(axis, axis)
    return parameters or "parameters (as given)"
