"""What works on this machine, what does not, and what to do about it.

Every check tries the thing itself rather than asking for its version: a bf16 product is computed, a
C++ file is compiled, a file is written where runs go. A check never raises: whatever happens to it
is its finding.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from emergectl.cli.output import print_json, print_table
from emergectl.errors import PluginError
from emergectl.plugins import PluginKind, plugins

LOW_DISK_GB = 5
EXTRAS = ("tensorboard", "wandb", "mlflow", "trackio")


@dataclass(frozen=True)
class Check:
    """One thing that was tried. `broken`: nothing runs without it; `missing`: something is lost."""

    name: str
    state: Literal["ok", "missing", "broken"]
    found: str
    advice: str = ""


def doctor(
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    runs_dir: Annotated[
        Path | None, typer.Option("--runs-dir", help="Where runs go [$EMERGECTL_RUNS or ./runs].")
    ] = None,
) -> None:
    """Say what works on this machine, what does not, and what to do.

    Exits 1 if something is broken that every run needs.
    """
    from emergectl.store.locate import runs_root

    checks = list(run_checks(runs_root(runs_dir)))
    if json_:
        print_json([asdict(check) for check in checks])
    else:
        columns = ["check", "state", "found", "what to do"]
        print_table(columns, [[c.name, c.state, c.found, c.advice] for c in checks])
    if any(check.state == "broken" for check in checks):
        raise typer.Exit(1)


def run_checks(runs: Path) -> Iterator[Check]:
    """All checks in turn; `runs` is the directory that runs go to."""
    yield check_python()
    yield from (check_package(name) for name in ("torch", "transformers", "datasets", "tokenizers"))
    if find_spec("torch") is not None:
        yield from (_guarded(check) for check in (check_devices, check_bf16))
    yield from (_guarded(check) for check in (check_compiler, check_free_memory))
    yield check_runs_directory(runs)
    yield check_disk(runs)
    yield check_extras()
    yield from check_plugins()


def check_python() -> Check:
    """Python 3.11 to 3.13."""
    found = f"{platform.python_version()} ({sys.executable})"
    if (3, 11) <= sys.version_info[:2] < (3, 14):
        return Check("python", "ok", found)
    return Check("python", "broken", found, "install Python 3.11, 3.12 or 3.13")


def check_package(name: str) -> Check:
    """A package that every run needs, imported."""
    try:
        __import__(name)
        return Check(name, "ok", version(name))
    except (ImportError, OSError, PackageNotFoundError) as error:
        reinstall = f"reinstall it: pip install --force-reinstall {name}"
        return Check(name, "broken", f"does not import: {error}", reinstall)


def check_devices() -> Check:
    """CUDA devices, and a product on each."""
    import torch

    threads = f"CPU ({os.cpu_count()} cores, {torch.get_num_threads()} threads)"
    if not torch.cuda.is_available():
        if torch.version.cuda is None and shutil.which("nvidia-smi") is None:
            return Check("cuda", "missing", f"{threads}; no GPU", "none needed: runs use the CPU")
        if torch.version.cuda is None:
            advice = "install the CUDA build of torch: https://pytorch.org/get-started/locally"
            return Check("cuda", "missing", f"{threads}; this torch has no CUDA", advice)
        advice = "see `nvidia-smi`; the driver may be older than this torch's CUDA"
        return Check(
            "cuda", "missing", f"{threads}; CUDA {torch.version.cuda} finds no GPU", advice
        )
    found = []
    for index in range(torch.cuda.device_count()):
        torch.ones(8, 8, device=f"cuda:{index}").square().sum().item()
        facts = torch.cuda.get_device_properties(index)
        found.append(f"{facts.name} {facts.total_memory / 2**30:.0f} GiB")
    return Check("cuda", "ok", f"CUDA {torch.version.cuda}: {', '.join(found)}")


def check_bf16() -> Check:
    """Whether bf16 pays: native on the GPU, or AMX or AVX512-BF16 on the CPU."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    ones = torch.ones(8, 8, dtype=torch.bfloat16, device=device)
    (ones @ ones).sum().item()
    if device == "cuda":
        fast = torch.cuda.get_device_capability()[0] >= 8
        how = "native on this GPU" if fast else "emulated on this GPU"
    else:
        flags = set(_cpu_flags())
        fast = bool(flags & {"amx_bf16", "avx512_bf16", "bf16"})
        how = f"on this CPU by {', '.join(sorted(flags & {'amx_bf16', 'avx512_bf16', 'bf16'}))}"
        how = how if fast else "works on this CPU but has no instructions of its own: slow"
    advice = "" if fast else "leave `train.precision` at auto or fp32 (fp16 on a GPU)"
    return Check("bf16", "ok" if fast else "missing", how, advice)


