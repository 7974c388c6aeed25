"""Measuring a model: held-out loss, metrics as functions of records, what `eval` writes.

Imports `tasks` and everything to its right (`models`, `data`, `store`, `config`), never `training`.
"""
