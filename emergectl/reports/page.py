"""The report as a page, as Markdown and as JSON: what was found, in full, with its origin.

One file that needs nothing else: no scripts, no network, figures inline. Everything in it came from
models or from somebody's files, so the template escapes by itself (jinja2's autoescape), control
characters are taken out of every text, links are relative paths and nothing else, and the page
forbids itself all active content.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from math import log10
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from emergectl import __version__
from emergectl.analysis.breaks import Interval
from emergectl.analysis.findings import AbilityFinding, Findings, axis_in_words
from emergectl.analysis.numbers import NONE, format_number, p_value, short
from emergectl.analysis.plain import as_plain
from emergectl.analysis.table import TableRow
from emergectl.reports.costs import (
    ModelCost,
    RunCost,
    Totals,
    file_of,
    run_costs,
    runs_of,
    table_costs,
    totals,
)
from emergectl.reports.inline import inline_svg
from emergectl.reports.methods import bibtex_of_emergectl, bibtex_of_papers, methods_paragraph
from emergectl.reports.numbered import NumberedFigure, number_figures, sections, strongest_first
from emergectl.reports.panels import printable_line
from emergectl.reports.words import (
    CURVES,
    DEFINITIONS,
    MARKS,
    claims_of,
    forecast_words,
    pair_words,
    sentence,
)

TEMPLATES = Path(__file__).parent / "templates"
REPORT_VERSION = "emergectl.report/1"


@dataclass(frozen=True)
class Report:
    """What the page shows: what was found, where it came from, what it cost, how to repeat it.

    `sources`: the files of a table; `runs`: what the runs behind it cost; `models`: of a table that
    is not of runs.
    """

    title: str
    made: str
    version: str
    commands: tuple[str, ...]
    sources: tuple[str, ...]
    runs: tuple[RunCost, ...]
    models: tuple[ModelCost, ...]
    totals: Totals
    findings: Findings

    def to_json(self) -> dict[str, Any]:
        """Plain data with the version of its form; the findings with theirs."""
        return {"format": REPORT_VERSION, **as_plain(self), "findings": self.findings.to_json()}


def make_report(
    findings: Findings, rows: Sequence[TableRow], *, title: str, commands: Sequence[str]
) -> Report:
    """What was found, with what the runs or models behind it cost.

    rows: of the table that was examined; without them (of findings that were saved) only the
    measurements shown in full tell where they came from.
    """
    shown = (seed for a in findings.abilities for rung in a.measured for seed in rung.seeds)
    origins = [row.where for row in rows] or [seed.where for seed in shown]
    runs = run_costs(runs_of(origins))
    return Report(
        title=title,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=__version__,
        commands=tuple(commands),
        sources=() if runs else tuple(sorted({str(file_of(where)) for where in origins})),
        runs=runs,
        models=() if runs else table_costs(rows),
        totals=totals(runs),
        findings=findings,
    )


def html_page(report: Report, folder: Path, *, curves: Sequence[bytes] = ()) -> str:
    """The page; links are relative to `folder`, where it will stand.

    curves: pictures of whole runs (SVG) to open with.
    """
    findings = report.findings
    abilities = findings.abilities
    figures = number_figures(findings, curves)
    template = _environment(_linker(folder)).get_template("report.html")
    return template.render(
        **_said(report),
        summary=figures[0],
        runs=[figure for figure in figures if figure.kind == "run"],
        figures=[[f for f in figures if f.ability == i] for i in range(len(abilities))],
        svg=partial(_inline, findings),
        sparks=[_spark(ability) for ability in abilities],
        bibtex=(bibtex_of_emergectl(), bibtex_of_papers(findings)),
    )


def markdown_page(report: Report, folder: Path) -> str:
    """The report's tables and sentences as Markdown, without figures."""
    template = _environment(_linker(folder), markdown=True).get_template("report.md")
    return template.render(**_said(report))


