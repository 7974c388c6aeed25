"""How long three thousand curves take to be judged and described: `python …/bench_analysis.py`."""

from __future__ import annotations

import time

import numpy as np

from emergectl.analysis.curves import Curve, make_curve
from emergectl.analysis.examine import describe_finding
from emergectl.analysis.verdict import judge
from emergectl.store.measurements import MetricFacts

ABILITIES = 1000
ACCURACY = MetricFacts("discontinuous", "up", "share", least=0, most=1)
SCORE = MetricFacts("continuous", "up", "mean")
LOSS = MetricFacts("continuous", "down", "loss", likelihood="token")


def curves() -> list[Curve]:
    """Three metrics of each ability over ten scales; every third ability breaks."""
    rng = np.random.default_rng(0)
    x = np.geomspace(1e6, 1e9, 10)
    made = []
    for ability in range(ABILITIES):
        p = np.clip(np.sort(rng.uniform(0, 1, 10)), 0.01, 0.99)
        p = np.where(np.arange(10) < 5, 0.02, p) if ability % 3 == 0 else p
        named = {"task": f"t{ability}"}
        right = rng.binomial(500, p) / 500
        made.append(make_curve(x, right, what=ACCURACY, items=500, chance=0.0, **named))
        made.append(make_curve(x, p * 7, what=SCORE, metric="score", **named))
        made.append(make_curve(x, 3 - 2 * p, what=LOSS, metric="loss", **named))
    return made


if __name__ == "__main__":
    every = curves()
    began = time.perf_counter()
    findings = judge(every, workers=2)
    judged = time.perf_counter() - began
    for finding in findings:
        describe_finding(finding)
    whole = time.perf_counter() - began
    print(f"{len(every):,} curves: judged in {judged:.1f} s, described after {whole:.1f} s")
