"""The core: one loop, optimizers and schedules, precision, devices and ranks, resume.

Imports `evaluation` (in-loop evaluation), `tasks` and everything to their right, never `cli`.
"""
