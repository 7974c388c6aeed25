"""What every test needs before torch is imported: one thread, since pytest runs several workers.

Threads that wait for each other on cores that others use are slower by a factor of ten.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
