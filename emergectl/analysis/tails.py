"""Power-law tails: the exponent, where the tail begins, and whether another law fits as well.

By the powerlaw package (Alstott et al. 2014), which follows Clauset, Shalizi and Newman 2009.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from emergectl.analysis.curves import Floats

ALTERNATIVES = ("lognormal", "exponential", "stretched_exponential")


@dataclass(frozen=True)
class Tail:
    """p(x) ∝ x^-alpha from `xmin` on; `against`: law → (normalised log-likelihood ratio, p).

    A positive ratio favours the power law; p says whether its sign can be trusted.
    """

    alpha: float
    standard_error: float
    xmin: float
    points: int
    against: dict[str, tuple[float, float]]


def fit_tail(values: Floats, *, discrete: bool) -> Tail:
    """The best power-law tail of positive values [points].

    Raises ValueError for fewer than 10 values or any that is not positive.
    """
    import powerlaw

    values = np.asarray(values, float)
    if len(values) < 10 or not (np.isfinite(values) & (values > 0)).all():
        raise ValueError("a tail needs 10 values at least, all positive")
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # It warns of every xmin that it tries and discards.
        fit = powerlaw.Fit(values, discrete=discrete, verbose=0)
        against = {
            law: tuple(
                map(float, fit.distribution_compare("power_law", law, normalized_ratio=True))
            )
            for law in ALTERNATIVES
        }
        return Tail(
            alpha=float(fit.power_law.alpha),
            standard_error=float(fit.power_law.sigma),
            xmin=float(fit.xmin),
            points=int((values >= fit.xmin).sum()),
            against={law: (ratio, p) for law, (ratio, p) in against.items()},
        )
