"""Tokens per second of 32 seeds: as an ensemble, as processes, and one after the other.

    python tests/benchmarks/bench_ensemble.py [--shapes 1x32 2x64 4x128] [--seconds 5]

Three shapes of GPT-2: 1 layer × 32 with 32 tokens a step, 2 × 64 with 256, 4 × 128 with 768. Every
contestant takes whole training steps (batch, gradients, clipping, AdamW) for some seconds, in
rounds that take turns; given is the best round of each, since a neighbour can only slow one down.
`auto` is what a sweep chooses (`ensemble: auto`), whose workers are processes of one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from emergectl.config.schema import Experiment

SEEDS = 32
SHAPES = {
    # layers, width, heads, tokens of a sequence, sequences a step
    "1x32": (1, 32, 2, 16, 2),
    "2x64": (2, 64, 2, 32, 8),
    "4x128": (4, 128, 4, 64, 12),
}
ROUNDS = 3


def experiment_of(shape: str, seed: int = 0) -> Experiment:
    """The experiment of a seed, on the text that $BENCH_TEXT names."""
    layers, width, heads, seq_len, batch = SHAPES[shape]
    sizes = {"num_hidden_layers": layers, "hidden_size": width, "num_attention_heads": heads}
    return Experiment.model_validate(
        {
            "seed": seed,
            "model": {"family": "gpt2", "config": sizes},
            "tokenizer": {"kind": "char"},
            "data": {"train": {"path": os.environ["BENCH_TEXT"]}, "seq_len": seq_len},
            "train": {"steps": 10**6, "batch_size": batch, "device": "cpu", "precision": "fp32",
                      "compile": False},
            "evaluation": {"every": None},
        }
    )  # fmt: skip


def contestant(shape: str, members: int) -> None:
    """A process that trains `members` as one: for each line of stdin, so many seconds."""
    import torch

    from emergectl.runtime.listeners import ListenerGroup
    from emergectl.runtime.ranks import join_ranks
    from emergectl.runtime.stop import StopRequest
    from emergectl.training.ensemble import arithmetic_of_members, take_steps
    from emergectl.training.loop import take_step
    from emergectl.training.session import Session, prepare_job
    from emergectl.training.stack import Stack

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    ranks = join_ranks(experiment_of(shape).train)
    jobs = []
    for seed in range(members):
        experiment = experiment_of(shape, seed)
        decided = arithmetic_of_members(experiment, ranks)
        session = Session(None, ranks, ListenerGroup([]), StopRequest(), decided=decided)
        jobs.append(prepare_job(experiment, session))
    stack = Stack(jobs) if members > 1 else None

    def step() -> int:
        results = [take_step(jobs[0])] if stack is None else take_steps(stack, jobs)
        return sum(result.tokens for result in results if not isinstance(result, Exception))

    for _ in range(3):
        step()
    print("ready", flush=True)
    for line in sys.stdin:
        began, tokens = time.perf_counter(), 0
        while time.perf_counter() - began < float(line):
            tokens += step()
        print(tokens / (time.perf_counter() - began), flush=True)


class Team:
    """Processes that train at the same time."""

    def __init__(self, shape: str, *, processes: int, threads: int, members: int) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        command = [sys.executable, __file__, "--contestant", shape, str(members)]
        self._all = [
            subprocess.Popen(
                command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(processes)
        ]
        self.best = 0.0
        for process in self._all:
            assert process.stdout is not None
            process.stdout.readline()

    def play(self, seconds: float) -> None:
        """One round; the team's tokens per second count if they are its best."""
        for process in self._all:
            assert process.stdin is not None
            process.stdin.write(f"{seconds}\n")
            process.stdin.flush()
        self.best = max(self.best, sum(float(p.stdout.readline()) for p in self._all if p.stdout))

    def close(self) -> None:
        """Let them go."""
        for process in self._all:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()


def measure(shape: str, seconds: float, cores: int) -> dict[str, Any]:
    """Tokens per second of every contestant at a shape."""
    share = -(-SEEDS // cores)
    teams = {"one after the other": Team(shape, processes=1, threads=cores, members=1)}
    teams["processes"] = Team(shape, processes=cores, threads=1, members=1)
    teams["ensemble"] = Team(shape, processes=1, threads=cores, members=SEEDS)
    for members in sorted({8, share}):
        name = f"{cores} ensembles of {members}"
        teams[name] = Team(shape, processes=cores, threads=1, members=members)
    for _ in range(ROUNDS):
        for team in teams.values():
            team.play(seconds)
    for team in teams.values():
        team.close()
    found: dict[str, Any] = {name: team.best for name, team in teams.items()}
    size = chosen_by_auto(shape, share)
    chosen = f"{cores} ensembles of {size}" if size > 1 else "processes"
    return {**found, "auto": found[chosen], "auto chose": chosen}


def chosen_by_auto(shape: str, share: int) -> int:
    """The size that a sweep's worker measures to be best, in a process like a worker."""
    code = (
        "import json, sys; from bench_ensemble import experiment_of;"
        "from emergectl.sweeps.measure_ensembles import weigh;"
        "from emergectl.sweeps.ensembles import best_size, candidates;"
        f"print(best_size(weigh(experiment_of({shape!r}), candidates({share}))))"
    )
    path = os.pathsep.join([os.path.dirname(__file__), *sys.path])  # noqa: PTH120
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    command = [sys.executable, "-c", code]
    return int(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--contestant"]:
        contestant(sys.argv[2], int(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="*", default=[*SHAPES], choices=SHAPES)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder, "text.txt")
        text.write_text("the cat sat on a mat and saw big red dogs run far away\n" * 2000)
        os.environ |= {"BENCH_TEXT": str(text), "EMERGECTL_CACHE": folder}
        compare(arguments, cores)


def compare(arguments: argparse.Namespace, cores: int) -> None:
    """All contestants at every shape that was asked for."""
    for shape in arguments.shapes:
        found = measure(shape, arguments.seconds, cores)
        if arguments.json:
            print(json.dumps({"shape": shape, **found}), flush=True)
            continue
        serial = found["one after the other"]
        best = max(
            value for name, value in found.items() if name != "auto chose" and name != "auto"
        )
        for name, value in found.items():
            if name == "auto chose":
                continue
            note = (
                f" ({found['auto chose']}; {value / best:.2f} of the best)"
                if name == "auto"
                else ""
            )
            print(
                f"{shape}  {name}: {value:,.0f} tokens/s, ×{value / serial:.2f}{note}", flush=True
            )


if __name__ == "__main__":
    main()
