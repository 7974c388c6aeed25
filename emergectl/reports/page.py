"""The report as a page, as Markdown and as JSON: what was found, in full, with where it stands.

One file that needs nothing else: no scripts, no network, figures inline. Everything in it came from
models or from somebody's files, so the template escapes by itself (jinja2's autoescape), control
characters are taken out of every text, links are relative paths and nothing else, and the page
forbids itself all active content.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from emergectl import __version__
from emergectl.analysis.table import Table
from emergectl.reports.costs import file_of, run_costs, runs_of, table_costs, totals
from emergectl.reports.figures import figures_of, render, short
from emergectl.reports.inline import inline_svg
from emergectl.reports.panels import one_line

TEMPLATES = Path(__file__).parent / "templates"
AXIS_WORDS = {"params": "parameters", "flops": "FLOPs", "step": "steps"}
DEFINITIONS = {
    "emergent": "at chance at small scales, above it at large ones, and no smooth curve fits as "
    "well: all three shown, with false discoveries controlled over all abilities",
    "smooth": "it rises, needs no break, and a rise within 0.3 decades is rejected",
    "flat": "the largest scales are within the margin of chance",
    "undetermined": "none of these is shown; what would settle it is said",
}


def describe_report(
    table: Table,
    examined: dict[str, Any],
    *,
    title: str,
    commands: Sequence[str],
) -> dict[str, Any]:
    """What the page shows, as plain data: what was examined, where it came from, what it cost."""
    runs = runs_of(table.rows)
    costs = run_costs(runs) if runs else table_costs(table.rows)
    verdicts = [ability["verdict"] for ability in examined["abilities"]]
    return {
        "title": title,
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "version": __version__,
        "commands": list(commands),
        "counts": {word: verdicts.count(word) for word in DEFINITIONS if word in verdicts},
        "left_out": [vars(skipped) for skipped in table.skipped],
        "sources": sorted({str(file_of(row.where)) for row in table.rows}) if not runs else [],
        "costs": costs,
        "totals": totals(costs),
        "of_runs": bool(runs),
        **examined,
    }


def html_page(report: dict[str, Any], folder: Path, *, curves: Sequence[bytes] = ()) -> str:
    """The page; links are relative to `folder`, where it will stand.

    curves: pictures of whole runs (SVG) to open with.
    """
    link = _linker(folder)
    figures = {
        index: {
            kind: inline_svg(
                render(drawing, "svg"), prefix=f"f{index}{kind[0]}-", label=_alt(ability, kind)
            )
            for kind, drawing in figures_of(ability).items()
        }
        for index, ability in enumerate(report["abilities"])
    }
    pictures = [
        inline_svg(picture, prefix=f"r{index}-", label="curves of the run over its steps")
        for index, picture in enumerate(curves)
    ]
    template = _environment(link).get_template("report.html")
    return template.render(
        **report,
        figures=figures,
        pictures=pictures,
        order=_strongest_first(report["abilities"]),
        sections=_sections(report["abilities"]),
        sparks=[_spark(ability) for ability in report["abilities"]],
        shown=sum("measured" in ability for ability in report["abilities"]),
        definitions=DEFINITIONS,
    )


def markdown_page(report: dict[str, Any], folder: Path) -> str:
    """The report's tables and sentences as Markdown, without figures."""
    environment = _environment(_linker(folder), markdown=True)
    template = environment.get_template("report.md")
    return template.render(**report, definitions=DEFINITIONS)


def _strongest_first(abilities: Sequence[dict[str, Any]]) -> list[int]:
    """The rows of the table of verdicts: by verdict, as `DEFINITIONS` has them, then by name."""
    words = list(DEFINITIONS)
    return sorted(range(len(abilities)), key=lambda index: words.index(abilities[index]["verdict"]))


def _sections(abilities: Sequence[dict[str, Any]]) -> list[tuple[str, list[int]]]:
    """The abilities that are shown, metrics of the same outputs together, strongest first."""
    together: dict[str, list[int]] = {}
    for index, ability in enumerate(abilities):
        if ability.get("measured"):
            name = "/".join(part for part in (ability["group"], ability["task"]) if part)
            together.setdefault(name, []).append(index)
    words = list(DEFINITIONS)

    def strength(indices: list[int]) -> int:
        return min(words.index(abilities[index]["verdict"]) for index in indices)

    return sorted(together.items(), key=lambda item: strength(item[1]))


def _environment(link: Callable[[str], Markup], *, markdown: bool = False) -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    def finish(value: object) -> object:
        if isinstance(value, Markup) or not isinstance(value, str):
            return value
        return markdown_text(value) if markdown else one_line(value)

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=not markdown,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=finish,
    )
    environment.filters |= {
        "scale": lambda value: "–" if value is None else short(value),
        "num": number,
        "p": p_value,
        "time": duration,
        "link": link,
        "axis": lambda axis: AXIS_WORDS.get(axis, axis),
        "count": lambda value: "–" if value is None else f"{value:,.0f}",
        "interval": _interval,
    }
    return environment


def _linker(folder: Path) -> Callable[[str], Markup]:
    """A place `file:line` as a link relative to the page's folder; the text alone without file."""

    def link(where: str, text: str | None = None) -> Markup:
        shown = one_line(text if text is not None else Path(where).name)
        path = file_of(where)
        if not where or not path.exists():
            return Markup("{}").format(shown)
        target = quote(os.path.relpath(path.absolute(), folder.absolute()))
        # A path in this very folder may begin like a scheme; a leading ./ says that it is none.
        target = target if target.startswith(".") else f"./{target}"
        return Markup('<a href="{}" title="{}">{}</a>').format(target, one_line(where), shown)

    return link


# An underscore within a word, as in exact_match, and the colon behind one mean nothing.
_MARKS = re.compile(r"""[<>&"'`*\[\]|#!~$\\@]|(?<![^\W_])_|_(?![^\W_])|:(?=\S)""")


def markdown_text(text: str) -> Markup:
    """A text that means nothing to Markdown: HTML escaped, marks that mean something too."""
    return Markup(_MARKS.sub(lambda mark: f"&#{ord(mark[0])};", one_line(text)))


def number(value: float | None, digits: int = 3) -> str:
    """A number as one reads it; a dash where there is none."""
    if value is None or isinstance(value, str):
        return "–"
    if abs(value) >= 1e5:
        return short(value) if value > 0 else f"{value:.{digits}g}"
    return f"{value:.{digits}g}".replace("-", "−")


def p_value(value: float | None) -> str:
    """A p-value: two digits, and below a ten-thousandth only that."""
    if value is None:
        return "–"
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def duration(seconds: float | None) -> str:
    """Seconds as hours, minutes and seconds."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.0f} s"


def _interval(value: dict[str, float] | None, kind: str = "num") -> str:
    if value is None:
        return "–"
    show = short if kind == "scale" else number
    return f"{show(value['value'])} ({show(value['low'])} to {show(value['high'])})"


def _alt(ability: dict[str, Any], kind: str) -> str:
    return f"{ability['name']}: {kind} over {ability['axis']}; verdict {ability['verdict']}"


def _spark(ability: dict[str, Any]) -> Markup:
    """A curve in a line of text: 72 × 18, from lowest to highest."""
    from math import log10

    xs = [log10(scale) for scale in ability["scales"]]
    ys = ability["values"]
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
