"""Model directories made to do harm: nothing in them runs, nothing is fetched, each is named.

The payload of every artefact that can carry one writes the canary file; a socket that is opened
is a failure by itself.
"""

import json
import os
import pickle
import shutil
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from emergectl.config.schema import ModelSpec
from emergectl.errors import ExperimentError
from emergectl.models.build import load_model, load_weights, new_model, save_model
from emergectl.models.config_sizes import too_large

Artefact = Callable[[Path, Path], None]
"""spoils the sound model directory (first) so that loading it would make the canary (second)"""


class Payload:
    """Writes the canary when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.canary}",)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sound")
    spec = ModelSpec(family="gpt2", size="10k")
    save_model(new_model(spec, head="causal", vocab_size=20, seq_len=8, seed=0), directory)
    return directory


@pytest.fixture
def hostile(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "hostile"))


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def pickle_into(path: Path, canary: Path) -> None:
    path.write_bytes(pickle.dumps(Payload(canary)))


def only_pickle(name: str) -> Artefact:
    def spoil(directory: Path, canary: Path) -> None:
        (directory / "model.safetensors").unlink()
        pickle_into(directory / name, canary)

    return spoil


def torch_archive(directory: Path, canary: Path) -> None:
    (directory / "model.safetensors").unlink()
    torch.save({"w": Payload(canary)}, directory / "pytorch_model.bin")


def pickle_called_safetensors(directory: Path, canary: Path) -> None:
    pickle_into(directory / "model.safetensors", canary)


def index_of(shard: str) -> Artefact:
    def spoil(directory: Path, canary: Path) -> None:
        (directory / "model.safetensors").unlink()
        pickle_into(directory / "payload.bin", canary)
        pickle_into(directory.parent / "outside.safetensors", canary)
        index = {"metadata": {}, "weight_map": {"transformer.wte.weight": shard}}
        (directory / "model.safetensors.index.json").write_text(json.dumps(index))

    return spoil


def header(
    text: bytes | dict[str, Any], *, length: int | None = None, data: bytes = b""
) -> Artefact:
    """Weights with a safetensors header of one's own."""

    def spoil(directory: Path, _: Path) -> None:
        raw = text if isinstance(text, bytes) else json.dumps(text).encode()
        size = struct.pack("<Q", len(raw) if length is None else length)
        (directory / "model.safetensors").write_bytes(size + raw + data)

    return spoil


