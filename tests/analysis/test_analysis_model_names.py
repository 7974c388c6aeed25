"""What models are called, and what that tells: published names and what they are known to be."""

import pytest

from emergectl.store.model_names import read_name, revision_of


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("bigscience/bloom-560m", 560e6),
        ("bigscience/bloom-1b1", 1.1e9),
        ("bigscience/bloom-1b7", 1.7e9),
        ("bigscience/bloom-7b1-mt", 7.1e9),
        ("bigscience/bloom", 176e9),
        ("EleutherAI/pythia-v1.1-12b", 12e9),
        ("EleutherAI/pythia-1.4b-deduped-v0", 1.4e9),
        ("EleutherAI/gpt-neo-2.7B", 2.7e9),
        ("facebook/opt-125m", 125e6),
        ("gpt2", 124e6),
        ("openai-community/gpt2-xl", 1558e6),
        ("Llama-2-70b-hf", 70e9),
        ("meta-llama/Llama-3.2-1B-Instruct", 1e9),
        ("Qwen/Qwen2.5-0.5B", 0.5e9),
        ("Qwen/Qwen3-30B-A3B", 30e9),
        ("allenai/OLMoE-1B-7B-0924", 6.9e9),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", 46.7e9),
        ("microsoft/phi-1_5", 1.3e9),
        ("llama-7b-4bit", 7e9),
    ],
)
def test_sizes_of_well_known_models(name: str, size: float) -> None:
    assert read_name(name).params == size


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("NousResearch/Yarn-Llama-2-7b-128k", 7e9),
        ("THUDM/glm-4-9b-chat-1m", 9e9),
        ("Qwen/Qwen2.5-7B-Instruct-1M", 7e9),
        ("microsoft/Phi-3-mini-128k-instruct", 3.8e9),
        ("gradientai/Llama-3-8B-Instruct-Gradient-1048k", 8e9),
        ("01-ai/Yi-34B-200K", 34e9),
        ("my-model-ctx128m", None),
        ("my-model-128k", None),
        ("x-1B-ctx2M", 1e9),
        ("run-100M-samples", None),
        ("my-1M-steps", None),
    ],
)
def test_the_length_of_a_context_is_no_size(name: str, size: float | None) -> None:
    assert read_name(name).params == size


@pytest.mark.parametrize(
    ("name", "model", "size", "step", "tokens"),
    [
        ("TinyLlama/TinyLlama-1.1B-step-50K-105b", "TinyLlama/TinyLlama-1.1B", 1.1e9, 5e4, 105e9),
        ("TinyLlama-1.1B-intermediate-step-1431k-3T", None, 1.1e9, 1431e3, 3e12),
        ("openlm-research/open_llama_3b_600bt_preview", None, 3e9, None, 600e9),
        ("OLMo-1B-step100000-tokens419B", "OLMo-1B", 1e9, 1e5, 419e9),
        ("out/pythia-160m/checkpoint-500", "out/pythia-160m", 160e6, 500, None),
        ("bloom-3b/global_step1000", "bloom-3b", 3e9, 1000, None),
        ("llama-105b-tokens", "llama", None, None, 105e9),
        ("Baichuan2-7B-Intermediate/train_00220B", "Baichuan2-7B-Intermediate", 7e9, None, 220e9),
        ("multistep-3b", "multistep-3b", 3e9, None, None),
    ],
)
def test_steps_and_tokens_are_no_sizes_and_not_the_models_name(
    name: str, model: str | None, size: float | None, step: float | None, tokens: float | None
) -> None:
    told = read_name(name)
    assert (told.params, told.step, told.tokens) == (size, step, tokens)
    assert model is None or told.model == model


def test_seeds_of_one_model_are_one_model() -> None:
    told = [read_name(f"EleutherAI/pythia-160m-seed{seed}") for seed in (1, 2)]
    assert [(one.model, one.seed) for one in told] == [
        ("EleutherAI/pythia-160m", "1"),
        ("EleutherAI/pythia-160m", "2"),
    ]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a-1b-3b", "1b, the first of 1b, 3b"),
        ("b-4x7b", "each expert whole"),
        ("internlm2-1_8b", "1_8b read as 1.8b"),
    ],
)
def test_what_had_to_be_guessed_is_said(name: str, said: str) -> None:
    assert said in read_name(name).guessed


@pytest.mark.parametrize(
    ("revision", "told"),
    [
        ("step1000", (1000, None)),
        ("stage1-step140000-tokens294B", (140000, 294e9)),
        ("step1000-tokens4B", (1000, 4e9)),
        ("ckpt_360", (360, None)),
        ("iter-0010000-ckpt", (10000, None)),
        ("5000", (5000, None)),
        ("main", (None, None)),
        ("bb46d8ad", (None, None)),
    ],
)
def test_a_revision_tells_the_step(revision: str, told: tuple[float | None, float | None]) -> None:
    assert revision_of(revision) == told


@pytest.mark.parametrize(
    ("name", "size"),
    [("internlm2-1_8b", 1.8e9), ("OpenELM-1_1B", 1.1e9), ("llama_2_7b", 7e9), ("m_160m", 160e6)],
)
def test_an_underscore_is_a_point_where_hyphens_stand_between_parts(name: str, size: float) -> None:
    assert read_name(name).params == size
