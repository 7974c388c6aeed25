"""A sweep file of tiny trials, to be filled in."""

from collections.abc import Callable
from pathlib import Path

SWEEP = """\
name: tiny
ensemble: {ensemble}
experiment:
  model: {{family: gpt2, size: 10k}}
  tokenizer: {{kind: char}}
  data: {{train: {{path: {text}}}, seq_len: 16}}
  train:
    {{steps: {steps}, batch_size: 2, deterministic: true, device: cpu, threads: 1, precision: fp32,
     compile: false}}
  evaluation: {{every: null, batches: 1, batch_size: 2}}
  checkpoints: {{every: 4, minutes: null, keep_best: false}}
{varies}
"""
WORDS = "the cat sat on a mat and saw big red dogs run far away from home in rain or sun"

Study = Callable[..., Path]