def _said(report: Report) -> dict[str, Any]:
    """What both forms of the page say."""
    findings = report.findings
    return {
        "report": report,
        "findings": findings,
        "order": strongest_first(findings),
        "sections": sections(findings),
        "shown": sum(bool(ability.measured) for ability in findings.abilities),
        "sentences": [sentence(ability, findings) for ability in findings.abilities],
        "claims": [claims_of(ability, findings.alpha) for ability in findings.abilities],
        "forecast_words": forecast_words,
        "pair_words": pair_words,
        "definitions": DEFINITIONS,
        "marks": MARKS,
        "curves": CURVES,
        "methods": methods_paragraph(findings),
        "axis_words": partial(axis_in_words, parameters=findings.parameters),
    }


def _inline(findings: Findings, figure: NumberedFigure, *, narrow: bool = False) -> Markup:
    """A numbered figure as it stands in the page."""
    what = "summary of all verdicts" if figure.kind == "summary" else "the run over its steps"
    if figure.ability is not None:
        ability = findings.abilities[figure.ability]
        what = f"{ability.name}: {figure.kind} over {findings.over}; verdict {ability.verdict}"
    content = figure.narrow if narrow and figure.narrow is not None else figure.svg
    prefix = f"f{figure.number}{'n' if narrow else ''}-"
    return inline_svg(content, prefix=prefix, label=f"{figure.label}, {what}")


def _environment(link: Callable[[str], Markup], *, markdown: bool = False) -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    def finish(value: object) -> object:
        if isinstance(value, Markup) or not isinstance(value, str):
            return value
        return markdown_text(value) if markdown else printable_line(value)

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=not markdown,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=finish,
    )
    environment.filters |= {
        "scale": lambda value: NONE if value is None else short(value),
        "num": format_number,
        "p": p_value,
        "time": duration,
        "link": link,
        "count": lambda value: NONE if value is None else f"{value:,.0f}",
        "interval": _interval,
    }
    return environment


def _linker(folder: Path) -> Callable[[str], Markup]:
    """`file:line` as a link relative to the page's folder; the text alone without file."""

    def link(where: str, text: str | None = None) -> Markup:
        shown = printable_line(text if text is not None else Path(where).name)
        path = file_of(where)
        if not where or not path.exists():
            return Markup("{}").format(shown)
        target = quote(os.path.relpath(path.absolute(), folder.absolute()))
        # A path in this very folder may begin like a scheme; a leading ./ says that it is none.
        target = target if target.startswith(".") else f"./{target}"
        return Markup('<a href="{}" title="{}">{}</a>').format(target, printable_line(where), shown)

    return link


# An underscore within a word, as in exact_match, means nothing; nor does a colon, but between two
# others (an emoji's name) or where an address begins; nor "<" before a blank.
_MARKS = re.compile(
    r"""[>&"'`*\[\]|#!~$\\@]|<(?!\s)|(?<![^\W_])_|_(?![^\W_])|:(?=[^\s\w]|[^\s:]*:)"""
    r"""|(?<=mailto):|(?<=xmpp):|(?<=www)\."""
)


def markdown_text(text: str) -> Markup:
    """A text that means nothing to Markdown: HTML escaped, marks that mean something too."""
    return Markup(_MARKS.sub(lambda mark: f"&#{ord(mark[0])};", printable_line(text)))


def duration(seconds: float | None) -> str:
    """Seconds as hours, minutes and seconds."""
    if seconds is None:
        return NONE
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.0f} s"


def _interval(value: Interval | None, kind: str = "num") -> str:
    if value is None:
        return NONE
    show = short if kind == "scale" else format_number
    return f"{show(value.value)} ({show(value.low)} to {show(value.high)})"


def _spark(ability: AbilityFinding) -> Markup:
    """A curve in a line of text: 72 × 18, from lowest to highest."""
    xs, ys = [log10(scale) for scale in ability.scales], ability.values
    width = (xs[-1] - xs[0]) or 1.0
    low, high = min(ys), max(ys)
    height = (high - low) or 1.0
    points = " ".join(
        f"{2 + 68 * (x - xs[0]) / width:.1f},{16 - 14 * (y - low) / height:.1f}"
        for x, y in zip(xs, ys, strict=True)
    )
    return Markup(
        '<svg class="spark" viewBox="0 0 72 18" aria-hidden="true">'
        '<polyline points="{}"></polyline></svg>'
    ).format(points)
