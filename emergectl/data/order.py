"""Order and chance without memory: shuffles and random numbers that are functions of a key.

A shuffled epoch of a billion rows must cost nothing to set up and nothing to resume, so nothing is
shuffled: `permute` maps the place in an epoch to a row by a small keyed cipher (a generalised
Feistel network over a × b ≥ n, walked until it lands below n), and `uniform` hashes counters to
numbers in [0, 1). Both are vectorised; a batch of a dozen rows costs some 60 microseconds, and
equal keys give equal numbers on every machine.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1
_ROUNDS = 3  # of two half-rounds each; neighbours no longer follow each other from 2 on


def derive(*parts: int) -> int:
    """A 64-bit key from whole numbers, such as a seed and an epoch."""
    key = 0
    for part in parts:
        key = _mix_int((key ^ (part & _MASK)) & _MASK)
    return key


def permute(places: NDArray[np.int64], rows: int, key: int) -> NDArray[np.int64]:
    """The rows at `places` of the shuffle of range(rows) that `key` names.

    `places` holds numbers in [0, rows); the result has its shape, and over all places every row
    comes up exactly once.
    """
    width = math.isqrt(rows - 1) + 1 if rows > 1 else 1
    height = -(-rows // width)
    keys = _round_keys(key)
    found = _encrypt(places.astype(np.uint64), width, height, keys)
    outside = found >= rows
    while outside.any():  # rare: the grid is larger than `rows` by less than its width
        found[outside] = _encrypt(found[outside], width, height, keys)
        outside = found >= rows
    return found.astype(np.int64)


def uniform(key: int, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
    """Random numbers in [0, 1) for pairs of counters; `rows` and `columns` broadcast."""
    mixed = _mix(_mix(rows.astype(np.uint64) ^ np.uint64(key)) + columns.astype(np.uint64))
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _encrypt(values: Words, width: int, height: int, keys: tuple[int, ...]) -> Words:
    upper, lower = np.divmod(values, np.uint64(width))
    for round_ in range(_ROUNDS):
        lower = (lower + _hash(upper, keys[2 * round_])) % np.uint64(width)
        upper = (upper + _hash(lower, keys[2 * round_ + 1])) % np.uint64(height)
    return upper * np.uint64(width) + lower


def _hash(values: Words, key: int) -> Words:
    mixed = (values ^ np.uint64(key)) * np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed >>= np.uint64(32)  # leaves room for the sum before the remainder
    return mixed


def _mix(values: Words) -> Words:
    """The finaliser of splitmix64, on an array."""
    values = values + np.uint64(_GOLDEN)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _mix_int(value: int) -> int:
    """The finaliser of splitmix64, on one number."""
    value = (value + _GOLDEN) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


@lru_cache(maxsize=64)
def _round_keys(key: int) -> tuple[int, ...]:
    return tuple(derive(key, number) for number in range(2 * _ROUNDS))
