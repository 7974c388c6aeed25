"""What a trial costs beyond its training steps, in a warm worker: the goal is under 100 ms.

    python tests/benchmarks/bench_sweep.py

One worker trains 60 small trials one after the other. The time from the end of a trial to the end
of the next, less the time in its training loop, is what everything else takes: claiming, the run
directory, data, model, two evaluations, a checkpoint with its fsyncs, the table's sources.
"""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path

from emergectl.store.locate import list_runs
from emergectl.store.metrics_log import read_metrics

TRIALS = 60
SWEEP = f"""\
ensemble: "off"
experiment:
  model: {{family: gpt2, size: 10k}}
  tokenizer: {{kind: char}}
  data: {{train: {{path: text.txt}}, seq_len: 16}}
  train: {{steps: 20, batch_size: 4, device: cpu, precision: fp32, compile: false}}
  evaluation: {{every: null, batches: 1}}
seeds: {TRIALS}
"""


def main() -> None:
    """Run the sweep and print the median overhead of a trial."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "text.txt").write_text("the cat sat on a mat and saw big red dogs\n" * 200)
        (folder / "bench.yaml").write_text(SWEEP)
        command = [sys.executable, "-m", "emergectl", "sweep", str(folder / "bench.yaml")]
        command += ["--workers", "1", "--runs-dir", str(folder / "runs"), "--json"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=dict(os.environ))
        log = (folder / "runs" / "sweeps" / "bench" / "log.txt").read_text().splitlines()
        ends = [datetime.fromisoformat(line.split()[0]) for line in log if line.endswith("done")]
        trials = [(b - a).total_seconds() for a, b in itertools.pairwise(ends)][5:]
        loops = [
            max(record.get("seconds", 0.0) for record in read_metrics(run / "metrics.jsonl"))
            for run in list_runs(folder / "runs")
        ]
    whole, loop = statistics.median(trials), statistics.median(loops)
    print(f"a trial {1000 * whole:.0f} ms, of which in its training loop {1000 * loop:.0f} ms")
    print(f"overhead {1000 * (whole - loop):.0f} ms (goal: under 100 ms)")


if __name__ == "__main__":
    main()
