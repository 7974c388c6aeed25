"""The figures of a report in their order, numbered, with captions that a paper can take over.

Page and `--figures` number alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from emergectl.analysis.findings import AbilityFinding, Findings
from emergectl.analysis.verdict import VERDICTS
from emergectl.errors import RequestError
from emergectl.reports.captions import CAPTIONS, RUN_CAPTION, summary_caption
from emergectl.reports.figures import FIGURE_FORMATS, SIZE_INCHES, Drawing, draw_figure, figures_of
from emergectl.reports.panels import printable_line
from emergectl.reports.summary import NARROW, WIDE, draw_summary, summary_size
from emergectl.store.atomic import write_bytes, write_text

Kind = Literal["summary", "run", "curve", "seeds", "forecast"]


@dataclass(frozen=True)
class NumberedFigure:
    """A figure with its number and caption. `ability`: its index in the findings; None: of all.
    `svg` is what is drawn, and `narrow` the same for a phone, of the summary. `drawing` draws it in
    other formats, `size` inches; None of a run's picture, which is made elsewhere."""

    number: int
    kind: Kind
    ability: int | None
    caption: str
    svg: bytes
    narrow: bytes | None = None
    drawing: Drawing | None = None
    size: tuple[float, float] = SIZE_INCHES

    @property
    def label(self) -> str:
        """`Figure 3`."""
        return f"Figure {self.number}"


def strongest_first(findings: Findings) -> list[int]:
    """The abilities by verdict, then as they come."""
    return sorted(range(len(findings.abilities)), key=lambda i: _strength(findings.abilities[i]))


def sections(findings: Findings) -> list[tuple[str, list[int]]]:
    """The abilities that are shown, metrics of the same outputs together, strongest first."""
    abilities = findings.abilities
    together: dict[str, list[int]] = {}
    for index, ability in enumerate(abilities):
        if ability.measured:
            name = "/".join(part for part in (ability.group, ability.task) if part)
            together.setdefault(name, []).append(index)
    return sorted(together.items(), key=lambda item: min(_strength(abilities[i]) for i in item[1]))


def number_figures(findings: Findings, pictures: Sequence[bytes] = ()) -> list[NumberedFigure]:
    """All figures in the order of the page: the summary, the runs', then ability by ability.

    pictures: whole runs over their steps, as SVG.
    """
    order = strongest_first(findings)
    count = len(order)
    drawing, size = draw_summary(findings, order, WIDE), summary_size(count, WIDE)
    narrow = draw_figure(draw_summary(findings, order, NARROW), "svg", summary_size(count, NARROW))
    wide, caption = draw_figure(drawing, "svg", size), summary_caption(findings)
    found = [NumberedFigure(1, "summary", None, caption, wide, narrow, drawing, size)]
    found += [
        NumberedFigure(number, "run", None, RUN_CAPTION, picture)
        for number, picture in enumerate(pictures, 2)
    ]
    for _, indices in sections(findings):
        for index in indices:
            ability = findings.abilities[index]
            for kind, drawing in figures_of(ability, findings).items():
                number, caption = len(found) + 1, CAPTIONS[kind](ability, findings)
                svg = draw_figure(drawing, "svg")
                found.append(NumberedFigure(number, kind, index, caption, svg, drawing=drawing))
    return found


def write_figures(findings: Findings, pictures: Sequence[bytes], folder: Path) -> list[Path]:
    """Write every figure that is drawn from findings as SVG, PNG and PDF, and `captions.md`.

    Numbers and captions are those of the page. Returns the figures' files.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"{folder}: cannot be made ({error.strerror})") from None
    written, captions = [], []
    for figure in number_figures(findings, pictures):
        if figure.drawing is None:
            continue
        name = "" if figure.ability is None else _file_name(findings.abilities[figure.ability].name)
        stem = "-".join(part for part in (f"figure-{figure.number:03d}", name, figure.kind) if part)
        for format_ in FIGURE_FORMATS:
            path = folder / f"{stem}.{format_}"
            write_bytes(path, draw_figure(figure.drawing, format_, figure.size))
            written.append(path)
        captions.append(f"**{figure.label}** (`{stem}`). {printable_line(figure.caption)}\n")
    write_text(folder / "captions.md", "\n".join(captions))
    return written


def _strength(ability: AbilityFinding) -> int:
    return VERDICTS.index(ability.verdict)


def _file_name(name: str) -> str:
    """A name of an ability as part of a file's: letters and digits of any script, and dashes."""
    kept = "".join(c if c.isalnum() else "-" for c in name)
    return "-".join(part for part in kept.split("-") if part)[:80] or "ability"
