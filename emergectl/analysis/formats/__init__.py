"""Foreign results, one function a format: a parsed file in, flat records out.

A record has the columns that any table may have (task, metric, value, model, params, step, n, …),
those that say how it was asked (`asked` in `Records`), and whatever else the file tells, as
settings. What of a file is identity and what is setting is said in its format's function alone;
mapping, conditions, units and checks are the same for all of them (`analysis/columns.py`).
"""
