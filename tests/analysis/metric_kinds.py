"""What the metrics of these tests are, as their registry entries would say it."""

from emergectl.store.measurements import MetricFacts

SHARE = MetricFacts("discontinuous", "up", "share", least=0, most=1)
LOSS = MetricFacts("continuous", "down", "loss", least=0, likelihood="token")
PERPLEXITY = MetricFacts("continuous", "down", "ratio", scale="log", likelihood="token")
LOGPROB = MetricFacts("continuous", "up", "ratio", most=0, likelihood="token")
SCORE = MetricFacts("continuous", "up", "mean")
