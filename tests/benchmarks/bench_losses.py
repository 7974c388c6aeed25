"""How long the loss over a vocabulary takes: logits whole, PyTorch's chunks, and ours.

    python tests/benchmarks/bench_losses.py [--rows 2048] [--width 384] [--vocab 50257] [--bf16]

Forward and backward from the last hidden states to the gradients of these and of the output
matrix; medians of alternating repetitions, and the largest tensor of logits each way holds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F

from emergectl.models.linear_loss import CHUNK_ROWS, linear_cross_entropy


def main() -> None:
    options = arguments()
    device = torch.device(options.device)
    dtype = torch.bfloat16 if options.bf16 else torch.float32
    hidden = torch.randn(options.rows, options.width, device=device, requires_grad=True)
    weight = torch.randn(options.vocab, options.width, device=device).mul(0.02).requires_grad_()
    labels = torch.randint(0, options.vocab, (options.rows,), device=device)

    ways: dict[str, Callable[[], torch.Tensor]] = {
        "whole": lambda: F.cross_entropy(F.linear(hidden, weight).float(), labels, reduction="sum"),
        "ours": lambda: linear_cross_entropy(hidden, weight, labels, ignored=-100),
    }
    if hasattr(F, "linear_cross_entropy"):
        chunked = torch.nn.LinearCrossEntropyOptions()
        ways["torch"] = lambda: F.linear_cross_entropy(
            hidden, weight, labels, reduction="sum", options=chunked
        )
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(options.repeat + 1):
        for way, loss in ways.items():
            hidden.grad = weight.grad = None
            start = time.perf_counter()
            with torch.autocast(device.type, dtype, enabled=options.bf16):
                total = loss()
            (total / options.rows).backward()
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds[way].append(time.perf_counter() - start)

    rows = {"whole": options.rows, "ours": min(CHUNK_ROWS, options.rows)}
    print(f"{options.rows} x {options.width} against {options.vocab} tokens, {dtype}, {device}")
    whole = statistics.median(seconds["whole"][1:])
    for way, times in seconds.items():
        median = statistics.median(times[1:])
        held = rows[way] * options.vocab * 4 / 2**20 if way in rows else float("nan")
        print(f"{way:6} {1e3 * median:8.1f} ms  x{whole / median:.2f}  logits {held:6.0f} MiB")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--vocab", type=int, default=50257)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeat", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
