"""How abilities and text are learnt: objectives, feeds of tasks, and both gathered for a run.

Kept apart from the task modules beside it, which stay free of torch so that `validate` and
`tasks` answer at once. Imports `models`, `data`, `store`, `config` and `errors`.
"""
