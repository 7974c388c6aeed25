"""How long it takes to list, filter and export many runs.

python tests/benchmarks/bench_runs_list.py --runs 1000
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from emergectl.config.schema import Experiment
from emergectl.store.run import create_run

COMMANDS = (
    ["list"],
    ["list", "status=failed"],
    ["list", "--json"],
    ["list", "optimizer.lr=0.001"],
    ["show"],
    ["export"],
)


def make_runs(root: Path, count: int, lines: int) -> None:
    """One real run with so many metric lines, copied under other ids."""
    experiment = Experiment.model_validate({"name": "bench", "data": {"train": [{"path": "x"}]}})
    with create_run(root, experiment, argv=["bench"]) as run:
        run.set_status("running")
        for step in range(lines):
            run.metrics.append({"step": step, "tokens": step * 4096, "loss": 1 / (step + 1)})
        run.set_status("done", step=lines, exit_code=0)
    for number in range(count - 1):
        copy = root / f"20260101-{number:06d}-bench-{number:04x}"
        shutil.copytree(run.path, copy)
        facts = json.loads((copy / "run.json").read_text())
        (copy / "run.json").write_text(json.dumps(facts | {"id": copy.name}))


def main() -> None:
    """Make the runs, time each command as a person waits for it, start of Python included."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--lines", type=int, default=1000, help="metric lines in each run")
    options = parser.parse_args()
    program = "import sys; from emergectl.cli.main import main; sys.exit(main())"
    with tempfile.TemporaryDirectory() as folder:
        make_runs(Path(folder), options.runs, options.lines)
        print(f"{options.runs} runs of {options.lines} metric lines; seconds, best of three")
        for command in COMMANDS:
            seconds = []
            for _ in range(3):
                began = time.perf_counter()
                subprocess.run(
                    [sys.executable, "-c", program, "runs", *command],
                    env={**os.environ, "EMERGECTL_RUNS": folder},
                    stdout=subprocess.DEVNULL,
                    check=True,
                )
                seconds.append(time.perf_counter() - began)
            print(f"{min(seconds):6.2f}  emergectl runs {' '.join(command)}")


if __name__ == "__main__":
    main()
