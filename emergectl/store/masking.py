"""Secrets stay out of run directories.

Everything a run writes about itself (command line, experiment, log lines, reasons) passes through
`mask` or `mask_values`. They hide the values of environment variables whose names speak of secrets,
wherever they turn up; passwords and signed parameters in URLs; tokens known by their shape; and, in
free text, what is given to a name like `token`. The environment itself is saved by a list of
allowed names, never by a list of forbidden ones.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HIDDEN = "***"

ALLOWED_ENVIRONMENT = (
    "CUDA_VISIBLE_DEVICES",
    "CUDA_LAUNCH_BLOCKING",
    "CUBLAS_WORKSPACE_CONFIG",
    "EMERGECTL_CACHE",
    "EMERGECTL_RUNS",
    "HF_DATASETS_OFFLINE",
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "LANG",
    "LC_ALL",
    "LOCAL_WORLD_SIZE",
    "MKL_NUM_THREADS",
    "NCCL_DEBUG",
    "NCCL_IB_DISABLE",
    "NCCL_P2P_DISABLE",
    "NCCL_SOCKET_IFNAME",
    "OMP_NUM_THREADS",
    "PYTHONHASHSEED",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
    "SLURM_JOB_ID",
    "SLURM_JOB_NAME",
    "SLURM_JOB_NODELIST",
    "TOKENIZERS_PARALLELISM",
    "TORCH_LOGS",
    "TRANSFORMERS_OFFLINE",
    "TZ",
    "WORLD_SIZE",
)

_SECRET_WORD = (
    r"(?:pass(?:word|wd|phrase)?|pwd|secret|token|(?:api|access|private|secret)?[-_]?key(?:[-_]id)?"
    r"|credentials?|auth(?:orization)?|sig(?:nature)?|cookie|dsn|pat|sas)"
)
_SECRET_NAME = re.compile(rf"(?:^|[-_.]){_SECRET_WORD}(?:[-_.]|$)", re.IGNORECASE)

# In URLs: scheme://user:password@host, scheme://token@host, ?token=…, &X-Amz-Signature=…
_IN_URLS = (
    (re.compile(r"(?P<keep>[a-z][a-z0-9+.-]*://)[^\s/@'\"]+@", re.IGNORECASE), r"\g<keep>***@"),
    (
        re.compile(
            rf"(?P<keep>[?&;](?:[a-z0-9]+[-_.])*{_SECRET_WORD}=)[^\s&#'\";]+", re.IGNORECASE
        ),
        r"\g<keep>***",
    ),
)
# Known by their shape: Hugging Face, OpenAI, GitHub, GitLab, AWS, Slack, Google, JSON web tokens.
_BY_SHAPE = (
    re.compile(
        r"\b(?:hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}"
        r"|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}|(?:AKIA|ASIA)[A-Z0-9]{16}"
        r"|xox[abprs]-[A-Za-z0-9-]{10,}|AIza[A-Za-z0-9_-]{30,}"
        r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,})"
    ),
    HIDDEN,
)
# In free text: --token=…, api_key: …, x.password=…, Authorization: Bearer …
_NAMED = (
    re.compile(
        rf"(?P<keep>(?<![A-Za-z0-9])(?:[a-z0-9]+[-_.])*{_SECRET_WORD}['\"]?\s*[=:]\s*['\"]?"
        r"(?:(?:bearer|basic)\s+)?)[^\s&'\",;}]+",
        re.IGNORECASE,
    ),
    r"\g<keep>***",
)


def mask(text: str) -> str:
    """Free text (a log line, a reason, an argument) with every likely secret as `***`."""
    pattern, replacement = _NAMED
    return pattern.sub(replacement, mask_value(text))


def mask_value(text: str) -> str:
    """A setting with its certain secrets as `***`.

    Leaves alone what is only named like one: `Token: {text}` is a fair prompt template.
    """
    for value in _secret_values():
        text = text.replace(value, HIDDEN)
    for pattern, replacement in (*_IN_URLS, _BY_SHAPE):
        text = pattern.sub(replacement, text)
    return text


def mask_values(data: Any) -> Any:
    """`mask_value` on every string of plain data (dicts, lists, scalars)."""
    if isinstance(data, str):
        return mask_value(data)
    if isinstance(data, Mapping):
        return {key: mask_values(item) for key, item in data.items()}
    if isinstance(data, (list, tuple)):
        return [mask_values(item) for item in data]
    return data


def mask_arguments(argv: Sequence[str]) -> list[str]:
    """A command line without secrets, `--token VALUE` in two words included."""
    masked: list[str] = []
    for argument in argv:
        before = masked[-1] if masked else ""
        follows = before.startswith("-") and "=" not in before and _SECRET_NAME.search(before)
        masked.append(HIDDEN if follows and not argument.startswith("-") else mask(argument))
    return masked


def allowed_environment() -> dict[str, str]:
    """The environment variables worth keeping with a run, and no others."""
    return {name: mask(os.environ[name]) for name in ALLOWED_ENVIRONMENT if name in os.environ}


def _secret_values() -> list[str]:
    """Values of secret-named variables, longest first.

    Short ones would hide innocent text. A path that is there is no secret: PWD would hide the
    folder in every path below it, and the run could not find its data again.
    """
    named = {v for k, v in os.environ.items() if len(v) >= 8 and _SECRET_NAME.search(k)}
    values = (v for v in named if not (v.startswith("/") and Path(v).exists()))
    return sorted(values, key=len, reverse=True)
