"""Text in, batches out: sources, tokenizers, packing, collation.

Imports `store`, `config` and `errors`.
"""
