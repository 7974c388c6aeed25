"""What can be done with experiments short of running them: validate, schema, configs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emergectl.cli.options import Json
from emergectl.cli.output import clean, print_json, print_table, say
from emergectl.errors import EmergectlError, ExperimentError, RequestError

if TYPE_CHECKING:
    from emergectl.config.schema import Experiment
    from emergectl.tasks.task import TextTask


configs = typer.Typer(
    help="List and copy the experiments that come with emergectl.", no_args_is_help=True
)


def validate(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Experiments and sweeps to check.")
    ],
    json_: Json = False,
) -> None:
    """Check experiments, and every trial of sweeps, without running them.

    The first rows of their files are read, the files of their tasks as a whole where they are
    small, and the memory that training takes is weighed against this machine's.

    Each file is `ok`, or each of its errors stands on a line with file, line and key; then the
    exit code is 2.
    """
    found = {file: _findings_of(file) for file in files}
    if json_:
        print_json(
            [
                {"file": str(file), "ok": not said.errors}
                | {kind: list(lines) for kind, lines in vars(said).items()}
                for file, said in found.items()
            ]
        )
    else:
        for said in found.values():
            for line in said.warnings:
                say(f"warning: {line}")
            for line in said.notes:
                say(f"note: {line}")
        for file, said in found.items():
            if not said.errors:
                print(clean(f"{file}: ok"))
            for line in said.errors:
                say(f"error: {line}")
    if any(said.errors for said in found.values()):
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
    json_: Json = False,
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


@dataclass(frozen=True)
class _Said:
    """What there is to say of a file, each line once: what is wrong, what may go wrong, and what
    was skipped or merged in reading the files of its tasks."""

    errors: dict[str, None] = field(default_factory=dict)
    warnings: dict[str, None] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)


def _findings_of(file: Path) -> _Said:
    """What is to be said of an experiment, or of a sweep."""
    from emergectl.config.experiment import read_document
    from emergectl.config.reader import looks_like_sweep, read_yaml

    try:
        document = read_yaml(file)
        if looks_like_sweep(document):
            from emergectl.config.sweep import load_sweep
            from emergectl.sweeps.plan import plan_sweep

            plan = plan_sweep(load_sweep(file))
            asked = [] if plan.asks is None or plan.asks.own_tasks else [plan.asks.experiment]
            return _findings_of_trials(file, [*asked, *(each.experiment for each in plan.trials)])
        loaded = read_document(document, file)
    except RequestError as error:
        return _Said(dict.fromkeys(str(error).splitlines()))
    said = _Said()
    try:
        _check_whole(file, loaded.experiment, said)
    except ExperimentError as error:
        said.errors[str(loaded.locate(error))] = None
    except EmergectlError as error:
        said.errors.update(dict.fromkeys(str(error).splitlines()))
    return said


def _check_whole(file: Path, experiment: Experiment, said: _Said, *, rows: bool = True) -> None:
    """Check an experiment, the first `rows` of its files, its tasks' files and its memory.

    Raises ExperimentError and DataError as training would.
    """
    from emergectl.data.first_rows import check_first_rows
    from emergectl.evaluation.watched import check_watched
    from emergectl.models.footprint import check_memory
    from emergectl.tasks.resolve import asked_tasks, resolve

    if experiment.stage == "evaluate":
        _read_tasks(asked_tasks(experiment), said)
        return
    resolved = resolve(experiment)
    check_watched(resolved)
    if rows:
        check_first_rows(experiment, resolved.objective.data)
        _read_tasks(resolved.text_tasks.values(), said)
    warning = check_memory(experiment)
    said.warnings.update({} if warning is None else {f"{file}: {warning}": None})


def _read_tasks(tasks: Iterable[TextTask], said: _Said) -> None:
    """Read the files of tasks, where they are small, and note what reading them came upon."""
    from emergectl.data.first_rows import WHOLE_BYTES

    for task in tasks:
        size = task.bytes_to_read
        if size is not None and size <= WHOLE_BYTES:
            said.notes.update(dict.fromkeys(task.notes))
        else:
            why = "not on this machine" if size is None else f"{size / 1e6:.1f} MB"
            said.notes[f"{task.title}: its data is not read here: {why}"] = None


def _findings_of_trials(file: Path, experiments: Sequence[Experiment]) -> _Said:
    """The same of a sweep's trials; what many of them read is read once."""
    said = _Said()
    read: set[str] = set()
    for experiment in experiments:
        data = experiment.model_dump_json(include={"data", "objective", "stage", "evaluation"})
        try:
            _check_whole(file, experiment, said, rows=data not in read)
        except EmergectlError as error:
            told = f"{file}: {error}" if isinstance(error, ExperimentError) else str(error)
            said.errors[told] = None
        read.add(data)
    return said
