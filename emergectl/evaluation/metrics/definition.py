"""What a metric says of itself, and how it is entered among the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any, Literal

from emergectl.store.measurements import Direction, Kind, Likelihood, MetricFacts, Quantity, Scale

if TYPE_CHECKING:
    from emergectl.evaluation.columns import Columns
    from emergectl.evaluation.estimates import Measure

Function = Callable[..., "Measure | None"]
HeldOutKind = Literal["text", "masked", "answers", "candidates", "classes", "labels"]
"""what rows are held out: running text, masked text, answers, the few candidates for these,
classes, sets of labels"""


@dataclass(frozen=True)
class Metric:
    """A metric: its name, what it is, and its function of columns (with a `k`, of that too).

    `needs_text`: the model has to write for it. `held_out`: the kinds of held-out rows of which it
    is taken, while training and by `eval`, without being asked for.
    """

    name: str
    facts: MetricFacts
    function: Function
    needs_text: bool = False
    held_out: tuple[HeldOutKind, ...] = ()
    k: int | None = None

    @property
    def takes_k(self) -> bool:
        """Whether it can be asked for as `name@k`."""
        return "k" in signature(self.function).parameters

    @property
    def needs_k(self) -> bool:
        """Whether it is nothing without a number."""
        k = signature(self.function).parameters.get("k")
        return k is not None and k.default is Parameter.empty

    def measure(self, columns: Columns) -> Measure | None:
        """What it makes of some items; None where they do not give it."""
        return self.function(columns) if self.k is None else self.function(columns, k=self.k)


class Metrics(dict[str, Metric]):
    """Metrics by name."""

    def metric(
        self,
        kind: Kind,
        quantity: Quantity,
        *,
        name: str = "",
        direction: Direction = "up",
        scale: Scale = "linear",
        least: float | None = None,
        most: float | None = None,
        likelihood: Likelihood | None = None,
        needs_text: bool = False,
        held_out: tuple[HeldOutKind, ...] = (),
    ) -> Callable[[Function], Function]:
        """Enter a function, under its own name unless another is given; see `MetricFacts`."""
        facts = MetricFacts(kind, direction, quantity, scale, least, most, likelihood)

        def enter(function: Function) -> Function:
            own: Any = getattr(function, "__name__", name)
            called = name or str(own)
            self[called] = Metric(called, facts, function, needs_text, held_out)
            return function

        return enter
