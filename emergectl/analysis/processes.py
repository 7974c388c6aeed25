"""Curves side by side: processes that keep to one core each."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor

from threadpoolctl import threadpool_limits


def processes(workers: int) -> ProcessPoolExecutor:
    """A pool of `workers` processes, each with one thread for its matrix products.

    The products of one curve are small: with a thread for every core in every process they wait
    for each other, and take three times as long on two cores.
    """
    return ProcessPoolExecutor(workers, initializer=threadpool_limits, initargs=(1,))
