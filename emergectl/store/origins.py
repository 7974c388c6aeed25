"""What `model.from` and `tokenizer.from` name: a run, a directory, or a name on the hub.

They are settled once, before the run directory is made, so that the experiment kept there names
exact directories and is runnable again as it stands.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from emergectl.config.schema import Experiment, TokenizerSpec
from emergectl.errors import ExperimentError, RequestError
from emergectl.store import checkpoints
from emergectl.store.locate import find_run, name_in_id, short_id
from emergectl.store.model_names import HUB, split_revision

# name or owner/name, as the hub spells it
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


@dataclass(frozen=True)
class Origin:
    """Where weights or a tokenizer come from: a directory (or a hub name), and the run, if any."""

    source: str
    run_id: str | None


def find_origin(ref: str, root: Path, *, key: str) -> Origin:
    """Resolve `RUN`, `RUN@best`, `RUN@STEP`, a directory, or a hub name.

    Of a run without `@` the last checkpoint is taken. A checkpoint or snapshot, however it is
    named, is verified; a directory that was written by something else is taken as it is. Raises
    ExperimentError for `key` where nothing of the sort is there, or where it does not verify.
    """
    if ref.startswith(HUB):
        name, revision = split_revision(ref)
        if revision != "main" or not _HUB_NAME.fullmatch(name):
            raise ExperimentError(key, f"{ref}: here it is hub:OWNER/NAME, without a revision")
        return Origin(name, None)
    directory = Path(ref).expanduser()
    if (directory / "run.json").exists():
        return _of_run(directory, "last", key)
    if directory.exists():
        directory = directory.absolute()
        if checkpoints.is_committed(directory):
            _verify(directory, key)
        return Origin(str(directory), None)
    name, _, which = ref.rpartition("@") if "@" in ref else (ref, "", "last")
    try:
        return _of_run(find_run(name, root), which, key)
    except RequestError as error:
        if isinstance(error, ExperimentError):
            raise
        if _HUB_NAME.fullmatch(ref) and "candidates" not in str(error):
            return Origin(ref, None)
        raise ExperimentError(key, str(error)) from None


def _verify(directory: Path, key: str) -> None:
    try:
        checkpoints.verify(directory)
    except checkpoints.CheckpointError as error:
        raise ExperimentError(key, str(error)) from None


def _of_run(run: Path, which: str, key: str) -> Origin:
    try:
        path = pick_checkpoint(run, which)
    except (checkpoints.CheckpointError, RequestError) as error:
        raise ExperimentError(key, str(error)) from None
    return Origin(str(path.absolute()), run.name)


def pick_checkpoint(run: Path, which: str) -> Path:
    """The verified checkpoint `last`, `best` or of a step (also among the snapshots) of a run.

    Raises RequestError where there is none, CheckpointError where it does not verify.
    """
    folder = run / "checkpoints"
    steps = checkpoints.list_steps(folder)
    if which == "last":
        manifest, rejected = checkpoints.newest(folder)
        if manifest is None:
            reasons = "; ".join(rejected) or "none has been written yet"
            raise RequestError(f"{run.name} has no good checkpoint: {reasons}")
        return manifest.path
    if which == "best":
        step = best_step(run)
    elif which.isdecimal():
        step = int(which)
    else:
        raise RequestError(f"no checkpoint `{which}`; say last, best or a step")
    for home in (folder, run / "snapshots"):
        if step in checkpoints.list_steps(home):
            return checkpoints.verify(home / checkpoints.step_name(step)).path
    kept = sorted({*steps, *checkpoints.list_steps(run / "snapshots")})
    raise RequestError(f"{run.name} keeps no step {step}; it keeps {', '.join(map(str, kept))}")


def pick_checkpoints(run: Path, which: str) -> list[Path]:
    """What `pick_checkpoint` finds; with `all` every step kept, snapshots too, in order.

    Raises as it does.
    """
    if which != "all":
        return [pick_checkpoint(run, which)]
    found: dict[int, Path] = {}
    for folder in (run / "snapshots", run / "checkpoints"):
        for step in checkpoints.list_steps(folder):
            found[step] = checkpoints.verify(folder / checkpoints.step_name(step)).path
    if not found:
        raise RequestError(f"{run.name} has neither checkpoints nor snapshots yet")
    return [found[step] for step in sorted(found)]


def best_step(run: Path) -> int:
    """The step of the best checkpoint, as the last one remembers it. RequestError without any."""
    manifest, _ = checkpoints.newest(run / "checkpoints")
    if manifest is not None:
        state = json.loads((manifest.path / "training_state.json").read_text("utf-8"))
        best = state["progress"]["best_step"]
        if best is not None:
            return int(best)
    raise RequestError(f"{run.name} has no best checkpoint: nothing was evaluated yet")


def starting_at(experiment: Experiment, checkpoint: Path) -> Experiment:
    """The experiment with a checkpoint itself as the origin of model and tokenizer: what they
    were made from at first may be gone by now."""
    model = experiment.model.model_copy(
        update={"from_": str(checkpoint), "size": None, "config": {}}
    )
    tokenizer = TokenizerSpec(from_=str(checkpoint))
    return experiment.model_copy(update={"model": model, "tokenizer": tokenizer})


def link_out(path: Path, directory: Path) -> Path | None:
    """Where a file of a directory leads, if it is a link out of it; None where it is none."""
    if not path.is_symlink():
        return None
    home = directory.resolve()
    # The hub's own cache keeps files as links into the `blobs` beside its `snapshots`.
    homes = [home, home.parent.parent / "blobs"] if home.parent.name == "snapshots" else [home]
    target = path.resolve()
    return None if any(target.is_relative_to(home) for home in homes) else target


def once_settled(experiment: Experiment, kept: Experiment) -> Experiment | None:
    """The experiment with the sources of `kept`, a run's, where these are what its own names may
    have meant and are gone by now. None where they are not."""
    changes: dict[str, object] = {}
    for name in ("model", "tokenizer"):
        ours, theirs = getattr(experiment, name), getattr(kept, name)
        if ours.from_ == theirs.from_ or ours.from_ is None or theirs.from_ is None:
            continue
        if Path(theirs.from_).exists() or not _may_have_meant(ours.from_, theirs.from_):
            return None
        changes[name] = ours.model_copy(update={"from_": theirs.from_})
    return experiment.model_copy(update=changes)


def _may_have_meant(ref: str, source: str) -> bool:
    """Whether a directory that is gone is what a reference names: itself, or in a run so named."""
    gone = Path(source)
    if Path(ref).expanduser().absolute() == gone:
        return True
    run, _, which = ref.rpartition("@") if "@" in ref else (ref, "", "last")
    if which.isdecimal() and gone.name != checkpoints.step_name(int(which)):
        return False
    run_id = gone.parent.parent.name
    return (
        Path(run).expanduser().absolute() == gone.parent.parent
        or run in (name_in_id(run_id), short_id(run_id))
        or run_id.startswith(run)
    )


def find_asked(ref: str, root: Path, *, key: str) -> Origin:
    """As `find_origin`; besides `RUN@all`, every step that the run keeps, and revisions of a model
    on the hub (`hub:NAME@step*`), which stay that."""
    if ref.startswith(HUB) and "@" in ref:
        return Origin(ref, None)
    name, at, which = ref.rpartition("@")
    if not at or which != "all":
        return find_origin(ref, root, key=key)
    try:
        run = find_run(name, root)
    except RequestError as error:
        raise ExperimentError(key, str(error)) from None
    return Origin(f"{run.absolute()}@all", run.name)


def settle_origins(experiment: Experiment, root: Path) -> tuple[Experiment, str | None]:
    """The experiment with exact sources, and the id of the run it starts from, if any."""
    changes: dict[str, object] = {}
    parent = None
    if experiment.model.from_ is not None:
        evaluates = experiment.stage == "evaluate"
        find = find_asked if evaluates else find_origin
        origin = find(experiment.model.from_, root, key="model.from")
        parent = origin.run_id
        changes["model"] = experiment.model.model_copy(update={"from_": origin.source})
    if experiment.tokenizer.from_ is not None:
        origin = find_origin(experiment.tokenizer.from_, root, key="tokenizer.from")
        changes["tokenizer"] = experiment.tokenizer.model_copy(update={"from_": origin.source})
    return experiment.model_copy(update=changes), parent
