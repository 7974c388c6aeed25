"""Running a model for answers: encoding, batching, prefix tree, scorer, generator, loading.

Imports `runtime`, `models`, `data`, `store`, `config` and `errors`; knows no tasks.
"""
