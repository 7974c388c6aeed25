"""The exceptions that mean something to the person at the keyboard.

Each carries the exit code of the command line (DESIGN section 6). They are raised where the cause
is known, with one sentence that says what, where and what instead; `cli` prints that sentence.
"""

from __future__ import annotations


class EmergectlError(Exception):
    """A failure with a sentence for the user: the run failed (exit code 1)."""

    exit_code = 1


class RequestError(EmergectlError):
    """What was asked for cannot be done as it was asked (exit code 2)."""

    exit_code = 2


class ExperimentError(RequestError):
    """A field of an experiment is wrong.

    `key` is the dotted path of the field (`optimizer.lr`, `data.train.0.path`); whoever holds the
    YAML's source map turns it into file and line.
    """

    def __init__(self, key: str, message: str) -> None:
        super().__init__(f"{key}: {message}" if key else message)
        self.key = key
        self.message = message


class DataError(RequestError):
    """A data file holds what cannot be used; the message begins with `file:line`."""


class PluginError(RequestError):
    """What an installed package adds cannot be used; the message names the package and why."""


class TrainingError(EmergectlError):
    """Training cannot go on; the message says at which step and why."""


class AlreadyRunningError(EmergectlError):
    """Another process is at work on the same run (exit code 4)."""

    exit_code = 4


class PreemptedError(EmergectlError):
    """Stopped early with a checkpoint; the same command goes on from it (exit code 75)."""

    exit_code = 75


class ToldError(EmergectlError):
    """What another rank tells the person: this one ends with its exit code and says nothing."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class InterruptedRunError(EmergectlError):
    """Interrupted by the person at the keyboard, with a checkpoint (exit code 130)."""

    exit_code = 130
