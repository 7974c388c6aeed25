"""Training speed against a bare loop and Hugging Face's Trainer, on the same model and data.

    python tests/benchmarks/bench_training.py [--size small|large] [--family gpt2] [--rounds 3]

Two sizes: small is 4 layers × 128, block 64, batch 12; large is 6 × 384, block 256, batch 16. Every
contestant is a process of its own that trains on the same random characters, so that neither a
warm cache nor a compiled kernel of one helps another; the rounds go through all contestants in
turn, and the median of each is given, with its ratio to the others. What is timed begins after the
warm-up (compilation included) and holds everything a run does in between: batches, clipping,
schedule, logging.
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
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

SIZES = {
    "small": {"layers": 4, "width": 128, "heads": 4, "block": 64, "batch": 12, "steps": 300},
    "large": {"layers": 6, "width": 384, "heads": 6, "block": 256, "batch": 16, "steps": 12},
}
VOCAB = 65
CONTESTANTS = ["bare", "ours", "trainer", "trainer compile", "bare bf16", "ours bf16"]
CONTESTANTS += ["trainer bf16", "trainer bf16 compile", "ours auto"]


def make_config(family: str, size: Mapping[str, int]) -> Any:
    from emergectl.config.schema import ModelSpec
    from emergectl.models.families import family_config

    fields = {"gpt2": ("n_layer", "n_embd", "n_head")}.get(
        family, ("num_hidden_layers", "hidden_size", "num_attention_heads")
    )
    shape = dict(zip(fields, (size["layers"], size["width"], size["heads"]), strict=True))
    return family_config(
        ModelSpec(family=family, config=shape), vocab_size=VOCAB, seq_len=size["block"]
    )


def make_tokens() -> Any:
    import numpy as np

    return np.random.default_rng(0).integers(0, VOCAB, 1_000_000).astype(np.uint16)


def bare(family: str, size: Mapping[str, int], *, bf16: bool) -> float:
    """The limit: a loop written by hand on the same model; tokens/s."""
    import numpy as np
    import torch
    from torch.nn import functional as F
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(make_config(family, size))
    model.config.use_cache = False
    decay = [p for p in model.parameters() if p.dim() >= 2]
    rest = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), fused=True)
    tokens, block, batch = make_tokens(), size["block"], size["batch"]
    rng = np.random.default_rng(1)
    warm, began = warm_up(size), 0.0
    for step in range(warm + size["steps"]):
        if step == warm:
            began = time.perf_counter()
        starts = rng.integers(0, len(tokens) - block - 1, batch)
        rows = np.stack([tokens[s : s + block + 1] for s in starts]).astype(np.int64)
        data = torch.from_numpy(rows)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model(input_ids=data[:, :-1]).logits
        loss = F.cross_entropy(logits.float().flatten(0, 1), data[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return size["steps"] * batch * block / (time.perf_counter() - began)


def trainer(family: str, size: Mapping[str, int], *, bf16: bool, compiles: bool) -> float:
    """Hugging Face's Trainer, fused AdamW, no logging, no evaluation, no saving; tokens/s."""
    import torch
    from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(make_config(family, size))
    model.config.use_cache = False
    block, warm = size["block"], warm_up(size)
    rows = torch.from_numpy(make_tokens().astype("int64")).split(block)[:-1]
    data = [{"input_ids": row, "labels": row} for row in rows]
    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, _args: Any, state: Any, *_: Any, **__: Any) -> None:
            if state.global_step in (warm, warm + size["steps"]):
                times.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            max_steps=warm + size["steps"],
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
        Trainer(model, arguments, train_dataset=data, callbacks=[Clock()]).train()
    return size["steps"] * size["batch"] * block / (times[1] - times[0])


