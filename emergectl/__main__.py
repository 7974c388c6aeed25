"""`python -m emergectl`: the same as the command `emergectl`, for torchrun and the like."""

import sys

from emergectl.cli.main import main

sys.exit(main())
