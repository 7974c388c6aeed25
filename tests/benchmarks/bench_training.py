"""Training speed against a bare loop and Hugging Face's Trainer, on the same model and data.

    python tests/benchmarks/bench_training.py [--size small|large] [--peers bare trainer …]

Two sizes: small is 4 layers × 128, block 64, batch 12; large is 6 × 384, block 256, batch 16. The
contestants take steps in turn in one process: a few of the peer's, a few of ours, and so on, so
that whatever else the machine does slows both. Given are the fastest and the median step of each
and the median of the ratios of neighbouring steps (above 1: ours is faster). Our step holds all
that a run does in between: batch, clipping, schedule, logging, heartbeat, checks.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from transformers import (
    AutoModelForCausalLM,
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from emergectl.config.schema import Experiment, ModelSpec
from emergectl.models.family_config import family_config
from emergectl.runtime.listeners import ListenerGroup
from emergectl.runtime.ranks import join_ranks
from emergectl.runtime.stop import StopRequest
from emergectl.store.run import create_run
from emergectl.training.loop import take_step
from emergectl.training.session import Session, prepare_job

SIZES = {
    "small": {"layers": 4, "width": 128, "heads": 4, "block": 64, "batch": 12, "turn": 5},
    "large": {"layers": 6, "width": 384, "heads": 6, "block": 256, "batch": 16, "turn": 1},
}
VOCAB = 65
TOKENS = np.random.default_rng(0).integers(0, VOCAB, 1_000_000).astype(np.uint16)
WARM_UP_TURNS = 3
Step = Callable[[], object]


def shape_of(size: Mapping[str, int]) -> dict[str, int]:
    """The size in GPT-2's own words."""
    return {"n_layer": size["layers"], "n_embd": size["width"], "n_head": size["heads"]}


def make_model(size: Mapping[str, int]) -> PreTrainedModel:
    """The model that every contestant trains."""
    spec = ModelSpec(family="gpt2", config=shape_of(size))
    torch.manual_seed(0)
    config = family_config(spec, vocab_size=VOCAB, seq_len=size["block"])
    config.use_cache = False
    return AutoModelForCausalLM.from_config(config)