def ours(family: str, size: Mapping[str, int], **train: Any) -> float:
    """emergectl's own session, run directory and all; tokens/s."""
    from emergectl.config.schema import Experiment
    from emergectl.store.run import create_run
    from emergectl.training.listeners import RunFacts
    from emergectl.training.ranks import join_ranks
    from emergectl.training.session import Session, run_session
    from emergectl.training.stop import StopRequest

    warm, every = warm_up(size), 1 if size["steps"] < 50 else 10
    times: dict[int, float] = {}

    class Clock:
        def start(self, facts: RunFacts) -> None:
            print(facts.precision, "compiled" if facts.compiled else "eager", file=sys.stderr)

        def metrics(self, record: Mapping[str, float]) -> None:
            times[int(record["step"])] = time.perf_counter()

        def message(self, text: str) -> None:
            print(text, file=sys.stderr)

        def close(self, state: str) -> None: ...

    with tempfile.TemporaryDirectory() as folder:
        text = "".join(chr(48 + int(token)) for token in make_tokens())
        source = Path(folder, "text.txt")
        source.write_text(text, encoding="utf-8")
        config = make_config(family, size)
        names = {"gpt2": ("n_layer", "n_embd", "n_head")}.get(
            family, ("num_hidden_layers", "hidden_size", "num_attention_heads")
        )
        # A budget that makes `auto` think of a long run; it is stopped when enough was timed.
        stop = StopRequest()
        budget = warm + size["steps"] if "precision" in train else 1_000_000
        experiment = Experiment.model_validate(
            {
                "model": {"family": family, "config": {n: getattr(config, n) for n in names}},
                "tokenizer": {"kind": "char"},
                "data": {
                    "train": {"path": str(source)},
                    "validation_fraction": 0.0,
                    "seq_len": size["block"],
                },
                "train": {
                    "steps": budget,
                    "batch_size": size["batch"],
                    "log_every": every,
                    **train,
                },
                "evaluation": {"every": None},
            }
        )
        clock = Clock()

        def metrics(record: Mapping[str, float]) -> None:
            Clock.metrics(clock, record)
            if record["step"] >= warm + size["steps"]:
                stop.signum = 15

        clock.metrics = metrics  # type: ignore[method-assign]
        with create_run(Path(folder), experiment, argv=[]) as run:
            ranks = join_ranks(experiment.train)
            try:
                run_session(experiment, Session(run, ranks, clock, stop))
            except Exception as error:  # The stop that we asked for.
                if stop.signum is None:
                    raise error
        return (
            size["steps"]
            * size["batch"]
            * size["block"]
            / (times[warm + size["steps"]] - times[warm])
        )


def warm_up(size: Mapping[str, int]) -> int:
    """Steps before the clock starts."""
    return 20 if size["steps"] >= 50 else 3


def run_contestant(name: str, family: str, size: Mapping[str, int]) -> float:
    """Tokens/s of one contestant, in this process."""
    words = name.split()
    if words[0] == "bare":
        return bare(family, size, bf16="bf16" in words)
    if words[0] == "trainer":
        return trainer(family, size, bf16="bf16" in words, compiles="compile" in words)
    if "auto" in words:
        return ours(family, size)
    return ours(family, size, precision="bf16" if "bf16" in words else "fp32", compile=False)


def in_child(name: str, arguments: argparse.Namespace) -> float:
    """Tokens/s of one contestant, in a process of its own."""
    command = [sys.executable, __file__, "--size", arguments.size, "--family", arguments.family]
    done = subprocess.run(
        [*command, "--one", name], check=True, stdout=subprocess.PIPE, env={**os.environ}
    )
    return float(json.loads(done.stdout.splitlines()[-1]))


def report(speeds: Mapping[str, list[float]]) -> Iterator[str]:
    """The medians and the ratios that matter."""
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    for name, values in speeds.items():
        spread = f"{min(values):,.0f}–{max(values):,.0f}"
        yield f"{name:22} {medians[name]:>10,.0f} tokens/s   ({spread})"
    for suffix in ("", " bf16"):
        if f"ours{suffix}" in medians and f"bare{suffix}" in medians:
            ratio = medians[f"ours{suffix}"] / medians[f"bare{suffix}"]
            yield f"ours{suffix} / bare{suffix}: {ratio:.3f}"
    peers = {name: speed for name, speed in medians.items() if name.startswith("trainer")}
    if peers and "ours auto" in medians:
        best = max(peers, key=lambda name: peers[name])
        yield f"ours auto / {best} (Trainer's best): {medians['ours auto'] / peers[best]:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--family", default="gpt2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=CONTESTANTS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(run_contestant(arguments.one, arguments.family, SIZES[arguments.size])))
        return
    speeds: dict[str, list[float]] = {name: [] for name in arguments.only}
    for number in range(arguments.rounds):
        for name in arguments.only:
            speeds[name].append(in_child(name, arguments))
            print(f"round {number + 1} {name}: {speeds[name][-1]:,.0f}", file=sys.stderr)
    print("\n".join(report(speeds)))


if __name__ == "__main__":
    main()
