"""What can be done with experiments short of running them: validate, schema, configs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emergectl.cli.output import clean, print_json, print_table, say
from emergectl.errors import EmergectlError, ExperimentError, RequestError

if TYPE_CHECKING:
    from emergectl.config.schema import Experiment

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

configs = typer.Typer(
    help="List and copy the experiments that come with emergectl.", no_args_is_help=True
)


def validate(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Experiments and sweeps to check.")
    ],
    json_: JsonOption = False,
) -> None:
    """Check experiments, and every trial of sweeps, without running them.

    The first rows of their files are read, and the memory that training takes is weighed against
    this machine's.

    Each file is `ok`, or each of its errors stands on a line with file, line and key; then the
    exit code is 2.
    """
    found = {file: _findings_of(file) for file in files}
    errors = {file: lines for file, (lines, _) in found.items()}
    if json_:
        print_json(
            [
                {"file": str(file), "ok": not lines, "errors": lines, "warnings": warned}
                for file, (lines, warned) in found.items()
            ]
        )
    else:
        for _, warned in found.values():
            for line in warned:
                say(f"warning: {line}")
        for file, lines in errors.items():
            if not lines:
                print(clean(f"{file}: ok"))
            for line in lines:
                say(f"error: {line}")
    if any(errors.values()):
        raise typer.Exit(RequestError.exit_code)


def schema(
    sweep: Annotated[bool, typer.Option("--sweep", help="Of a sweep file instead.")] = False,
) -> None:
    """Print the JSON Schema of an experiment, for editors.

    Save it to a file, and name that in the first line of an experiment:
    `# yaml-language-server: $schema=experiment.schema.json`
    """
    from emergectl.config.json_schema import experiment_schema, sweep_schema

    print_json(sweep_schema() if sweep else experiment_schema())


@configs.command("list")
def list_configs(
    json_: JsonOption = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """List the shipped experiments."""
    from emergectl.config.shipped import first_comment, shipped_configs

    rows = [[name, first_comment(path)] for name, path in shipped_configs().items()]
    print_table(["name", "description"], rows, json_=json_, csv=csv)


@configs.command("copy")
def copy_config(
    name: Annotated[str, typer.Argument(help="A name from `emergectl configs list`.")],
    to: Annotated[Path, typer.Argument(help="The folder or file to copy to.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Copy a shipped experiment, to change it; prints where it is.

    Shipped data that it reads stays where it is: the copy names it by its whole path.
    """
    from emergectl.config.shipped import find_shipped, text_to_copy

    source = find_shipped(name)
    target = to / source.name if to.is_dir() else to
    if target.exists() and not force:
        raise RequestError(f"{target} is there already; give another name, or --force")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text_to_copy(source), encoding="utf-8")
    print(clean(str(target)))


def _findings_of(file: Path) -> tuple[list[str], list[str]]:
    """The lines that say what is wrong with a file, and those that warn; none if it is right."""
    from emergectl.config.experiment import read_document
    from emergectl.config.reader import read_yaml
    from emergectl.config.sweep import load_sweep, looks_like_sweep
    from emergectl.sweeps.plan import plan_sweep

    try:
        document = read_yaml(file)
        if looks_like_sweep(document):
            plan = plan_sweep(load_sweep(file))
            return _findings_of_trials(file, [trial.experiment for trial in plan.trials])
        loaded = read_document(document, file)
    except RequestError as error:
        return str(error).splitlines(), []
    try:
        warning = _check_whole(loaded.experiment)
    except ExperimentError as error:
        return [str(loaded.locate(error))], []
    except EmergectlError as error:
        return str(error).splitlines(), []
    return [], [] if warning is None else [f"{file}: {warning}"]


def _check_whole(experiment: Experiment, *, rows: bool = True) -> str | None:
    """Check an experiment, the first `rows` of its files and its memory; a warning, if any.

    Raises ExperimentError and DataError as training would.
    """
    from emergectl.data.first_rows import check_first_rows
    from emergectl.evaluation.watched import check_watched
    from emergectl.models.footprint import check_memory
    from emergectl.tasks.resolve import check_asked, resolve

    check_asked(experiment)
    if experiment.stage == "evaluate":
        return None
    resolved = resolve(experiment)
    check_watched(resolved)
    if rows:
        check_first_rows(experiment, resolved.objective.data)
    return check_memory(experiment)


def _findings_of_trials(
    file: Path, experiments: Sequence[Experiment]
) -> tuple[list[str], list[str]]:
    """The same of a sweep's trials; what many of them read is read once."""
    errors: dict[str, None] = {}
    warnings: dict[str, None] = {}
    read: set[str] = set()
    for experiment in experiments:
        data = experiment.model_dump_json(include={"data", "objective", "stage"})
        try:
            warning = _check_whole(experiment, rows=data not in read)
        except EmergectlError as error:
            errors[f"{file}: {error}" if isinstance(error, ExperimentError) else str(error)] = None
        else:
            warnings |= {} if warning is None else {f"{file}: {warning}": None}
        read.add(data)
    return list(errors), list(warnings)
