"""How it was found, as a paragraph to copy, and what to cite: made from the findings themselves."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from emergectl import __version__
from emergectl.analysis.convention import NARROW_SHARE
from emergectl.analysis.evidence import FEWEST_RUNGS
from emergectl.analysis.findings import AbilityFinding, Findings
from emergectl.analysis.numbers import decades_of, format_number, several, span
from emergectl.analysis.onset import HEIGHT_MARGIN
from emergectl.analysis.sharpness import ALONG_TRAINING, ONE_RUN_SCATTER

YEAR = 2026
OWN = """@software{{emergectl,
  title   = {{emergectl: the bench for emergent abilities of language models}},
  author  = {{{{The emergectl maintainers}}}},
  version = {{{version}}},
  year    = {{{year}}},
  license = {{Apache-2.0}}
}}"""
PAPERS = {
    "onset": """@article{schuirmann1987,
  author  = {Schuirmann, Donald J.},
  title   = {A comparison of the two one-sided tests procedure and the power approach for
             assessing the equivalence of average bioavailability},
  journal = {Journal of Pharmacokinetics and Biopharmaceutics},
  volume  = {15}, number = {6}, pages = {657--680}, year = {1987}, doi = {10.1007/BF01068419}
}
@article{berger1982,
  author  = {Berger, Roger L.},
  title   = {Multiparameter hypothesis testing and acceptance sampling},
  journal = {Technometrics},
  volume  = {24}, number = {4}, pages = {295--300}, year = {1982},
  doi     = {10.1080/00401706.1982.10487790}
}""",
    "sharpness": """@article{khintchine1938,
  author  = {Khintchine, Aleksandr Ya.},
  title   = {On unimodal distributions},
  journal = {Izvestiya Nauchno-Issledovatel'skogo Instituta Matematiki i Mekhaniki,
             Tomskii Gosudarstvennyi Universitet},
  volume  = {2}, pages = {1--7}, year = {1938}
}
@inproceedings{cox1961,
  author    = {Cox, D. R.},
  title     = {Tests of separate families of hypotheses},
  booktitle = {Proceedings of the Fourth Berkeley Symposium on Mathematical Statistics and
               Probability},
  volume    = {1}, pages = {105--123}, year = {1961}
}
@article{davies1977,
  author  = {Davies, Robert B.},
  title   = {Hypothesis testing when a nuisance parameter is present only under the alternative},
  journal = {Biometrika},
  volume  = {64}, number = {2}, pages = {247--254}, year = {1977}, doi = {10.1093/biomet/64.2.247}
}
@article{davies1987,
  author  = {Davies, Robert B.},
  title   = {Hypothesis testing when a nuisance parameter is present only under the alternatives},
  journal = {Biometrika},
  volume  = {74}, number = {1}, pages = {33--43}, year = {1987}, doi = {10.1093/biomet/74.1.33}
}
@article{hansen1996,
  author  = {Hansen, Bruce E.},
  title   = {Inference when a nuisance parameter is not identified under the null hypothesis},
  journal = {Econometrica},
  volume  = {64}, number = {2}, pages = {413--430}, year = {1996}, doi = {10.2307/2171789}
}""",
    "scatter": """@article{berger1994,
  author  = {Berger, Roger L. and Boos, Dennis D.},
  title   = {P values maximized over a confidence set for the nuisance parameter},
  journal = {Journal of the American Statistical Association},
  volume  = {89}, number = {427}, pages = {1012--1016}, year = {1994},
  doi     = {10.1080/01621459.1994.10476836}
}""",
    "noise": """@article{davidian1987,
  author  = {Davidian, Marie and Carroll, Raymond J.},
  title   = {Variance function estimation},
  journal = {Journal of the American Statistical Association},
  volume  = {82}, number = {400}, pages = {1079--1091}, year = {1987},
  doi     = {10.1080/01621459.1987.10478543}
}""",
    "metric": """@inproceedings{schaeffer2023,
  author    = {Schaeffer, Rylan and Miranda, Brando and Koyejo, Sanmi},
  title     = {Are emergent abilities of large language models a mirage?},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {36}, year = {2023}, eprint = {2304.15004}, archiveprefix = {arXiv}
}""",
    "seeds": """@misc{zhao2025,
  author = {Zhao, Rosie and Qin, Tian and Alvarez-Melis, David and Kakade, Sham and
            Saphra, Naomi},
  title  = {Random scaling of emergent capabilities},
  year   = {2025}, eprint = {2502.17356}, archiveprefix = {arXiv}
}""",
    "discoveries": """@article{benjamini1995,
  author  = {Benjamini, Yoav and Hochberg, Yosef},
  title   = {Controlling the false discovery rate: a practical and powerful approach to multiple
             testing},
  journal = {Journal of the Royal Statistical Society, Series B},
  volume  = {57}, number = {1}, pages = {289--300}, year = {1995},
  doi     = {10.1111/j.2517-6161.1995.tb02031.x}
}
@article{benjamini1997,
  author  = {Benjamini, Yoav and Hochberg, Yosef},
  title   = {Multiple hypotheses testing with weights},
  journal = {Scandinavian Journal of Statistics},
  volume  = {24}, number = {3}, pages = {407--418}, year = {1997}, doi = {10.1111/1467-9469.00072}
}""",
}
"""works whose methods a verdict uses, by what they are used for"""


def methods_paragraph(findings: Findings) -> str:
    """What was asked of how much, by which tests and conventions, and what came of it."""
    judged = findings.abilities
    return " ".join(
        [
            _material(findings),
            _noise(judged),
            f"With at least {FEWEST_RUNGS} scales, four claims were put to each.",
            "Onset: the scales below the rise are at chance (two one-sided tests with a margin of "
            f"{HEIGHT_MARGIN:.0%} of the ability's height; Schuirmann 1987) and the largest ones "
            "above it.",
            *_shortcuts(judged),
            _sharpness(findings),
            _metric(judged),
            "Surprise: what was measured at the furthest scale that is forecast from the scales "
            "below the onset lies outside the 95% prediction intervals of all forecasts (profile "
            "likelihood over all gradual curves that agree with those scales; Bjørnstad 1990); "
            "this enters no verdict.",
            "The p-value of several claims together is their largest (Berger 1982); false "
            f"discoveries over all abilities were held to {format_number(findings.alpha)}, the "
            "metrics of one ability weighing one together (Benjamini and Hochberg 1995, 1997).",
            f"Flat means within {format_number(findings.margin)} of chance, by two one-sided "
            "tests, with nothing significantly above it.",
            f"Verdicts: {_counts(findings)}.",
        ]
    )


def _shortcuts(judged: Sequence[AbilityFinding]) -> list[str]:
    """What chance was taken to be where a shortcut is better than guessing."""
    names = dict.fromkeys(a.onset.shortcut for a in judged if a.onset.shortcut)
    if not names:
        return []
    return [
        "Chance is the best of guessing and of shortcuts that need no ability, scored on the very "
        f"items ({'; '.join(names)}); it is the rise above that which was judged, what lies below "
        "being raised to it."
    ]


def bibtex_of_emergectl() -> str:
    """The entry of this version."""
    return OWN.format(version=__version__, year=YEAR)


def bibtex_of_papers(findings: Findings) -> str:
    """The entries of the works whose methods these findings used."""
    used = ["onset", "sharpness", "noise", "discoveries"]
    if any(ability.sharpness.scatter is not None for ability in findings.abilities):
        used.append("scatter")
    if any(ability.metric_claim.partner for ability in findings.abilities):
        used.append("metric")
    if any(ability.success is not None for ability in findings.abilities):
        used.append("seeds")
    return "\n".join(text for what, text in PAPERS.items() if what in used)


def _material(findings: Findings) -> str:
    judged = findings.abilities
    outputs = {(ability.group, ability.task) for ability in judged}
    scales = [scale for ability in judged for scale in ability.scales]
    counts = [len(ability.scales) for ability in judged]
    runs = [count for ability in judged for count in ability.seeds]
    items = [
        n / k
        for ability in judged
        for n, k in zip(ability.items, ability.seeds, strict=True)
        if n is not None
    ]
    answered = f", of {_range(items)} items each" if items else ", of unknown numbers of items"
    return (
        f"With emergectl {__version__} we asked of {several(len(judged), 'ability')} "
        f"({several(len(outputs), 'set')} of outputs) whether they emerge over {findings.over}, "
        f"from {span(min(scales), max(scales), scale=True)}: {several(sum(runs), 'measurement')} "
        f"at {_range(counts)} scales each, {_range(runs)} {'run' if max(runs) == 1 else 'runs'} a "
        f"scale{answered}."
    )


def _range(values: Sequence[float]) -> str:
    """`8`, or `3 to 10 (median 4)`."""
    low, high = min(values), max(values)
    if low == high:
        return f"{low:,.0f}"
    return f"{low:,.0f} to {high:,.0f} (median {median(values):,.0f})"


def _noise(judged: Sequence[AbilityFinding]) -> str:
    shares = sum(a.what.quantity == "share" and None not in a.items for a in judged)
    said = []
    if shares:
        said.append(
            "The noise of a share is that of its items, and wider where runs differ by more than "
            "items explain"
        )
    if shares < len(judged):
        said.append("that of other metrics was estimated from runs and from what fits leave")
    text = "; ".join(said) + " (Davidian and Carroll 1987)."
    return text[0].upper() + text[1:]


def _sharpness(findings: Findings) -> str:
    widths = sorted(
        {
            (a.sharpness.convention, a.sharpness.unit)
            for a in findings.abilities
            if a.sharpness.convention is not None
        }
    )
    if not widths:
        widths = [(findings.sharp_decades, "training FLOPs")]
    width = " or ".join(decades_of(w, unit) for w, unit in widths)
    said = (
        "Sharpness: the core of the rise, the shortest stretch with 80% of the rise that the "
        f"ladder shows, takes less than {width}. The null hypothesis holds every rise of one mode "
        "(a mixture of uniforms; Khintchine 1938) with a core as long or longer, tested at its "
        "least favourable member by how much worse the best such rise fits than the best of any "
        "width (Cox 1961; Davies 1977, 1987; Hansen 1996); p is the tail of an even mixture of "
        "chi-squares of 1 and 2 degrees of freedom, whose error rates simulation has measured. "
        "A rise is not sharp where a core of "
        f"{NARROW_SHARE:.0%} of the convention or less, widened by the scatter of onsets, is "
        "rejected as well."
    )
    if findings.axis in ALONG_TRAINING:
        return said
    if any(count > 1 for a in findings.abilities for count in a.seeds):
        said += " How far onsets scatter from run to run was taken from the runs of a scale"
        alone = f"; with one run a scale, {format_number(ONE_RUN_SCATTER)} decades were assumed"
    else:
        said += f" Onsets were taken to scatter by {format_number(ONE_RUN_SCATTER)} decades"
        alone = " from run to run"
    return f"{said}{alone} (Berger and Boos 1994)."


def _metric(judged: Sequence[AbilityFinding]) -> str:
    beside = sum(bool(a.metric_claim.partner) for a in judged)
    without = sum(a.what.kind == "discontinuous" and not a.metric_claim.partner for a in judged)
    said = (
        "Metric: a continuous metric of the same outputs rises as sharply, by the same test "
        "(Schaeffer et al. 2023)"
    )
    if without:
        said += (
            f"; {without:,} of {beside + without:,} discontinuous metrics had none, which their "
            "verdicts say"
        )
    return said + "."


def _counts(findings: Findings) -> str:
    return ", ".join(f"{count} {word}" for word, count in findings.counts.items())
