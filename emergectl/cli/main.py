"""The entry point: which commands there are, and how each failure ends.

COMMANDS names, for every command, where it is defined, and one line of help. How a command is
found: `module:attribute`, imported only when the command is called. The attribute is either a plain
function with typer annotations (one command: its docstring is the help, its name does not matter)
or a `typer.Typer` with its own `help=` (a group of commands, such as `runs`). A command returns
None when all is well; it ends otherwise by raising one of `emergectl.errors`, whose exit code and
sentence are used here, or `typer.Exit(code)` when it has already said everything.

So `emergectl --help` imports typer and this module, nothing else of the project: 0.15 s, where a
plain typer app that imports its commands pays for torch before it can print a line.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from emergectl import __version__
from emergectl.errors import EmergectlError, InterruptedRunError, PreemptedError, ToldError

COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("emergectl.cli.train:train", "Run an experiment, as its `stage` says."),
    "pretrain": ("emergectl.cli.train:pretrain", "Train a language model on text."),
    "finetune": ("emergectl.cli.train:finetune", "Train a model further, for a task."),
    "eval": ("emergectl.cli.evaluate:evaluate", "Ask a model what it can do; measure a run."),
    "sweep": ("emergectl.cli.sweep:app", "Run many experiments from one file, to their end."),
    "analyze": ("emergectl.cli.analyze:app", "Judge whether and where abilities emerge."),
    "report": ("emergectl.cli.report:report", "Make the page: verdicts, curves, costs."),
    "runs": ("emergectl.cli.runs:app", "List, show, compare and export runs."),
    "tasks": ("emergectl.cli.tasks:app", "List, show and sample the abilities to be asked."),
    "validate": ("emergectl.cli.experiments:validate", "Check experiments without running them."),
    "schema": (
        "emergectl.cli.experiments:schema",
        "Print the JSON Schema of an experiment or a sweep.",
    ),
    "configs": ("emergectl.cli.experiments:configs", "List and copy the experiments shipped here."),
    "reproduce": ("emergectl.cli.reproduce:reproduce", "Measure published results again."),
    "doctor": ("emergectl.cli.doctor:doctor", "Say what works on this machine and what does not."),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (DESIGN section 6).

    0 done, 1 failed, 2 wrong request, 3 some trials of a sweep failed, 4 already running, 75
    stopped early, 130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal without Chinese shows \uXXXX
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (`head`, a pager) has gone. Python would complain once more while it closes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    if arguments is None and "RANK" in os.environ:
        # Taking a rank's interpreter apart frees its process group, and may wait for ever there.
        sys.stderr.flush()
        os._exit(code)
    return code


def _run(arguments: Sequence[str] | None) -> int:
    try:
        typer.main.get_command(app).main(args=arguments, prog_name="emergectl")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except EmergectlError as error:
        from emergectl.cli.output import say_error

        stopped = isinstance(error, PreemptedError | InterruptedRunError)
        told = isinstance(error, ToldError) or (stopped and os.environ.get("RANK", "0") != "0")
        if not told:  # Of many ranks one says so.
            say_error(error)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        raise
    except OSError as error:
        from emergectl.cli.output import say_error

        said = error.strerror
        if error.errno == errno.ELOOP:
            said = "is a symbolic link, where a file of the run's own belongs: remove the link"
        reason = f"{error.filename}: {said}" if error.filename else str(error)
        say_error(EmergectlError(reason))
        return 1
    return 0


class LazyGroup(TyperGroup):
    """The group of all commands, which knows their names and help without importing them."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {
            name: TyperCommand(name, help=line, rich_markup_mode=None)
            for name, (_, line) in COMMANDS.items()
        }

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is called, imported now."""
        name, known, rest = super().resolve_command(ctx, args)
        return name, known and load_command(str(name)), rest


def load_command(name: str) -> Any:
    """Import a command of COMMANDS and make it ready to call."""
    module, attribute = COMMANDS[name][0].split(":")
    found = getattr(importlib.import_module(module), attribute)
    # Plain help: it reads well in a pipe and in a log, and rich's costs 0.1 s.
    parent = typer.Typer(rich_markup_mode=None, add_completion=False)
    if isinstance(found, typer.Typer):
        parent.add_typer(found, name=name)
        return typer.main.get_group(parent).commands[name]
    parent.command(name)(found)
    return typer.main.get_command(parent)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"emergectl {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=LazyGroup,
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _emergectl(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Version.")
    ] = False,
) -> None:
    """The bench for emergent abilities of language models: from one YAML file to a verdict."""


if __name__ == "__main__":
    sys.exit(main())
