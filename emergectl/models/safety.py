"""What a model directory from somewhere else may hold: numbers and settings, never code.

Before transformers sees a directory it is checked here. Weights are safetensors; pickles run code
when they are read and are never opened. A config that would have code fetched or imported
(`auto_map`, kernels from a hub, quantizers, other repositories inside it) is refused, and so is
any file that is a link to somewhere else, and a config of sizes that the weights or this machine's
memory cannot hold. Nothing here reads a weight: headers only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from emergectl.errors import ExperimentError
from emergectl.models.config_sizes import beyond_weights, machine_bytes, too_large
from emergectl.store.origins import link_out

MAX_JSON_BYTES = 16 * 1024 * 1024
"""no config is larger; the index of a 1,000-shard model has 10 MB"""

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz", ".msgpack")
"""endings of weight files that can run code, or that we do not read"""

ATTENTIONS = {"eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"}
"""implementations a config may name: those that ship with transformers"""

CODE_KEYS = {
    "auto_map": "would import Python code from the source",
    "custom_pipelines": "would import Python code from the source",
    "trust_remote_code": "would allow Python code from the source",
    "use_kernels": "would fetch compiled code from a hub",
    "use_hub_kernels": "would fetch compiled code from a hub",
    "kernel_config": "would fetch compiled code from a hub",
    "kernel_mapping": "would fetch compiled code from a hub",
    "fusion_config": "would fetch compiled code from a hub",
    "transformers_weights": "names other weights than the directory's own",
    "configuration_files": "names another config than the directory's own",
    "quantization_config": "belongs to weights that need a quantizer's own code",
    "use_timm_backbone": "would fetch a model from another repository",
    "use_pretrained_backbone": "would fetch a model from another repository",
}
"""keys that have transformers fetch or import something, whatever section they stand in"""


def check_model_directory(directory: Path) -> None:
    """Refuse a model directory that holds anything but settings and safetensors weights.

    Raises ExperimentError for `model.from` with the file, the reason and what to do.
    """
    if not directory.is_dir():
        raise _refusal(directory, "is not a directory")
    for path in sorted(directory.iterdir()):
        _refuse_link_out(path, directory)
        if not path.is_file() and not path.is_dir():
            raise _refusal(path, "is neither a file nor a folder")
    for path in sorted(directory.glob("*.json")):
        if path.name == "config.json" or path.name.endswith("_config.json"):
            _check_settings(path, read_json_object(path))
    if not (directory / "config.json").is_file():
        raise _refusal(directory, "has no config.json: it is not a model directory")
    if (directory / "adapter_config.json").exists():
        raise _refusal(
            directory, "holds an adapter (adapter_config.json): merge it into its model first"
        )
    tensors = numbers = 0
    for path in weight_files(directory):
        shapes = shapes_in_header(path)
        tensors += len(shapes)
        numbers += sum(math.prod(shape) for shape in shapes.values())
    config = directory / "config.json"
    problem = beyond_weights(read_json_object(config), tensors=tensors, numbers=numbers)
    if problem is not None:
        raise _refusal(config, problem)
    if 4 * numbers > machine_bytes():
        raise _refusal(
            directory,
            f"its weights take {4 * numbers / 1e9:,.0f} GB in fp32, and this machine has "
            f"{machine_bytes() / 1e9:,.0f} GB of memory",
        )


def weight_files(directory: Path) -> list[Path]:
    """The safetensors files that hold a directory's weights: one, or the shards of an index.

    Raises ExperimentError where there are none, or where the index names what is no shard here.
    """
    single = directory / "model.safetensors"
    index = directory / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if index.is_file():
        shards = read_json_object(index).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise _refusal(index, "has no weight_map")
        return [_shard(directory, index, name) for name in sorted({*map(str, shards.values())})]
    pickles = sorted(p.name for p in directory.iterdir() if p.suffix.lower() in PICKLES)
    if pickles:
        raise _refusal(
            directory / pickles[0],
            "pickled weights can run code and are never read: convert them to safetensors",
        )
    raise _refusal(directory, "has no weights (model.safetensors)")


def read_json_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file of bounded size and depth; ExperimentError for anything else."""
    if path.stat().st_size > MAX_JSON_BYTES:
        raise _refusal(path, f"is larger than {MAX_JSON_BYTES} bytes: it is no settings file")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _refusal(path, f"is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise _refusal(path, f"holds a {type(value).__name__}, not an object")
    return value


def _check_settings(path: Path, settings: dict[str, Any]) -> None:
    for key, value in _walk(settings):
        if key in CODE_KEYS and value not in (None, False, {}, []):
            raise _refusal(path, f"`{key}` {CODE_KEYS[key]}: refused")
        if key.endswith(("_implementation", "_implementation_internal")):
            names = value.values() if isinstance(value, dict) else [value]
            for name in names:
                if name is not None and name not in ATTENTIONS:
                    raise _refusal(path, f"`{key}: {name}` would fetch compiled code: refused")
    found = too_large(settings) if path.name == "config.json" else None
    if found is not None:
        raise _refusal(path, "`{}`: {}".format(*found))


def _walk(settings: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every key with its value, in all objects and lists inside, however deep."""
    left: list[Any] = [settings]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            yield from value.items()
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)


def _shard(directory: Path, index: Path, name: str) -> Path:
    path = directory / name
    if Path(name).name != name or not name.endswith(".safetensors"):
        raise _refusal(index, f"names {name!r}, which is no safetensors file beside it")
    if not path.is_file():
        raise _refusal(index, f"names {name}, which is missing")
    return path


def shapes_in_header(path: Path) -> dict[str, list[int]]:
    """Tensor → shape of a safetensors file; ExperimentError for what is no sound one."""
    try:
        with safe_open(path, framework="pt") as weights:
            return {name: weights.get_slice(name).get_shape() for name in weights.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise _refusal(path, f"is not a sound safetensors file: {error}") from error


def _refuse_link_out(path: Path, directory: Path) -> None:
    target = link_out(path, directory)
    if target is not None:
        raise _refusal(path, f"is a link out of its directory, to {target}: refused")


def _refusal(path: Path, reason: str) -> ExperimentError:
    return ExperimentError("model.from", f"{path}: {reason}")
