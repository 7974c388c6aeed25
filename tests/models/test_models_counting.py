"""Parameters and FLOPs, held against published numbers and others' formulas."""

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from emergectl.config.schema import ModelSpec
from emergectl.models.build import new_model
from emergectl.models.counting import (
    count_parameters,
    forward_flops,
    peak_flops,
    row_flops,
)
from emergectl.models.families import FAMILIES


@pytest.fixture(scope="module")
def gpt2() -> GPT2LMHeadModel:
    with torch.device("meta"):
        return GPT2LMHeadModel(GPT2Config())


def nanogpt_forward_flops(*, layers: int, width: int, vocab: int, block: int) -> int:
    """nanoGPT's transformer_sizing.ipynb, every multiply and add of every matrix product."""
    kqv = 2 * block * (width * 3 * width)
    scores = 2 * block * block * width
    reduce = 2 * block * block * width
    project = 2 * block * (width * width)
    mlp = 2 * (2 * block * (width * 4 * width))
    return layers * (kqv + scores + reduce + project + mlp) + 2 * block * (width * vocab)


def test_gpt2_has_the_published_number_of_parameters_without_biases(gpt2: GPT2LMHeadModel) -> None:
    count = count_parameters(gpt2)
    assert count.total - count.bias == 124_337_664


def test_gpt2_takes_the_published_forward_flops(gpt2: GPT2LMHeadModel) -> None:
    assert forward_flops(gpt2, batch=1, seq_len=1024) == 291_648_307_200


@pytest.mark.parametrize(("layers", "width", "block"), [(2, 64, 32), (6, 384, 256)])
def test_forward_flops_are_those_of_nanogpts_formula(layers: int, width: int, block: int) -> None:
    config = GPT2Config(n_layer=layers, n_embd=width, n_head=4, n_positions=block, vocab_size=65)
    with torch.device("meta"):
        model = GPT2LMHeadModel(config)
    formula = nanogpt_forward_flops(layers=layers, width=width, vocab=65, block=block)
    assert forward_flops(model, batch=1, seq_len=block) == formula
    assert forward_flops(model, batch=3, seq_len=block) == 3 * formula


def test_training_flops_are_6n_and_attention_as_in_the_palm_paper() -> None:
    layers, width, heads, seq = 3, 96, 6, 128
    config = LlamaConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=256,
        vocab_size=500,
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    multiplying = sum(p.numel() for p in model.parameters() if p.dim() == 2) - 500 * width
    rotary = 3 * 2 * (width // heads // 2)  # positions times frequencies, once for all layers
    for length in (seq, 16, 1000):
        palm = 6 * multiplying + 12 * layers * heads * (width // heads) * length
        assert row_flops(model)(np.array([length]))[0] / length == pytest.approx(palm, abs=rotary)


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_are_those_that_transformers_counts(family: str) -> None:
    model = new_model(
        ModelSpec(family=family, size="30k"),
        head=FAMILIES[family].kind,
        vocab_size=300,
        seq_len=16,
        seed=0,
        pad_token_id=0,
    )
    count = count_parameters(model)
    assert count.total == model.num_parameters()
    assert count.embedding + count.non_embedding == count.total
    output = model.get_output_embeddings()
    tables = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    of_output = [p.numel() for p in output.parameters() if id(p) not in tables]
    theirs = model.num_parameters(exclude_embeddings=True)
    assert count.non_embedding == theirs - sum(of_output)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_work_of_a_row_is_three_forward_passes_over_its_own_tokens(family: str) -> None:
    model = new_model(
        ModelSpec(family=family, size="10k"),
        head=FAMILIES[family].kind,
        vocab_size=300,
        seq_len=64,
        seed=0,
        pad_token_id=0,
    )
    expected = [3 * forward_flops(model, batch=1, seq_len=length) for length in (6, 30, 64)]
    assert row_flops(model)(np.array([6, 30, 64])).tolist() == pytest.approx(expected, rel=1e-12)


def test_counting_changes_neither_the_model_nor_the_random_state() -> None:
    model = new_model(
        ModelSpec(size="10k"), head="causal", vocab_size=20, seq_len=8, seed=0, pad_token_id=0
    )
    before = {name: t.clone() for name, t in model.state_dict().items()}
    state, attention = torch.get_rng_state(), model.config._attn_implementation
    assert row_flops(model)(np.array([8]))[0] > 0
    assert torch.equal(torch.get_rng_state(), state)
    assert model.config._attn_implementation == attention
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())


@pytest.mark.parametrize(
    ("name", "dtype", "tflops"),
    [
        ("NVIDIA A100-SXM4-80GB", torch.bfloat16, 312),
        ("NVIDIA H100 80GB HBM3", torch.bfloat16, 989),
        ("NVIDIA H100 PCIe", torch.bfloat16, 756),
        ("NVIDIA H200", torch.float16, 989),
        ("Tesla V100-SXM2-16GB", torch.float16, 125),
        ("Tesla T4", torch.float32, 8.1),
        ("NVIDIA GeForce RTX 4090", torch.bfloat16, 165),
        ("NVIDIA L40S", torch.bfloat16, 362),
        ("NVIDIA L4", torch.bfloat16, 121),
    ],
)
def test_the_peak_of_a_known_device_is_its_data_sheets(
    name: str, dtype: torch.dtype, tflops: float
) -> None:
    assert peak_flops(name, dtype) == tflops * 1e12


def test_an_unknown_device_or_arithmetic_has_no_peak() -> None:
    assert peak_flops("Some CPU", torch.float32) is None
    assert peak_flops("Tesla V100-SXM2-16GB", torch.bfloat16) is None
    assert peak_flops("NVIDIA H100 80GB HBM3", torch.float64) is None
