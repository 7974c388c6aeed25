"""How much memory training a model takes, estimated from its shape alone, without torch.

What surely stays in memory are weights and gradients in fp32 and the optimizer's state. What the
layers keep for the backward pass comes on top: some 34 bytes a token, layer and unit of width in
16 bit (Korthikanti et al. 2022, without the scores of attention, which no kernel here keeps), twice
that in fp32. This much is needed for one row at least; `train.micro_batch_size: auto` goes down to
that.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from emergectl.config.schema import Experiment, ModelSpec
from emergectl.errors import ExperimentError
from emergectl.models.config_sizes import machine_bytes
from emergectl.models.families import FAMILIES, matrices_per_layer
from emergectl.models.ladder import DEFAULT_SIZE, Shape, shape_of_size

_OPTIMIZER_BYTES = {"adamw": 8, "muon": 6, "sgd": 4}
_VOCABULARY = {None: 260, "byte": 260, "char": 128, "bpe": 8192}
_ASK_GPU_FROM = 2 << 30
"""bytes below which no GPU is asked how much it has"""


@dataclass(frozen=True)
class Footprint:
    """`fixed`: bytes of weights, gradients and optimizer state; `row`: what one row adds."""

    parameters: int
    fixed: int
    row: int


def check_memory(experiment: Experiment) -> str | None:
    """A line of warning where training may not fit into this machine; None where it may.

    Raises ExperimentError where it cannot: weights, gradients and optimizer state alone are more
    than the memory of the device that would be trained on. Nothing is said of what cannot be
    known: a model from the hub, `train.device: cuda` on a machine without one.
    """
    needed = footprint(experiment)
    if needed is None:
        return None
    available = _available(experiment.train.device, needed.fixed)
    if available is None:
        return None
    have, what = available
    spec = experiment.model
    key = "model.from" if spec.from_ else "model.config" if spec.config else "model.size"
    told = (
        f"{needed.parameters / 1e9:.3g} billion parameters with gradients and the state of "
        f"{experiment.optimizer.name} take {needed.fixed / 1e9:.3g} GB"
    )
    if needed.fixed > have:
        raise ExperimentError(
            key, f"{told}; {what} has {have / 1e9:.3g} GB: take a smaller model or a larger machine"
        )
    micro = experiment.train.micro_batch_size
    rows = needed.row * (micro if isinstance(micro, int) else 1)
    if needed.fixed + rows > 0.9 * have:
        return (
            f"{key}: {told}, and a forward pass about {rows / 1e9:.3g} GB more; {what} has "
            f"{have / 1e9:.3g} GB, which may not suffice"
        )
    return None


def footprint(experiment: Experiment) -> Footprint | None:
    """What training an experiment takes; None where its model's size cannot be told here."""
    spec = experiment.model
    shape = _shape(spec)
    tokens = experiment.data.row_tokens
    if spec.from_ is not None:
        parameters = _parameters_of_directory(Path(spec.from_))
        row = 0
    elif shape is not None:
        vocabulary = spec.config.get("vocab_size") or experiment.tokenizer.vocab_size
        vocabulary = vocabulary or _VOCABULARY[experiment.tokenizer.kind]
        parameters = matrices_per_layer(spec.family) * shape.layers * shape.width**2
        parameters += vocabulary * shape.width
        exact = 1 if experiment.train.precision in ("bf16", "fp16") else 2
        row = tokens * (34 * exact * shape.layers * shape.width + 8 * min(vocabulary, 8192))
    else:
        parameters = row = 0
    if not parameters:
        return None
    fixed = parameters * (4 + 4 + _OPTIMIZER_BYTES[experiment.optimizer.name])
    return Footprint(parameters, fixed, row)


def _shape(spec: ModelSpec) -> Shape | None:
    """Layers and width, as far as size and config fields tell."""
    named = _field(spec, "hidden_size", "n_embd", "d_model") is not None
    if spec.from_ is not None or (spec.family not in FAMILIES and not named):
        return None
    found = shape_of_size(
        spec.size or DEFAULT_SIZE, matrices_per_layer=matrices_per_layer(spec.family)
    )
    width = _field(spec, "hidden_size", "n_embd", "d_model") or found.width
    layers = _field(spec, "num_hidden_layers", "n_layer", "num_layers") or found.layers
    return Shape(layers=layers, width=width, heads=1)


def _field(spec: ModelSpec, *names: str) -> int | None:
    given = [spec.config[name] for name in names if isinstance(spec.config.get(name), int)]
    return given[0] if given and given[0] > 0 else None


def _parameters_of_directory(directory: Path) -> int:
    """Numbers in a directory's safetensors files; 0 where there are none to be read."""
    count = 0
    try:
        for file in sorted(directory.glob("model*.safetensors")):
            with file.open("rb") as opened:
                length = int.from_bytes(opened.read(8), "little")
                header = json.loads(opened.read(min(length, 100_000_000)))
            for name, tensor in header.items():
                if name != "__metadata__":
                    size = 1
                    for side in tensor["shape"]:
                        size *= side
                    count += size
    except (OSError, ValueError, KeyError, TypeError):
        return 0  # loading it will say what is wrong
    return count


def _available(device: str, needed: int) -> tuple[int, str] | None:
    """Bytes of memory of the device that would be trained on, and what it is called."""
    if needed < _ASK_GPU_FROM and device != "cpu":
        return None
    gpu = None if device == "cpu" else _gpu_bytes()
    if gpu is not None:
        return gpu, "the GPU here"
    if device == "cuda":
        return None
    return machine_bytes(), "this machine"


def _gpu_bytes() -> int | None:
    """Memory of the smallest GPU that may be used; None where there is none."""
    import subprocess

    tool = shutil.which("nvidia-smi")
    if tool is None or os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return None
    query = [tool, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout
        return min(int(line) for line in said.split()) << 20
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