def check_compiler() -> Check:
    """What torch.compile needs: a C++ compiler with Python's headers, and triton for CUDA."""
    import torch

    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        advice = "install g++ (apt install g++), or leave `train.compile` at auto or false"
        return Check("compiler", "missing", "no C++ compiler", advice)
    include = sysconfig.get_paths()["include"]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "check.cpp")
        source.write_text("#include <Python.h>\n#include <cmath>\nint main() { return 0; }\n")
        flags = ["-fsyntax-only", f"-I{include}", str(source)]
        tried = subprocess.run([*compiler.split(), *flags], capture_output=True, timeout=60)
    if tried.returncode != 0:
        advice = "install Python's headers (apt install python3-dev) and a working g++"
        return Check("compiler", "missing", f"{compiler} cannot compile against {include}", advice)
    if torch.cuda.is_available() and find_spec("triton") is None:
        advice = "pip install triton, for torch.compile on the GPU"
        return Check("compiler", "missing", f"{compiler}, but no triton", advice)
    return Check("compiler", "ok", f"{compiler}, with Python's headers")


def check_free_memory() -> Check:
    """Memory that is free now."""
    import psutil

    memory = psutil.virtual_memory()
    found = f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"
    if memory.available > 2 * 2**30:
        return Check("memory", "ok", found)
    return Check("memory", "missing", found, "close something: PyTorch alone takes about 1 GiB")


def check_runs_directory(runs: Path) -> Check:
    """Whether a run could be written: a file is, in the nearest folder that is there."""
    folder = _nearest_folder(runs)
    will = "" if folder == runs else f" (will be made in {folder})"
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"emergectl")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        advice = "give --runs-dir or $EMERGECTL_RUNS a folder that you may write to"
        return Check("runs directory", "broken", f"{runs}: {error.strerror}", advice)
    return Check("runs directory", "ok", f"{runs} is writable{will}")


def check_disk(runs: Path) -> Check:
    """Room where runs go."""
    free_gb = shutil.disk_usage(_nearest_folder(runs)).free / 1e9
    found = f"{free_gb:.1f} GB free for runs"
    if free_gb >= LOW_DISK_GB:
        return Check("disk", "ok", found)
    advice = "make room (`emergectl runs rm`): a checkpoint takes 12 bytes a parameter"
    return Check("disk", "missing", found, advice)


def check_plugins() -> Iterator[Check]:
    """What installed packages add, each imported."""
    for plugin in (p for kind in get_args(PluginKind) for p in plugins(kind).values()):
        name = f"{plugin.kind}: {plugin.name}"
        try:
            plugin.load()
            yield Check(name, "ok", f"added by {plugin.package}")
        except PluginError as error:
            yield Check(name, "missing", str(error), "mend the package, or uninstall it")


def check_extras() -> Check:
    """Trackers that can be used."""
    there = [name for name in EXTRAS if find_spec(name) is not None]
    absent = [name for name in EXTRAS if name not in there]
    advice = f"only if wanted: pip install 'emergectl[{','.join(absent)}]'" if absent else ""
    return Check("trackers", "ok", ", ".join(there) or "none but metrics.jsonl", advice)


def _guarded(check: Callable[[], Check]) -> Check:
    """A check whose own failure is its finding."""
    try:
        return check()
    except Exception as error:  # drivers and compilers fail in any way they like
        name = check.__name__.removeprefix("check_")
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        return Check(name, "missing", f"failed: {reason}", "runs that need it will not work here")


def _nearest_folder(path: Path) -> Path:
    """The path itself, or the nearest of its parents that is a folder."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _cpu_flags() -> list[str]:
    """The CPU's features as Linux lists them; elsewhere none are known."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next(
        (line.split(":")[1].split() for line in lines if line.startswith(("flags", "Features"))), []
    )
