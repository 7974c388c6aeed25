"""`emergectl report`: verdicts, curves, seeds, forecasts and costs, as a page to look at."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from emergectl.cli.output import clean, print_json, say
from emergectl.cli.tables import (
    TableSource,
    axis_of,
    is_sweep,
    progress,
    read_source,
    reads_tables,
    tell,
)
from emergectl.errors import DataError, RequestError

if TYPE_CHECKING:
    from emergectl.analysis.findings import Findings
    from emergectl.analysis.table import TableRow
    from emergectl.reports.page import Report


@reads_tables
def report(
    source: TableSource,
    format_: Annotated[
        Literal["html", "md", "json"], typer.Option("--format", help="What to make.")
    ] = "html",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write there (html: default in the run's or sweep's report/, of a table "
            "NAME-report.html here; md, json: default stdout).",
        ),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Also write every figure there, as SVG, PNG and PDF."),
    ] = None,
    alpha: Annotated[
        float, typer.Option(min=1e-6, max=0.5, help="False discoveries among emergent verdicts.")
    ] = 0.05,
    margin: Annotated[
        float, typer.Option(min=1e-6, max=0.5, help="How near to chance a rate is flat.")
    ] = 0.05,
    sharp: Annotated[
        float,
        typer.Option(
            min=0.01, max=10, help="Decades of training compute below which a rise is sharp."
        ),
    ] = 1.0,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
) -> None:
    """Make the page of a sweep, a run or a table: every verdict, and all that it stands on.

    One HTML file that needs nothing else. Links lead to the files that the numbers came from. What
    `analyze emergence --json` printed, saved to a file, is shown as it stands.
    """
    from emergectl.reports.page import html_page, make_report, markdown_page

    target = output or (_default_place(source) if format_ == "html" else None)
    if target is not None and not target.parent.is_dir():
        if output is not None:
            raise RequestError(f"{target}: there is no folder {target.parent}")
        target.parent.mkdir(parents=True)
    saved = _saved(source)
    findings, rows = (saved, []) if saved else _examined(source, alpha, margin, sharp, workers)
    commands = _commands(source, alpha, margin, sharp)
    made = make_report(findings, rows, title=_title(source), commands=commands)
    pictures = _run_pictures(source)
    if figures is not None:
        _write_figures(findings, pictures, figures)
    if format_ == "json":
        _deliver_json(made, target)
        return
    folder = target.parent if target is not None else Path()
    text = (
        html_page(made, folder, curves=pictures)
        if format_ == "html"
        else markdown_page(made, folder)
    )
    if target is None:
        print(clean(text), end="")
        return
    _write(target, text)


def _saved(source: TableSource) -> Findings | None:
    """Findings that were saved as JSON; None where the source is anything else."""
    from emergectl.analysis.findings import FORMAT, from_json

    path = Path(source.names[0])
    if len(source.names) > 1 or path.suffix.lower() != ".json" or not path.is_file():
        return None
    text = path.read_text(encoding="utf-8", errors="replace")
    if f'"{FORMAT}/' not in text[:200]:
        return None
    try:
        return from_json(json.loads(text), str(path))
    except ValueError as error:
        raise DataError(f"{path}:1: not JSON ({error})") from None


def _examined(
    source: TableSource, alpha: float, margin: float, sharp: float, workers: int
) -> tuple[Findings, list[TableRow]]:
    """What is found in a source, and the rows of its table."""
    from emergectl.analysis.examine import examine
    from emergectl.analysis.table_curves import curves_of
    from emergectl.analysis.verdict import judge

    table = read_source(source)
    curves = curves_of(table, axis_of(source, table))
    tell(table)
    if not curves:
        raise RequestError("no row has a value on the axis; name another with --x")
    conventions: dict[str, Any] = {"alpha": alpha, "margin": margin, "sharp_decades": sharp}
    told = progress("judged")
    judged = judge(curves, **conventions, workers=workers, progress=told)
    told = progress("examined")
    return examine(table, judged, **conventions, workers=workers, progress=told), table.rows


def _write(target: Path, text: str) -> None:
    from emergectl.store.atomic import write_text

    write_text(target, text)
    print(clean(str(target)))


def _deliver_json(made: Report, target: Path | None) -> None:
    if target is None:
        print_json(made.to_json())
    else:
        _write(target, json.dumps(made.to_json(), indent=2, allow_nan=False) + "\n")


def _write_figures(findings: Findings, pictures: list[bytes], folder: Path) -> None:
    from emergectl.reports.figures import unreadable_here
    from emergectl.reports.numbered import write_figures

    shown = [ability for ability in findings.abilities if ability.measured]
    missing = unreadable_here([text for each in shown for text in (each.metric, each.name)])
    if missing:
        say(
            f"PNG and PDF show boxes for {missing[:20]}: no font here has them "
            "(install one such as Noto Sans CJK); SVG shows them with the reader's fonts"
        )
    written = write_figures(findings, pictures, folder)
    say(f"{len(written)} figures in {folder}, with captions.md")


def _run_pictures(source: TableSource) -> list[bytes]:
    """The curves of the runs that are named, over their steps."""
    from emergectl.evaluation.metrics import metric_facts
    from emergectl.reports.curves import svg_curves
    from emergectl.store.locate import find_run
    from emergectl.store.metrics_log import read_metrics
    from emergectl.store.rows import rows_of_run
    from emergectl.store.run import read_facts

    pictures = []
    for name in source.names:
        if not _is_run(name, source):
            continue
        run = find_run(name, source.root)
        measured = [row.measurement for row in rows_of_run(run, metric_facts)]
        title = str(read_facts(run).get("name") or run.name)
        pictures.append(svg_curves(read_metrics(run / "metrics.jsonl"), measured, title=title))
    return pictures


def _is_run(name: str, source: TableSource) -> bool:
    from emergectl.analysis.formats.text_tables import file_kind
    from emergectl.analysis.reading import READ

    path = Path(name)
    is_table = file_kind(path) in READ
    is_folder = path.is_dir() and not (path / "run.json").exists()
    return not (is_sweep(name, source.root) or is_table or is_folder)


def _title(source: TableSource) -> str:
    names = [_called(name, source) for name in source.names[:3]]
    rest = len(source.names) - len(names)
    return ", ".join(names) + (f" and {rest} more" if rest else "")


def _called(name: str, source: TableSource) -> str:
    """What a person calls a source: a sweep's name, a run's name and id, a file's name."""
    from emergectl.config.sweep import sweep_name
    from emergectl.store.locate import find_run
    from emergectl.store.run import read_facts

    if is_sweep(name, source.root):
        return sweep_name(name)
    if not _is_run(name, source):
        return Path(name).name
    run = find_run(name, source.root)
    called = str(read_facts(run).get("name") or run.name)
    return called if called == run.name else f"{called} ({run.name})"


