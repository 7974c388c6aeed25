"""The face: one module per command group. Parses, calls one function, prints.

May import everything; nothing imports it. No science, and no torch at import: heavy imports stand
inside the functions that need them.
"""