def entry(start: int, end: int, **more: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [(end - start) // 4], "data_offsets": [start, end], **more}


def setting(name: str = "config.json", **keys: Any) -> Artefact:
    """A settings file with further keys, and a Python module beside it that makes the canary."""

    def spoil(directory: Path, canary: Path) -> None:
        path = directory / name
        settings = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(settings | keys))
        code = f"import pathlib; pathlib.Path({str(canary)!r}).touch()\nclass Model: pass\n"
        (directory / "payload.py").write_text(code)

    return spoil


def written(name: str, content: bytes) -> Artefact:
    return lambda directory, _: (directory / name).write_bytes(content) and None


def link(name: str, target: str) -> Artefact:
    def spoil(directory: Path, _: Path) -> None:
        (directory / name).unlink(missing_ok=True)
        (directory / name).symlink_to(target)

    return spoil


def weights_linked_out(directory: Path, _: Path) -> None:
    shutil.move(directory / "model.safetensors", directory.parent / "elsewhere.safetensors")
    (directory / "model.safetensors").symlink_to("../elsewhere.safetensors")


def pipe(directory: Path, _: Path) -> None:
    os.mkfifo(directory / "generation.json")


def adapter(directory: Path, canary: Path) -> None:
    base = {"base_model_name_or_path": "nobody/base", "peft_type": "LORA"}
    (directory / "adapter_config.json").write_text(json.dumps(base))
    pickle_into(directory / "adapter_model.bin", canary)


CODE = {"AutoConfig": "payload.Model", "AutoModelForCausalLM": "payload.Model"}

REFUSED: dict[str, tuple[Artefact, str]] = {
    "pickled weights": (only_pickle("pytorch_model.bin"), "never read"),
    "a torch archive": (torch_archive, "never read"),
    "weights named pt": (only_pickle("model.pt"), "never read"),
    "weights named pth": (only_pickle("consolidated.00.pth"), "never read"),
    "weights named ckpt": (only_pickle("model.ckpt"), "never read"),
    "weights named pkl": (only_pickle("model.pkl"), "never read"),
    "weights in capitals": (only_pickle("MODEL.BIN"), "never read"),
    "a pickle called safetensors": (pickle_called_safetensors, "not a sound safetensors"),
    "an index of a pickle": (index_of("payload.bin"), "no safetensors file beside it"),
    "an index that climbs out": (index_of("../outside.safetensors"), "no safetensors file beside"),
    "an index to the root": (index_of("/etc/x.safetensors"), "no safetensors file beside it"),
    "an index of nothing": (index_of("gone.safetensors"), "which is missing"),
    "a header of 2^63 bytes": (header(b"{}", length=2**63), "not a sound safetensors"),
    "a header longer than the file": (header(b"{}", length=1000), "not a sound safetensors"),
    "a header that is no JSON": (header(b"cos\nsystem\n"), "not a sound safetensors"),
    "tensors that overlap": (
        header({"a": entry(0, 8), "b": entry(4, 12)}, data=bytes(12)),
        "not a sound safetensors",
    ),
    "tensors beyond the file": (header({"a": entry(0, 4096)}, data=bytes(8)), "not a sound"),
    "a shape that lies": (header({"a": entry(0, 8, shape=[2**40])}, data=bytes(8)), "not a sound"),
    "a dtype of one's own": (header({"a": entry(0, 8, dtype="OBJ")}, data=bytes(8)), "not a sound"),
    "auto_map": (setting(auto_map=CODE, model_type="own"), "auto_map"),
    "auto_map over a known type": (setting(auto_map=CODE), "auto_map"),
    "auto_map inside a section": (setting(text_config={"auto_map": CODE}), "auto_map"),
    "auto_map of the tokenizer": (setting("tokenizer_config.json", auto_map=CODE), "auto_map"),
    "attention from a hub": (
        setting(_attn_implementation="evil/kernels"),
        "`_attn_implementation: evil/kernels`",
    ),
    "attention by its inner name": (
        setting(_attn_implementation_internal="evil/kernels@main:run"),
        "would fetch compiled code",
    ),
    "attention by section": (setting(attn_implementation={"": "evil/k"}), "compiled code"),
    "experts from a hub": (setting(_experts_implementation="evil/moe"), "compiled code"),
    "kernels switched on": (setting(use_kernels=True), "use_kernels"),
    "kernels mapped": (setting(kernel_config={"RMSNorm": "evil/norm"}), "kernel_config"),
    "fused kernels": (setting(fusion_config={"x": "evil/x"}), "fusion_config"),
    "a quantizer": (setting(quantization_config={"quant_method": "hqq"}), "quantizer"),
    "other weights": (setting(transformers_weights="adapter_model.bin"), "other weights"),
    "another config": (setting(configuration_files=["config.4.0.0.json"]), "another config"),
    "an adapter": (adapter, "holds an adapter"),
    "weights that link out": (weights_linked_out, "link out of its directory"),
    "a secret linked in": (link("vocab.json", "/etc/passwd"), "link out of its directory"),
    "a folder linked in": (link("checkpoints", "/"), "link out of its directory"),
    "a pipe that never ends": (pipe, "neither a file nor a folder"),
    "a config that is Python": (written("config.json", b"__import__('os')"), "is not JSON"),
    "a config that is YAML": (
        written("config.json", b"!!python/object/apply:os.system [touch canary]"),
        "is not JSON",
    ),
    "a config of brackets": (written("config.json", b"[" * 100_000), "is not JSON"),
    "a config of nested objects": (
        written("config.json", b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
        "is not JSON",
    ),
    "a config that is a list": (written("config.json", b"[1]"), "holds a list"),
    "a config that is not UTF-8": (written("config.json", b"\xff\xfe{\x00"), "is not JSON"),
    "a config of 20 MB": (written("config.json", b" " * 20_000_000), "larger than"),
    "a model type that is a path": (setting(model_type="../../payload"), "cannot be loaded"),
    "a model type that is no text": (setting(model_type={"a": 1}), "cannot be loaded"),
    "sizes beyond all memory": (
        setting(n_embd=2**30, n_head=1),
        "`n_embd`: 1,073,741,824 would take",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_directory_is_refused_by_name_and_does_nothing(
    name: str, hostile: Path, canary: Path
) -> None:
    spoil, message = REFUSED[name]
    spoil(hostile, canary)
    with pytest.raises(ExperimentError) as refusal:
        load_model(hostile, head="causal", seed=0)
    assert message in str(refusal.value)
    assert str(hostile) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert refusal.value.key == "model.from"
    assert not canary.exists()


IGNORED: dict[str, Artefact] = {
    "a pickle beside sound weights": lambda d, c: pickle_into(d / "pytorch_model.bin", c),
    "pickled training arguments": lambda d, c: pickle_into(d / "training_args.bin", c),
    "pickled optimizer state": lambda d, c: pickle_into(d / "optimizer.pt", c),
    "a Python module": lambda d, c: setting()(d, c),
    "a generate function": lambda d, c: (
        (d / "custom_generate").mkdir(),
        (d / "custom_generate/generate.py").write_text(f"open({str(c)!r}, 'w')"),
        None,
    )[-1],
}


@pytest.mark.parametrize("name", IGNORED)
def test_what_stands_beside_sound_weights_is_never_opened(
    name: str, hostile: Path, canary: Path
) -> None:
    IGNORED[name](hostile, canary)
    model = load_model(hostile, head="causal", seed=0)
    assert model(torch.ones(1, 8, dtype=torch.long)).logits.isfinite().all()
    assert not canary.exists()


def test_restoring_weights_opens_no_pickle_either(sound: Path, hostile: Path, canary: Path) -> None:
    model = load_model(sound, head="causal", seed=0)
    only_pickle("pytorch_model.bin")(hostile, canary)
    with pytest.raises(ExperimentError, match="never read"):
        load_weights(model, hostile)
    assert not canary.exists()


def test_the_payload_of_these_tests_works(hostile: Path, canary: Path) -> None:
    pickle_into(hostile / "pytorch_model.bin", canary)
    pickle.loads((hostile / "pytorch_model.bin").read_bytes())
    assert canary.exists()


def test_sound_shards_load(sound: Path, hostile: Path) -> None:
    weights = load_file(hostile / "model.safetensors")
    (hostile / "model.safetensors").unlink()
    shards: dict[str, str] = {}
    for number, name in enumerate(weights):
        shards[name] = f"model-{number % 2}.safetensors"
    for shard in set(shards.values()):
        part = {name: weights[name] for name in weights if shards[name] == shard}
        save_file(part, hostile / shard, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": shards}
    (hostile / "model.safetensors.index.json").write_text(json.dumps(index))
    loaded = load_model(hostile, head="causal", seed=1).state_dict()
    for name, tensor in load_model(sound, head="causal", seed=0).state_dict().items():
        assert torch.equal(loaded[name], tensor)


def test_the_hubs_own_cache_of_links_loads(sound: Path, tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "models--a--b/blobs", tmp_path / "models--a--b/snapshots/1f"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for path in sound.iterdir():
        shutil.copy(path, blobs / f"sum-of-{path.name}")
        (snapshot / path.name).symlink_to(f"../../blobs/sum-of-{path.name}")
    load_model(snapshot, head="causal", seed=0)


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.system('touch ' ~ canary) }}",
        "{{ lipsum.__globals__['os'].popen('touch ' ~ canary).read() }}",
        "{{ raise_exception.__globals__ }}",
        "{% for k in messages.__class__.__base__.__subclasses__() %}{{ k }}{% endfor %}",
    ],
)
def test_a_chat_template_cannot_leave_its_sandbox(
    template: str, tmp_path: Path, canary: Path
) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    tokens = Tokenizer(WordLevel({"<unk>": 0}, unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=tokens, unk_token="<unk>").save_pretrained(tmp_path)
    (tmp_path / "chat_template.jinja").write_text(template)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, trust_remote_code=False)
    try:
        text = tokenizer.apply_chat_template([], tokenize=False, canary=str(canary))
    except Exception as error:  # whichever way the sandbox says no
        text = str(error)
    assert "class 'os" not in text
    assert "builtins" not in text
    assert not canary.exists()


def set_in_config(directory: Path, **fields: Any) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


ABSURD = ["vocab_size", "n_embd", "n_layer", "n_positions", "n_inner", "num_labels"]


@pytest.mark.parametrize("number", [10**12, 10**30])
@pytest.mark.parametrize("name", ABSURD)
def test_a_size_beyond_any_memory_is_refused_by_name(hostile: Path, name: str, number: int) -> None:
    set_in_config(hostile, **{name: number})
    with pytest.raises(ExperimentError) as error:
        load_model(hostile, head="causal", seed=0)
    assert str(error.value).startswith(f"model.from: {hostile / 'config.json'}: `{name}`: ")
    assert f"{number:,} would take at least" in str(error.value)


def test_a_size_inside_a_section_is_weighed_too(hostile: Path) -> None:
    set_in_config(hostile, text_config={"hidden_size": 8, "num_hidden_layers": 10**9})
    with pytest.raises(ExperimentError, match="`num_hidden_layers`: 1,000,000,000 would take"):
        load_model(hostile, head="causal", seed=0)


@pytest.mark.parametrize("name", ["max_position_embeddings", "sliding_window", "rope_theta"])
def test_a_reach_takes_no_memory(name: str) -> None:
    assert too_large({"hidden_size": 8, "vocab_size": 300, name: 10**12}) is None


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"n_layer": 5000}, "`n_layer` is 5,000, and the weights hold"),
        ({"vocab_size": 10**6}, "`vocab_size` is 1,000,000, and the weights hold"),
        ({"vocab_size": 21}, r"`transformer.wte.weight` is 20 × \d+ in model.safetensors"),
    ],
)
def test_a_config_that_is_not_the_weights_own_is_refused(
    hostile: Path, fields: dict[str, int], said: str
) -> None:
    set_in_config(hostile, **fields)
    with pytest.raises(ExperimentError, match=said):
        load_model(hostile, head="causal", seed=0)


def test_weights_beyond_this_machines_memory_are_refused(
    hostile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emergectl.models.safety.machine_bytes", lambda: 1000)
    with pytest.raises(ExperimentError, match=r"its weights take .* GB in fp32"):
        load_model(hostile, head="causal", seed=0)


@pytest.mark.parametrize("name", ["vocab_size", "n_layer", "n_embd", "n_positions"])
def test_an_absurd_size_of_a_new_model_is_refused_by_its_key(name: str) -> None:
    spec = ModelSpec(family="gpt2", config={name: 10**12})
    with pytest.raises(ExperimentError, match="would take at least") as error:
        new_model(spec, head="causal", vocab_size=20, seq_len=8, seed=0)
    assert error.value.key == f"model.config.{name}"


def test_layers_without_number_of_a_family_with_lists_are_refused_at_once() -> None:
    spec = ModelSpec(family="qwen3", config={"num_hidden_layers": 10**9})
    with pytest.raises(ExperimentError, match="would take at least"):
        new_model(spec, head="causal", vocab_size=20, seq_len=8, seed=0)
