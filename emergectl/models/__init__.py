"""Parameters: families, the size ladder, heads, losses, counting of parameters and FLOPs.

Imports `data`, `store`, `config` and `errors`.
"""
