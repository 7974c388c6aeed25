"""Findings as JSON: out, back again, and refused where something is not as it should be."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from metric_kinds import LOGPROB, SHARE

from emergectl.analysis.examine import examine
from emergectl.analysis.findings import FINDINGS_VERSION, Findings, from_json
from emergectl.analysis.table import Table, TableRow
from emergectl.analysis.table_curves import curves_of
from emergectl.analysis.verdict import judge
from emergectl.errors import DataError


@pytest.fixture(scope="module")
def findings() -> Findings:
    """Of an ability that breaks, under two metrics, with two seeds a scale."""
    rng, rows = np.random.default_rng(0), []
    for k in range(7):
        for seed in "01":
            known = {"params": 10 ** (6 + k / 2), "seed": seed, "model": f"m{k}", "loss": 3 - k / 5}
            value = float(rng.binomial(300, 0.8 if k > 3 else 0.02)) / 300
            where = f"t.csv:{len(rows) + 2}"
            rows.append(
                TableRow(
                    "add", value, metric="em", n=300, chance=0, what=SHARE, where=where, **known
                )
            )
            value = -2 + 0.2 * k + 0.01 * float(rng.standard_normal())
            where = f"t.csv:{len(rows) + 2}"
            rows.append(TableRow("add", value, metric="lp", what=LOGPROB, where=where, **known))
    table = Table(rows)
    return examine(table, judge(curves_of(table, "params")), alpha=0.05)


def plain(findings: Findings) -> Any:
    return json.loads(json.dumps(findings.to_json(), allow_nan=False))


def test_what_goes_out_comes_back_equal(findings: Findings) -> None:
    assert from_json(plain(findings)) == findings


def test_what_had_no_continuous_metric_beside_it_comes_back_too() -> None:
    values = [0.01, 0.02, 0.0, 0.6, 0.8, 0.8]
    rows = [
        TableRow("add", v, metric="em", n=300, chance=0, what=SHARE, params=10 ** (6 + k / 2))
        for k, v in enumerate(values)
    ]
    table = Table(rows)
    findings = examine(table, judge(curves_of(table, "params")), alpha=0.05)
    assert from_json(plain(findings)) == findings


def test_the_form_has_a_version_and_the_keys_that_consumers_know(findings: Findings) -> None:
    data = plain(findings)
    assert data["format"] == FINDINGS_VERSION
    em = data["abilities"][0]
    assert (em["name"], em["verdict"]) == ("add/em", "metric-made")
    assert em["break"]["position"]["low"] < em["break"]["position"]["high"]
    assert "log_positions" not in em["break"]
    assert em["pair"]["metric"] == "lp"
    assert em["what"]["quantity"] == "share"
    assert em["measured"][0]["seeds"][0]["where"] == "t.csv:2"
    assert em["success"]["scales"][0]["seeds"] == 2


def with_break(data: Any, key: str, value: object) -> Any:
    data["abilities"][0]["break"][key] = value
    return data


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda d: {**d, "format": "emergectl.findings/99"}, "format is 'emergectl.findings/99'"),
        (lambda d: [d], "format is None"),
        (lambda d: {**d, "alpha": "0.05"}, "f.alpha: '0.05'; expected a number"),
        (lambda d: {**d, "colour": 1}, "no field 'colour'"),
        (lambda d: {k: v for k, v in d.items() if k != "lags"}, "lags is missing"),
        (lambda d: with_break(d, "onset", None), "abilities.0.break.onset"),
        (lambda d: with_break(d, "between", [1]), "expected 2 values"),
    ],
)
def test_what_is_not_as_it_should_be_is_named(findings: Findings, spoil: Any, said: str) -> None:
    with pytest.raises(DataError) as caught:
        from_json(spoil(plain(findings)), "f")
    assert said in str(caught.value)


def test_a_saved_file_is_made_into_the_same_page(findings: Findings, tmp_path: Path) -> None:
    from emergectl.cli.main import main

    saved = tmp_path / "saved.json"
    saved.write_text(json.dumps(findings.to_json()))
    assert main(["report", str(saved), "-o", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "add/em" in page
    assert "1 metric-made" in page
    saved.write_text(json.dumps(findings.to_json())[:-20])
    assert main(["report", str(saved), "-o", str(tmp_path / "page.html")]) == 2
