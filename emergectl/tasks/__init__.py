"""Abilities: what is asked, what a right answer is, which loss and which metrics apply.

Imports `models`, `data`, `store`, `config` and `errors`.
"""
