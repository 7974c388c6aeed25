"""How long people wait: for help, and from the command to the first step of a small run.

    python tests/benchmarks/bench_startup.py [--rounds 5]

Whole processes, imports included; the smallest, median and largest of the rounds. The small run is
the 4 × 128 model on text; its data is read and tokenised once before (a cold start) and then found
in the cache. `import torch` stands beside for scale.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EXPERIMENT = """\
name: startup
model: {family: gpt2, config: {n_layer: 4, n_embd: 128, n_head: 4}}
tokenizer: {kind: char}
data: {train: {path: text.txt}, seq_len: 64}
train: {steps: 2000, batch_size: 12}
evaluation: {every: null, batches: 20}
"""


def seconds_of(command: list[str]) -> float:
    """Wall time of a whole process."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def seconds_to_first_step(folder: Path, number: int) -> float:
    """From the start of `emergectl train` to the line of step 1, after which it is ended."""
    run = folder / f"run-{number}"
    command = [sys.executable, "-m", "emergectl", "train", str(folder / "startup.yaml")]
    began = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--json", "--run-dir", str(run)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "EMERGECTL_CACHE": str(folder / "cache")},
    )
    metrics = run / "metrics.jsonl"
    while process.poll() is None:
        lines = metrics.read_text("utf-8").splitlines() if metrics.exists() else []
        if any(json.loads(line)["step"] == 1 for line in lines if line.endswith("}")):
            break
        time.sleep(0.01)
    else:
        raise SystemExit(f"the run ended with {process.returncode} before its first step")
    seconds = time.perf_counter() - began
    process.kill()
    process.wait()
    return seconds


def show(name: str, seconds: list[float]) -> None:
    """One line of a table."""
    low, high = min(seconds), max(seconds)
    print(f"{name:34} {statistics.median(seconds):6.2f} s   ({low:.2f}–{high:.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = range(parser.parse_args().rounds)
    emergectl = [sys.executable, "-m", "emergectl"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "startup.yaml").write_text(EXPERIMENT)
        (folder / "text.txt").write_text("It was the best of times.\n" * 40_000)
        for command in (["--help"], ["schema"], ["validate", str(folder / "startup.yaml")]):
            show(f"emergectl {command[0]}", [seconds_of([*emergectl, *command]) for _ in rounds])
        show("import torch", [seconds_of([sys.executable, "-c", "import torch"]) for _ in rounds])
        show("first step, nothing cached", [seconds_to_first_step(folder, 0)])
        later = [seconds_to_first_step(folder, 1 + number) for number in rounds]
        show("first step, data cached", later)


if __name__ == "__main__":
    main()
