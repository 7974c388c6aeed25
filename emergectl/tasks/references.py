"""Tasks by reference: what a command line names, made into the task itself.

A reference is the name of a task (`addition`), of one that is shipped (`gsm8k`), or a file, with
parameters behind it where wished (`addition:digits=4`). How files are read is the business of
`emergectl.config.task_files`; this makes the task and says where a parameter is wrong.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from emergectl.config.schema import TaskSource
from emergectl.config.shipped import shipped_tasks
from emergectl.config.task_files import is_harness_file, split_reference, task_file, written_task
from emergectl.errors import ExperimentError, RequestError
from emergectl.tasks.catalog import Task, make_task, task_class, task_classes


def load_task(reference: str) -> Task:
    """The task that a reference names, with its parameters checked.

    Raises RequestError for an unknown task, a file that is none, and a parameter that does not
    fit, with the file and line that set it.
    """
    written = written_task(reference)
    if task_class(written.task) is None:
        if is_harness_file(Path(written.task)):
            raise RequestError(
                f"{written.task} is a task of lm-evaluation-harness: it has no items of its own; "
                "`emergectl eval` runs it, with the extra `lm-eval`"
            )
        if written.document is None:
            raise RequestError(_unknown(written.task))
        raise written.locate(ExperimentError("task", _unknown(written.task)))
    try:
        return make_task(TaskSource(task=written.task, **written.params), key="")
    except ExperimentError as error:
        raise written.locate(error) from None


def harness_file(reference: str) -> Path | None:
    """The file of a task of lm-evaluation-harness that a reference names; None if it is none."""
    name, _ = split_reference(reference)
    file = task_file(name, folder=Path.cwd())
    return file if file is not None and is_harness_file(file) else None


def _unknown(name: str) -> str:
    known = [*task_classes(), *shipped_tasks()]
    near = difflib.get_close_matches(name, known, n=1)
    advice = f"did you mean `{near[0]}`?" if near else f"there are: {', '.join(sorted(known))}"
    return f"no task `{name}`; {advice} (or name a file: .yaml, .json)"
