"""Where code runs: devices, ranks, launch, stop, precision, run selection, listeners.

Imports `models`, `data`, `store`, `config` and `errors`.
"""
