"""Revisions of a model on the hub: a training run's steps, or its seeds, as weights to be asked.

`hub:org/model@step*` means every branch and tag whose name fits; each is fetched when it is asked,
not before, so that naming 154 checkpoints costs nothing. With HF_HUB_OFFLINE=1 the revisions are
those of the hub's local cache.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

from emergectl.errors import RequestError
from emergectl.store.model_names import HUB, revision_of, split_revision

SHOWN = 5
FILES = ["*.json", "model*.safetensors", "tokenizer*", "vocab*", "merges.txt", "*.model"]
"""settings, weights that cannot run code, and the tokenizer"""


def is_hub_revision(ref: str) -> bool:
    """Whether a reference names revisions: `hub:org/model@…`."""
    return ref.startswith(HUB) and "@" in ref


def find_revisions(ref: str) -> list[tuple[str, int | None]]:
    """(revision, step) of those that `hub:org/model@PATTERN` names, by step.

    Raises RequestError where the hub cannot be asked, or no revision fits.
    """
    name, pattern = split_revision(ref)
    known = _revisions(name)
    found = [(rev, _step(rev)) for rev in known if fnmatchcase(rev, pattern)]
    if not found:
        more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
        there = ", ".join(known[:SHOWN]) or "none"
        raise RequestError(f"{ref}: {name} has no such revision; there are {there}{more}")
    return sorted(found, key=lambda one: (one[1] is None, one[1] or 0, one[0]))


def fetch_revision(ref: str) -> Path:
    """The files of `hub:org/model@REVISION`, in the hub's own cache. Raises RequestError."""
    from huggingface_hub import snapshot_download

    name, revision = split_revision(ref)
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=FILES))
    except Exception as error:  # the transport's own errors have no common class with the hub's
        raise RequestError(f"{name}@{revision} cannot be fetched: {_reason(error)}") from error


def _revisions(name: str) -> list[str]:
    """The branches and tags of a model; in offline mode, those in the cache."""
    from huggingface_hub import HfApi, constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound, OfflineModeIsEnabled

    try:
        refs = HfApi().list_repo_refs(name)
        return list(dict.fromkeys(ref.name for ref in (*refs.branches, *refs.tags)))
    except OfflineModeIsEnabled:
        try:
            kept = [
                repo
                for repo in scan_cache_dir(constants.HF_HUB_CACHE).repos
                if repo.repo_id == name
            ]
        except CacheNotFound:
            kept = []
        return sorted(ref for repo in kept for rev in repo.revisions for ref in rev.refs)
    except Exception as error:  # as above
        raise RequestError(
            f"{name}: its revisions cannot be listed: {_reason(error)} (HF_HUB_OFFLINE=1 takes "
            "those in the local cache)"
        ) from error


def _step(revision: str) -> int | None:
    step, _ = revision_of(revision)
    return None if step is None else int(step)


def _reason(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