def bare_step(size: Mapping[str, int], *, bf16: bool, compiles: bool) -> Step:
    """The limit: a step of a loop written by hand."""
    model = make_model(size)
    decay = [p for p in model.parameters() if p.dim() >= 2]
    rest = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), fused=True)
    forward = torch.compile(model) if compiles else model
    rng, block = np.random.default_rng(1), size["block"]

    def step() -> None:
        starts = rng.integers(0, len(TOKENS) - block - 1, size["batch"])
        data = torch.from_numpy(np.stack([TOKENS[s : s + block + 1] for s in starts]).astype(int))
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = forward(input_ids=data[:, :-1]).logits
        loss = F.cross_entropy(logits.float().flatten(0, 1), data[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def our_step(size: Mapping[str, int], folder: Path, *, precision: str, compiles: Any) -> Step:
    """A step of emergectl's own loop, run directory and all."""
    source = folder / "text.txt"
    source.write_text("".join(chr(48 + int(token)) for token in TOKENS), encoding="utf-8")
    experiment = Experiment.model_validate(
        {
            "model": {"family": "gpt2", "config": shape_of(size)},
            "tokenizer": {"kind": "char"},
            "data": {
                "train": {"path": str(source)},
                "validation_fraction": 0.0,
                "seq_len": size["block"],
            },
            # Long enough that `auto` finds measuring and compiling worth its while.
            "train": {
                "steps": 1_000_000,
                "batch_size": size["batch"],
                "precision": precision,
                "compile": compiles,
            },
            "evaluation": {"every": None},
        }
    )
    run = create_run(folder / "runs", experiment, argv=[])
    job = prepare_job(
        experiment, Session(run, join_ranks(experiment.train), ListenerGroup([]), StopRequest())
    )

    def step() -> None:
        job.recorder.step(take_step(job))
        job.recorder.checkpoint_if_due()

    return step


def take_turns(
    peer: Step, ours: Step, *, turns: int, steps: int
) -> tuple[list[float], list[float]]:
    """Seconds a step, turn by turn, of the peer and of ours."""
    seconds: tuple[list[float], list[float]] = [], []
    for _ in range(turns + WARM_UP_TURNS):
        for step, times in zip((peer, ours), seconds, strict=True):
            began = time.perf_counter()
            for _ in range(steps):
                step()
            times.append((time.perf_counter() - began) / steps)
    return seconds[0][WARM_UP_TURNS:], seconds[1][WARM_UP_TURNS:]


def take_turns_with_trainer(
    size: Mapping[str, int], ours: Step, folder: Path, *, turns: int, bf16: bool, compiles: bool
) -> tuple[list[float], list[float]]:
    """The same with Trainer, which lets us in at the end of each of its steps."""
    block, steps = size["block"], size["turn"]
    rows = torch.from_numpy(TOKENS.astype(np.int64)).split(block)[:-1]
    seconds: tuple[list[float], list[float]] = [], []
    arrived = [time.perf_counter()]

    class Turns(TrainerCallback):
        def on_step_end(self, _args: Any, state: Any, *_: Any, **__: Any) -> None:
            if state.global_step % steps:
                return
            now = time.perf_counter()
            seconds[0].append((now - arrived[0]) / steps)
            for _ in range(steps):
                ours()
            arrived[0] = time.perf_counter()
            seconds[1].append((arrived[0] - now) / steps)

    arguments = TrainingArguments(
        str(folder / "trainer"),
        max_steps=(turns + WARM_UP_TURNS) * steps,
        per_device_train_batch_size=size["batch"],
        optim="adamw_torch_fused",
        learning_rate=1e-3,
        weight_decay=0.1,
        max_grad_norm=1.0,
        bf16=bf16,
        torch_compile=compiles,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
    )
    data = [{"input_ids": row, "labels": row} for row in rows]
    Trainer(make_model(size), arguments, train_dataset=data, callbacks=[Turns()]).train()
    return seconds[0][WARM_UP_TURNS:], seconds[1][WARM_UP_TURNS:]


def compare(peer: str, arguments: argparse.Namespace, folder: Path) -> str:
    """One line: how a peer (`bare bf16`, `trainer compile` …) and we compare."""
    size, words = SIZES[arguments.size], peer.split()
    ours = our_step(size, folder, precision=arguments.precision, compiles=arguments.compile)
    how: dict[str, bool] = {"bf16": "bf16" in words, "compiles": "compile" in words}
    if words[0] == "bare":
        step = bare_step(size, **how)
        theirs, own = take_turns(step, ours, turns=arguments.turns, steps=size["turn"])
    else:
        theirs, own = take_turns_with_trainer(size, ours, folder, turns=arguments.turns, **how)
    ratio = statistics.median(t / o for t, o in zip(theirs, own, strict=True))
    tokens = size["block"] * size["batch"]
    cells = [f"{name} {tokens / min(s):,.0f}" for name, s in ((peer, theirs), ("ours", own))]
    medians = f"{statistics.median(theirs) * 1e3:.1f} and {statistics.median(own) * 1e3:.1f} ms"
    return f"{', '.join(cells)} tokens/s at best; median step {medians}; ratio {ratio:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--turns", type=int, default=30)
    parser.add_argument("--peers", nargs="*", default=["bare", "trainer"])
    parser.add_argument("--precision", default="fp32", help="ours: fp32, bf16 or auto")
    parser.add_argument("--compile", default="off", choices=["on", "off", "auto"], help="ours")
    arguments = parser.parse_args()
    arguments.compile = {"on": True, "off": False}.get(arguments.compile, "auto")
    for peer in arguments.peers:
        with tempfile.TemporaryDirectory() as name:
            os.environ["EMERGECTL_CACHE"] = str(Path(name, "cache"))
            print(compare(peer, arguments, Path(name)), flush=True)


if __name__ == "__main__":
    main()
