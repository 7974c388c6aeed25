"""Numbers in, findings out: curves, breaks, verdicts, seeds, forecasts, scaling laws.

May import `store` (and errors), nothing else of the project, so that it also serves someone who
brings a table of somebody else's results. numpy and scipy; never torch.
"""
