"""What is minimised: one module an objective, found by `emergectl.tasks.objectives.catalog`.

Imports no torch at import, since `validate` looks objectives up.
"""
