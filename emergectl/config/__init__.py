"""What an experiment is: the typed schema, YAML reading with line numbers, overrides.

Imports nothing else of the project but `emergectl.errors`; no torch, so that `validate` and
`schema` answer at once.
"""
