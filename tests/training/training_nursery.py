"""The server of the nursery in which training processes are forked (`nursery`).

Planted in a child: `sabotage`, what is to go wrong in it, and `environment`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from nursery import serve


def plant(
    sabotage: Sequence[dict[str, Any]] = (), environment: Mapping[str, str] | None = None
) -> None:
    """Make this process one in which things go wrong."""
    from training_sabotage import plant as plant_harm

    os.environ.update(environment or {})
    for harm in sabotage:
        plant_harm(**harm)


if __name__ == "__main__":
    import transformers.models.gpt2.modeling_gpt2
    import transformers.models.llama.modeling_llama  # noqa: F401

    import emergectl.cli.display
    import emergectl.cli.main
    import emergectl.cli.run_summary
    import emergectl.cli.train
    import emergectl.training.session
    import emergectl.training.tracking  # noqa: F401

    serve(plant)
