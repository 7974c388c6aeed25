"""Group against group: differences as scipy has them, what they are over, and whose is better."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from emergectl.analysis.compare import Comparison, Difference, Group, compare_groups, groups_in
from emergectl.analysis.table import Table, TableRow
from emergectl.cli.main import main
from emergectl.store.measurements import MetricFacts

RNG = np.random.default_rng(0)
SHARE = MetricFacts("discontinuous", "up", "share", least=0, most=1)
LOSS = MetricFacts("continuous", "down", "loss", likelihood="token")
PERPLEXITY = MetricFacts("continuous", "down", "mean", scale="log")


def row(
    value: float,
    *,
    params: float = 1e6,
    seed: object = "",
    n: float | None = None,
    what: MetricFacts = SHARE,
    task: str = "t",
    metric: str = "acc",
) -> TableRow:
    return TableRow(task, value, metric, seed=str(seed), params=params, n=n, what=what)


def compared(one: list[TableRow], two: list[TableRow], **options: object) -> Comparison:
    groups = [Group("base", Table(one)), Group("other", Table(two))]
    return compare_groups(groups, "params", **options)  # type: ignore[arg-type]


def seeds(values: np.ndarray, first: int = 0) -> list[TableRow]:
    return [row(value, seed=seed) for seed, value in enumerate(values, start=first)]


def only(one: list[TableRow], two: list[TableRow], **options: object) -> Difference:
    (found,) = compared(one, two, **options).differences
    return found


def test_seeds_that_both_have_are_paired_as_by_student() -> None:
    a, b = RNG.normal(0.5, 0.05, 6), RNG.normal(0.6, 0.05, 6)
    found = only(
        [row(v, seed=s) for s, v in enumerate(a)], [row(v, seed=s) for s, v in enumerate(b)]
    )
    told = stats.ttest_rel(b, a)
    interval = told.confidence_interval()
    assert (found.over, found.runs) == ("runs", (6, 6))
    assert found.p == pytest.approx(told.pvalue)
    assert (found.low, found.high) == (pytest.approx(interval.low), pytest.approx(interval.high))


def test_other_seeds_are_compared_as_by_welch() -> None:
    a, b = RNG.normal(0.5, 0.05, 4), RNG.normal(0.6, 0.01, 7)
    ours = only(
        [row(v, seed=s) for s, v in enumerate(a)], [row(v, seed=9 + s) for s, v in enumerate(b)]
    )
    assert ours.p == pytest.approx(stats.ttest_ind(b, a, equal_var=False).pvalue)


def test_one_run_a_scale_is_compared_over_scales_and_two_runs_tell_nothing() -> None:
    a, b = RNG.uniform(0.2, 0.4, 5), RNG.uniform(0.3, 0.5, 5)
    one, two = ([row(v, params=10.0**k) for k, v in enumerate(side)] for side in (a, b))
    found = only(one, two)
    assert (found.over, found.places) == ("scales", 5)
    assert found.p == pytest.approx(stats.ttest_rel(b, a).pvalue)
    alone = only(one[:2], two[:2])
    assert (alone.low, alone.p, alone.over, alone.better) == (None, None, "", "")


def test_shares_of_counted_items_are_those_of_agresti_and_caffo() -> None:
    found = only([row(0.30, n=100)], [row(0.45, n=100)])
    p, q = 31 / 102, 46 / 102
    half = 1.96 * math.sqrt((p * (1 - p) + q * (1 - q)) / 102)
    assert found.over == "items"
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=1e-3)  # type: ignore[operator]


def items_of(values: dict[int, np.ndarray]) -> object:
    """Of each row (known by its value) the values of its items."""
    return lambda row: {str(i): float(v) for i, v in enumerate(values[id(row)])}


def test_the_same_items_are_paired_and_those_that_one_lacks_are_left_out() -> None:
    a, b = RNG.normal(size=40), RNG.normal(0.3, 1, size=40)
    one, two = row(a.mean(), what=LOSS), row(b.mean(), what=LOSS)
    answers = {id(one): a, id(two): b[:30]}
    found = only([one], [two], items_of=items_of(answers))
    assert (found.over, found.items) == ("items", 30)
    assert found.p == pytest.approx(stats.ttest_rel(b[:30], a[:30]).pvalue)
    assert found.difference == pytest.approx((b - a)[:30].mean())


def test_right_and_wrong_answers_have_agresti_and_mins_interval() -> None:
    a, b = np.repeat([1.0, 0, 1, 0], [40, 10, 5, 45]), np.repeat([1.0, 1, 0, 0], [40, 10, 5, 45])
    one, two = row(a.mean()), row(b.mean())
    found = only([one], [two], items_of=items_of({id(one): a, id(two): b}))
    variance = (16 - 25 / 102) / 102**2  # 10 gained, 5 lost, a half more in each of four cells
    assert (found.high - found.difference) / stats.t.ppf(0.975, 99) == pytest.approx(  # type: ignore[operator]
        math.sqrt(variance)
    )
    assert found.p == pytest.approx(stats.binomtest(5, 15).pvalue, abs=0.1)


def test_noise_of_runs_and_of_items_both_count() -> None:
    of_items, of_runs = 0.3 * RNG.normal(size=200), 0.05 * RNG.normal(size=8)
    rows: list[list[TableRow]] = [[], []]
    answers = {}
    for seed, shift in enumerate(of_runs):
        for side, effect in enumerate((0.0, 1.0)):
            values = effect * (0.2 + of_items + shift) + 0.1 * RNG.normal(size=200)
            rows[side].append(row(values.mean(), seed=seed, what=LOSS))
            answers[id(rows[side][-1])] = values
    found = only(*rows, items_of=items_of(answers))
    deviation = math.sqrt(of_items.var(ddof=1) / 200 + of_runs.var(ddof=1) / 8)
    assert found.over == "runs and items"
    assert found.p is not None
    half = (found.high or 0) - found.difference
    assert deviation * 1.96 < half < deviation * 3


def test_an_ability_of_several_metrics_counts_once_among_all() -> None:
    def group(shift: float) -> list[TableRow]:
        rows = []
        for task, metrics, tilt in (("a", "12345", 0.02), ("b", "1", 0.02), ("c", "1", 0.3)):
            for seed in range(3):
                value = 0.5 + shift * (seed - 1 + 0.02 / tilt)
                rows += [row(value, seed=seed, task=task, metric=m) for m in metrics]
        return rows

    found = compared(group(0.0), group(0.01)).differences
    p = {one.task: one.p or 0 for one in found}
    q = {one.task: one.q for one in found}
    # By hand: three abilities; p(a) = p(b) are the two smallest of three, c the third.
    assert p["a"] == pytest.approx(p["b"])
    assert q["b"] == pytest.approx(min(3 / 2 * p["a"], p["c"]))
    assert q["a"] == pytest.approx(q["b"])


def test_whose_is_better_goes_by_the_metrics_direction_and_logs_are_ratios() -> None:
    low = [row(v, seed=s, what=PERPLEXITY) for s, v in enumerate((10.0, 10.1, 9.9))]
    high = [row(2 * v, seed=s, what=PERPLEXITY) for s, v in enumerate((10.0, 10.1, 9.95))]
    found = only(low, high)
    assert found.ratio
    assert found.difference == pytest.approx(2, rel=0.01)
    assert found.better == "base"
    assert only(high, low).better == "other"


def test_what_has_no_partner_is_said() -> None:
    one = [row(0.1, params=1e6), row(0.2, params=1e7), row(0.1, task="u")]
    found = compared(one, [row(0.3, params=1e6)])
    assert found.left_out == (
        "base and other do not both have models at 1e+07",
        "only in base: u/acc",
    )
    with pytest.raises(ValueError, match="nothing to compare"):
        compared(one[1:2], [row(0.3)])


def test_rises_of_two_groups_are_a_known_distance_apart() -> None:
    def ladder(place: float) -> list[TableRow]:
        x = np.linspace(5, 9, 9)
        p = 0.8 / (1 + np.exp(-(x - place) / 0.08))
        return [
            row(round(q * 400) / 400, params=10**k, n=400, seed=s)
            for k, q in zip(x, p, strict=True)
            for s in (0, 1)
        ]

    later = only(ladder(6.4), ladder(7.4)).later
    assert later is not None
    assert later.low < 1 < later.high
    assert later.high - later.low < 1


def test_one_table_is_taken_apart_by_a_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["task,accuracy,params,kind,seed"]
    lines += [f"t,{v},1e6,{k},{s}" for k, v, s in [("base", 0.2, 0), ("tuned", 0.5, 0)]]
    lines += [f"t,{v},1e6,{k},{s}" for k, v, s in [("base", 0.21, 1), ("tuned", 0.52, 1)]]
    file = tmp_path / "t.csv"
    file.write_text("\n".join(lines) + "\n")
    command = ["analyze", "compare", str(file), "--value", "accuracy"]
    options = ["--group", "kind", "--baseline", "tuned", "--json"]
    assert main([*command, *options]) == 0
    (found,) = json.loads(capsys.readouterr().out)["differences"]
    assert (found["baseline"], found["group"]) == ("tuned", "base")
    assert found["difference"] == pytest.approx(-0.305)
    assert main(command) == 2
    assert "--group" in capsys.readouterr().err
    assert main([*command, "--group", "kind", "--baseline", "none"]) == 2
    assert "base, tuned" in capsys.readouterr().err
    groups = groups_in(Table([row(0.1), row(0.2)]))
    assert [group.name for group in groups] == [""]
