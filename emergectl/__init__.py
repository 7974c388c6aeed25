"""emergectl: the bench for emergent abilities of language models.

The folders, and who may import whom (left may import what stands to its right, never the reverse):
`cli → sweeps, reports → training → probes, evaluation → tasks → inference → runtime → models, data
→ store → config`; `analysis` imports only `store`. `errors` and `plugins` stand beside them and may
be imported by all; `api`, the public Python API, stands above them and is imported by none.
`tests/test_imports.py` holds these rules.
"""

__version__ = "0.2.0"
