"""Small models with a byte or BPE tokenizer, and what they say when asked the plain way."""

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from emergectl.config.schema import ModelSpec, TokenizerSpec
from emergectl.data.tokenizers import build_tokenizer
from emergectl.inference.loading import LanguageModel, Weights
from emergectl.inference.requests import Question
from emergectl.models.build import new_model

OTHERS = {
    "gpt_neo": {
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 2,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 16,
        "max_position_embeddings": 128,
    },
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 2},
    "gemma2": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "intermediate_size": 64,
        "sliding_window": 16,
        "max_position_embeddings": 128,
    },
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
}
"""families that cannot be asked along trees: windows, distances, states"""


def byte_tokenizer() -> PreTrainedTokenizerFast:
    return build_tokenizer(TokenizerSpec(kind="byte"), [], for_mlm=False)


def spread_out(model: PreTrainedModel) -> PreTrainedModel:
    """With weights so large that everything it looks at shows in its logits."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
    return model.eval()


def small_model(family: str = "llama", *, seq_len: int = 128) -> LanguageModel:
    """A family of the ladder, or one of OTHERS, over bytes."""
    tokenizer = byte_tokenizer()
    if family in OTHERS:
        torch.manual_seed(0)
        config = AutoConfig.for_model(
            family, vocab_size=len(tokenizer), bos_token_id=None, eos_token_id=257, **OTHERS[family]
        )
        model = AutoModelForCausalLM.from_config(config)
    else:
        model = new_model(
            ModelSpec(family=family, size="30k"),
            head="causal",
            vocab_size=len(tokenizer),
            seq_len=seq_len,
            seed=0,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    return LanguageModel(spread_out(model), tokenizer, Weights(family))


def plain_scores(asked: LanguageModel, question: Question) -> list[tuple[float, bool]]:
    """One forward pass a continuation, of a byte tokenizer: (log-probability, greedy)."""
    found = []
    for continuation in question.continuations:
        context, rest = list(question.context.encode()), list(continuation.encode())
        with torch.no_grad():
            logits = asked.model(torch.tensor([context + rest])).logits[0, len(context) - 1 : -1]
        wanted = torch.tensor(rest)
        logprobs = logits.double().log_softmax(-1).gather(-1, wanted[:, None])
        found.append((float(logprobs.sum()), bool((logits.argmax(-1) == wanted).all())))
    return found


def made_questions(count: int) -> list[Question]:
    """Contexts of several lengths, some equal; choices of which some begin alike."""
    return [
        Question(
            f"Once there were {'many ' * (number % 7)}{number % 5} of them.",
            ("one", "two", "twelve", "t", f"no {number}"),
        )
        for number in range(count)
    ]
