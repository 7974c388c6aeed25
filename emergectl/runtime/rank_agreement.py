"""Several ranks as one: what is done on each or on one of them succeeds or fails on all.

A rank that failed alone would leave the others waiting for it in their next collective, until a
time limit ends them. So ranks compare how they fared, and of all that fail one tells the person.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from emergectl.errors import EmergectlError, ToldError

if TYPE_CHECKING:
    from emergectl.runtime.place import Place

_Found = TypeVar("_Found")


def on_every_rank(place: Place, do: Callable[[], _Found]) -> _Found:
    """What `do` returns here, once it has returned on every rank.

    Raises its error, or where only other ranks have one EmergectlError, on rank 0; ToldError on
    the others.
    """
    if place.world == 1:
        return do()
    found: _Found | None = None
    own: EmergectlError | None = None
    try:
        found = do()
    except EmergectlError as error:
        own = error
    fates = place.gather(None if own is None else (str(own), own.exit_code))
    failed = [(rank, fate) for rank, fate in enumerate(fates) if fate is not None]
    if not failed:
        return found  # type: ignore[return-value]
    rank, (message, exit_code) = failed[0]
    if not place.is_main:
        raise ToldError(message, exit_code)
    if own is not None:
        raise own
    other = EmergectlError(f"rank {rank}: {message}")
    other.exit_code = exit_code
    raise other


def on_main(place: Place, do: Callable[[], _Found]) -> _Found:
    """What `do` returns on rank 0, on every rank; it can be pickled. Raises as `on_every_rank`."""
    if place.world == 1:
        return do()
    found = on_every_rank(place, lambda: do() if place.is_main else None)
    return place.gather(found)[0]
