"""Pictures and pages made from records and findings: what a person looks at when a run is over.

May import training, evaluation, probes, analysis, tasks, models, data, store and config.
Matplotlib and plotext are imported inside the functions that draw.
"""
