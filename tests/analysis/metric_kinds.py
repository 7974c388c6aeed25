"""What the metrics of these tests are, as their registry entries would say it."""

from emergectl.store.measurements import MetricFacts

SHARE = MetricFacts("discontinuous", "up", "share", least=0, most=1)
LOSS = MetricFacts("continuous", "down", "loss", per="token")
PERPLEXITY = MetricFacts("continuous", "down", "loss", scale="log", per="token")
LOGPROB = MetricFacts("continuous", "up", "loss", most=0, per="token")
SCORE = MetricFacts("continuous", "up", "mean")
