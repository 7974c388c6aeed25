"""The one registry of metrics: what each is, and its function of the items' columns.

The training loop and `eval` measure with the same functions, and whoever reads measured values
asks here what a name means (`metric_facts`). A new metric is one function, entered with what it is:

    @METRICS.metric("continuous", "mean", direction="down", least=0.0, held_out=("answers",))
    def answer_tokens(columns):
        '''Mean length of the right answers.'''
        answers = columns.answers
        return mean(answers.tokens) if answers else None

A package of one's own adds a `Metric` by an entry point of the group `emergectl.metrics`; it is
taken where it is asked for by name. A metric gets the columns of items that were asked (none that
was skipped) and returns None where they cannot give it: ROC AUC of one class alone is left out,
never invented. The same outputs are told in a discontinuous and a continuous metric, since a jump
in the one may be none in the other (Schaeffer et al. 2023).

`recall@5`, `ndcg@10`, `pass@100`: a function with a `k` takes it from behind the name.

Nothing heavy is imported here: numpy comes in where something is computed.
"""

from __future__ import annotations

import difflib
import re
from contextlib import suppress
from dataclasses import replace

from emergectl.errors import PluginError, RequestError
from emergectl.evaluation.metrics import choices, likelihood, ranking, texts
from emergectl.evaluation.metrics.definition import HeldOutKind, Metric, Metrics
from emergectl.evaluation.metrics.field_names import FIELD_NAMES
from emergectl.plugins import plugins
from emergectl.store.measurements import MetricFacts

METRICS = Metrics(
    likelihood.METRICS | choices.METRICS | ranking.METRICS | texts.METRICS,
)

_SPLIT = re.compile(r"^(train|training|val|valid|validation|dev|test|eval)[_/ -]+(?=.)")
"""a split that foreign tables put before a metric's name: `val_loss`"""


def find_metric(name: str) -> Metric:
    """The metric of that name; RequestError naming the nearest one where there is none.

    PluginError where the package that adds it does not load.
    """
    stem, at, number = name.partition("@")
    found = METRICS.get(stem) or _added(stem)
    counts = number.isdecimal() and int(number) > 0
    if found is None or (at and not (found.takes_k and counts)) or (found.needs_k and not at):
        names = [*metric_names(), *plugins("metrics")]
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"there are: {', '.join(names)}"
        raise RequestError(f"no metric `{name}`; {hint}")
    return replace(found, name=name, k=int(number) if at else None)


def metric_names() -> list[str]:
    """The names of all built-in metrics; `@k` stands for any number."""
    return [f"{name}@k" if metric.needs_k else name for name, metric in METRICS.items()]


def held_out_metrics(kind: HeldOutKind | None = None) -> list[Metric]:
    """The metrics that are taken of what is held out, of one kind of it or of any."""
    found = METRICS.values()
    return [one for one in found if (kind in one.held_out if kind else one.held_out)]


def metric_facts(name: str) -> MetricFacts | None:
    """What the metric of that name is, under its name here or in the field; None if unknown.

    A number behind it (`hits@10`), the filter of lm-evaluation-harness (`acc,none`), a split before
    it (`val_loss`) and the case of its letters are passed over.
    """
    plain, at, _ = name.partition(",")[0].partition("@")
    for spelling in (plain, _spelt_here(plain), _SPLIT.sub("", _spelt_here(plain))):
        if spelling in METRICS and (at or not METRICS[spelling].needs_k):
            return METRICS[spelling].facts
        if spelling in FIELD_NAMES:
            return FIELD_NAMES[spelling]
    with suppress(PluginError):  # whoever reads a table has not asked for it
        added = _added(plain)
        return None if added is None else added.facts
    return None


def _added(name: str) -> Metric | None:
    """The metric of a name that an installed package adds; PluginError if it is none."""
    plugin = plugins("metrics").get(name)
    if plugin is None:
        return None
    found = plugin.load()
    if not isinstance(found, Metric):
        raise plugin.broken(f"{plugin.target} is no emergectl.evaluation.metrics.Metric")
    if found.name != name:
        raise plugin.broken(f"{plugin.target} is named `{found.name}`; both have to be the same")
    return found


def _spelt_here(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().lower())