def _default_place(source: TableSource) -> Path:
    from emergectl.config.sweep import sweep_name
    from emergectl.store.locate import find_run

    name = source.names[0]
    if is_sweep(name, source.root):
        return source.root / "sweeps" / sweep_name(name) / "report" / "report.html"
    if _is_run(name, source):
        return find_run(name, source.root) / "report" / "report.html"
    return Path(f"{Path(name).stem or 'table'}-report.html")


def _commands(source: TableSource, alpha: float, margin: float, sharp: float) -> list[str]:
    """What makes this very report again, from the sweep on where it is one."""
    words = ["emergectl", "report", *source.names]
    for name, value in source.options.items():
        for each in value if isinstance(value, list) else [value]:
            if each is not None:
                words += [f"--{name}", str(each)]
    words += [] if alpha == 0.05 else ["--alpha", f"{alpha:g}"]
    words += [] if margin == 0.05 else ["--margin", f"{margin:g}"]
    words += [] if sharp == 1 else ["--sharp", f"{sharp:g}"]
    if source.runs_dir is not None:
        words += ["--runs-dir", str(source.runs_dir)]
    sweeps = [
        shlex.join(["emergectl", "sweep", name])
        for name in source.names
        if is_sweep(name, source.root)
    ]
    return [*sweeps, shlex.join(words)]
