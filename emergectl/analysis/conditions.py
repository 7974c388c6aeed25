"""What is promised of verdicts, and the simulated conditions that each promise is measured under.

A `Claim` is a name, a condition (`simulated`), how it is measured (`calibration`) and what the
rates must be. Widths of wide rises are those that the ladder shows, of the kind that the test of
sharpness is about (`WIDTH_OF`), and are the convention itself where nothing else is said: the
hardest case. What no promise is made for stands here too, to be seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from emergectl.analysis.simulated import Condition, Spread, WidthOf

Measure = Literal[
    "emergent",
    "metric",
    "power",
    "flat",
    "pair",
    "humps",
    "forecast",
    "loss forecast",
    "discoveries",
    "advice",
]
WIDTH_OF: WidthOf = "core"
LEVELS_OFF = ("logistic", "ramp", "gompertz")
"""shapes of rises that are tried together under each kind of noise"""


@dataclass(frozen=True)
class Promise:
    """A rate lies between `low` and `high`, and its Wilson interval ends below `bound`."""

    low: float = 0.0
    high: float = 1.0
    bound: float = 1.0

    @property
    def is_none(self) -> bool:
        """Whether any rate would do."""
        return self == NOTHING

    @property
    def in_words(self) -> str:
        """What is promised, as one reads it; "" where nothing is."""
        if self.low and self.high < 1:
            return f"{self.low:g} to {self.high:g}"
        if self.low:
            return f"at least {self.low:g}"
        return f"at most {self.high:g}" if self.high < 1 else ""


NOTHING = Promise()
AT_MOST_5 = Promise(high=0.05, bound=0.08)
NEVER = Promise(high=0.0, bound=0.02)
COVERS = Promise(0.92, 0.98)
COVERS_RUNGS = Promise(low=0.92)
"""of positions: a step between two rungs may lie anywhere between them, so all of it is said"""
FORECASTS = Promise(0.90, 0.98)


@dataclass(frozen=True)
class Claim:
    """What is measured, under which condition, and what is promised of each rate, by its name.

    `share`: of the trials that are asked for, how many of these are made (each is of many curves
    where a measure says so). `spread`: of seeds (`simulated.simulate_seeds`). `apart`: decades
    between two breaks, at most. `correlation`: of the runs' scatter, between abilities.
    """

    name: str
    measure: Measure
    condition: Condition
    promises: dict[str, Promise] = field(default_factory=dict)
    share: float = 1.0
    spread: Spread = "beta"
    apart: float = 0.0
    correlation: float = 0.0


WIDE = Condition(LEVELS_OFF, width_of=WIDTH_OF)
"""a rise as wide as the convention: 8 rungs over 4 decades, 4 runs, 500 items, 50 points"""
SHARP = Condition(("logistic",), width=(0.3, 0.3), partner="same rise")
ANY_LADDER = Condition(
    ("line",),
    height=(0.1, 1.0),
    chance=(0.0, 0.25, 0.5),
    rungs=(6, 7, 8, 9, 10, 11, 12),
    decades=(2.0, 5.0),
    runs=(1, 2, 3, 4, 5, 6, 7, 8),
    items=(50, 100, 200, 500, 1000),
)
"""what a smooth ability may be measured on"""


def _smooth_on_any_ladder() -> dict[str, Condition]:
    """Abilities that get better all along the ladder."""
    wide = replace(ANY_LADDER, width=(1.0, 1.5), width_of=WIDTH_OF, position=(0.2, 0.8))
    return {
        "line": ANY_LADDER,
        "growing power": replace(ANY_LADDER, shape=("growth",), width=(1.05, 3.3)),
        "power law to a ceiling": replace(ANY_LADDER, shape=("approach",), width=(1.4, 5.0)),
        "wide sigmoid": replace(wide, shape=("logistic",), decades=(3.0, 5.0)),
        "exact match": replace(
            ANY_LADDER, shape=("gompertz",), width=(2.2, 6.7), position=(0.2, 1.2)
        ),
    }


def _wide_shapes() -> dict[str, Condition]:
    """Rises as wide as the convention or wider, in every shape that is known to mislead."""
    one = replace(WIDE, shape=("logistic",))
    late = replace(WIDE, width_of="formula")
    own = {
        "cauchy": "Cauchy rise",
        "square": "square",
        "square reversed": "square, reversed",
        "square root": "square root",
        "square root reversed": "square root, reversed",
        "exponential": "exponential approach",
        "exponential reversed": "exponential approach, reversed",
        "gompertz": "Gompertz rise",
        "gompertz reversed": "Gompertz rise, reversed",
        "ramp": "ramp",
        "logistic": "logistic rise",
    }
    return {
        **{said: replace(WIDE, shape=(shape,)) for shape, said in own.items()},
        **{
            f"chance, then a line over {w:g} decades": replace(
                late, shape=("late line",), width=(w, w)
            )
            for w in (1.6, 2.4)
        },
        "chance, then a softplus over 2.5 decades": replace(
            late, shape=("late softplus",), width=(2.5, 2.5)
        ),
        "chance, then an error power law": replace(
            late, shape=("exponential",), width=(1.6, 3.2), height=(0.75, 0.75)
        ),
        "staircase": replace(late, shape=("staircase",), width=(1.1, 1.5), position=(0.4, 0.6)),
        "mixture": replace(late, shape=("mixture",)),
        "plateau at the edge": replace(WIDE, shape=("logistic", "ramp"), position=(0.75, 0.9)),
        "U": replace(WIDE, shape=("fall and rise",), position=(0.5, 0.7)),
        "nothing": replace(late, shape=("flat",)),
        "5 rungs": replace(one, rungs=(5,)),
        "20 rungs": replace(one, rungs=(20,)),
        "14,000 items": replace(WIDE, items=(14_000,)),
        "100 items": replace(WIDE, items=(100,)),
        "irregular ladder": replace(WIDE, irregular=0.8),
        "chance 0": replace(WIDE, chance=(0.0,)),
        "chance 0.5": replace(WIDE, chance=(0.5,), height=(0.45, 0.45)),
        "runs differ by 0.03": replace(WIDE, skill=0.03),
        "runs differ by 0.08": replace(WIDE, skill=0.08),
        "design effect 2": replace(WIDE, cluster=5, design_effect=2.0),
        "design effect 5": replace(WIDE, cluster=5, design_effect=5.0),
        "design effect 5, one run": replace(WIDE, cluster=5, design_effect=5.0, runs=(1,)),
        "4 times the items claimed": replace(WIDE, stated=4.0),
        "a quarter of the items claimed": replace(WIDE, stated=0.25),
    }


MIRAGE = Condition(
    ("logistic",), chance=(0.0,), height=(1.0, 1.0), position=(0.2, 0.5), partner="tokens"
)
"""exact match of 20 tokens, each a logistic rise a decade wide: its own takes .68 decades, which
eight rungs over four decades cannot always tell from one"""


def _false_emergent() -> list[Claim]:
    smooth = _smooth_on_any_ladder()
    conditions = {
        **smooth,
        **{f"{name}, runs differ by 0.02": replace(c, skill=0.02) for name, c in smooth.items()},
        **_wide_shapes(),
        **{
            f"onsets scatter by {s:g}, {_runs(runs)}": replace(WIDE, onset=s, runs=(runs,))
            for runs in (1, 2, 4)
            for s in (0.1, 0.2, 0.3)
        },
        "steep shapes, onsets scatter by 0.3, one run": replace(
            WIDE, shape=("cauchy", "square", "exponential reversed"), onset=0.3, runs=(1,)
        ),
    }
    return [
        Claim(f"false emergent: {name}", "emergent", c, {"": AT_MOST_5})
        for name, c in conditions.items()
    ]


def _power() -> list[Claim]:
    def power(name: str, found: Promise, **changes: object) -> Claim:
        rates = {"found": found, "position covered": COVERS_RUNGS, "position of no width": NEVER}
        return Claim(f"sharp rise: {name}", "power", replace(SHARP, **changes), rates)  # type: ignore[arg-type]

    points_20 = {"height": (0.2, 0.2)}
    one_run = {"runs": (1,), "items": (1000,), "height": (0.75, 0.75)}
    return [
        power("50 points", Promise(low=0.9)),
        power("50 points, a ramp", Promise(low=0.9), shape=("ramp",)),
        power("50 points, at most 0.3 decades", Promise(low=0.9), width=(0.02, 0.3)),
        power("20 points, 500 items", Promise(low=0.3), **points_20),
        power("20 points, 2,000 items", Promise(low=0.8), items=(2000,), **points_20),
        power("0.5 decades", NOTHING, width=(0.5, 0.5)),
        power("0.7 decades", NOTHING, width=(0.7, 0.7)),
        power("0.85 decades", NOTHING, width=(0.85, 0.85)),
        power("one decade", NOTHING, width=(1.0, 1.0)),
        power("5 rungs", NOTHING, rungs=(5,)),
        power("20 rungs", NOTHING, rungs=(20,)),
        power("two runs", NOTHING, runs=(2,)),
        *(power(f"onsets scatter by {s:g}", NOTHING, onset=s) for s in (0.1, 0.2, 0.3)),
        *(
            power(f"75 points, one run, onsets scatter by {s:g}", NOTHING, onset=s, **one_run)
            for s in (0.0, 0.1, 0.3)
        ),
        power("runs differ by 0.03", NOTHING, skill=0.03),
        power("after a fall", NOTHING, shape=("fall and rise",), position=(0.6, 0.7)),
    ]


def _pairs() -> list[Claim]:
    """Where one ability breaks later than another: by nothing, or by up to half a decade.

    A difference that is truly zero between two steps in one gap is left out: no data can tell where
    in the gap either lies, so that an honest interval covers zero every time.
    """
    sharp = replace(SHARP, partner="none", position=(1 / 7, 6 / 7))
    drawn = replace(sharp, width=(0.02, 0.3), position=(1.5 / 7, 5.5 / 7))
    conditions = {
        f"none, rungs {gap:g} decades apart": (replace(sharp, decades=(7 * gap, 7 * gap)), 0.0)
        for gap in (0.3, 0.15)
    }
    conditions["up to half a decade"] = (replace(drawn, decades=(2.1, 2.1)), 0.5)
    return [
        Claim(f"difference of breaks: {name}", "pair", c, {"covered": COVERS}, apart=apart)
        for name, (c, apart) in conditions.items()
    ]


def _seeds() -> list[Claim]:
    known = replace(WIDE, runs=(32,), items=(200,))
    claims = []
    for said, c in {"200 items": known, "items unknown": replace(known, stated=0.0)}.items():
        one_hump: tuple[Spread, ...] = ("beta", "logit-normal", "power", "triangle")
        for spread in one_hump:
            name = f"false groups of seeds: {spread}, {said}"
            claims.append(Claim(name, "humps", c, {"": AT_MOST_5}, spread=spread))
        name, found = f"groups of seeds 30 points apart: {said}", {"found": Promise(low=0.9)}
        claims.append(Claim(name, "humps", c, found, spread="two humps"))
    return claims


def _forecasts() -> list[Claim]:
    """Gradual curves on any ladder, from four rungs on; with runs that differ in skill and onset;
    losses, and through a partner. Of single shapes it is promised that intervals do not
    fail: those that hold whatever the shape hold more often than they say for the tamest."""
    rates = {"covered": FORECASTS, "outside the range": NEVER, "of no width": NEVER}
    rates["offered"] = NOTHING
    of_one_shape = rates | {"covered": Promise(low=0.9)}
    wide = replace(ANY_LADDER, shape=("logistic",), decades=(3.0, 5.0), position=(0.2, 1.2))
    shapes = {
        "line": ANY_LADDER,
        "power law to a ceiling": replace(ANY_LADDER, shape=("approach",), width=(1.4, 5.0)),
        "growing power": replace(ANY_LADDER, shape=("growth",), width=(1.05, 3.3)),
        "wide sigmoid": replace(wide, width=(1.0, 3.0)),
        "exact match": replace(
            ANY_LADDER, shape=("gompertz",), width=(2.2, 6.7), position=(0.2, 1.2)
        ),
        "chance, then a line": replace(ANY_LADDER, shape=("late line",), width=(1.25, 2.0)),
        "chance, then a softplus": replace(
            ANY_LADDER, shape=("late softplus",), width=(1.3, 2.5), decades=(3.0, 5.0)
        ),
        "rises with corners and tails": replace(
            wide, shape=(*LEVELS_OFF, "exponential", "square reversed", "cauchy"), width=(1.3, 3.3)
        ),
    }
    every = replace(
        ANY_LADDER, shape=("line", "approach", "growth", "logistic", "gompertz"), width=(1.5, 3.3)
    )
    conditions = {
        "any gradual curve": every,
        **{f"runs differ by {s:g}": replace(every, skill=s) for s in (0.02, 0.05)},
        **{f"onsets scatter by {s:g}": replace(every, onset=s) for s in (0.1, 0.2, 0.3)},
        "one run": replace(every, runs=(1,), skill=0.02),
        "through a partner, exact match": replace(MIRAGE, width=(1.0, 3.0), rungs=(8, 10, 12)),
        "through a partner that rises alike": replace(every, partner="same rise"),
    }
    return [
        *(Claim(f"forecast: {n}", "forecast", c, rates) for n, c in conditions.items()),
        Claim("forecast: loss", "loss forecast", ANY_LADDER, rates),
        *(Claim(f"forecast: {n}", "forecast", c, of_one_shape) for n, c in shapes.items()),
        Claim(
            "forecast: a rise that begins infinitely steep",
            "forecast",
            replace(wide, shape=("square root",), width=(1.3, 3.3)),
            dict.fromkeys(rates, NOTHING),
        ),
    ]


def _advice() -> Claim:
    """Abilities as they are brought: few runs, few items, some sharp, some wide."""
    brought = Condition(
        LEVELS_OFF,
        width=(0.1, 2.5),
        height=(0.1, 0.6),
        rungs=(6, 8, 10),
        decades=(3.0, 4.0),
        runs=(1, 2, 3),
        items=(100, 300, 1000),
        onset=0.1,
    )
    rates = {"followed, settles": Promise(low=0.7), "settled is promised": NOTHING}
    return Claim("advice", "advice", brought, rates)


def _others() -> list[Claim]:
    low = Condition(("level",), height=(0.041, 0.041), chance=(0.0,), runs=(1,), items=(1000,))
    rates = {"metric-made": Promise(low=0.95), "emergent": AT_MOST_5}
    smooth = Condition(
        ("line", "approach", "growth", "logistic"), width=(1.5, 2.5), height=(0.2, 0.7)
    )
    false = {"": Promise(high=0.05), "found": NOTHING}
    return [
        Claim("mirage: 8 rungs", "metric", MIRAGE, {"metric-made": NOTHING, "emergent": AT_MOST_5}),
        Claim("mirage: 16 rungs", "metric", replace(MIRAGE, rungs=(16,)), rates),
        Claim("false flat: 41 of 1,000 right, chance 0", "flat", low, {"": AT_MOST_5}),
        *(
            Claim(
                f"false discoveries: 900 smooth and 100 emergent, {name}",
                "discoveries",
                replace(smooth, skill=skill),
                false,
                share=1 / 400,
                correlation=correlation,
            )
            for name, skill, correlation in (
                ("independent", 0.0, 0.0),
                ("correlated", 0.02, 0.8),
            )
        ),
    ]


def _runs(count: int) -> str:
    return "one run" if count == 1 else f"{count} runs"


CLAIMS: tuple[Claim, ...] = (
    *_false_emergent(),
    *_power(),
    *_pairs(),
    *_seeds(),
    *_forecasts(),
    *_others(),
    _advice(),
)
"""every promise, and what is measured beside"""
