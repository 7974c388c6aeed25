"""Four-choice scoring: ours against lm-evaluation-harness's own model class, in one run.

    python tests/benchmarks/bench_scoring.py [--items 1000] [--threads 2]

A GPT-2 shaped model (4 × 256, vocabulary 8,192, fp32, CPU) is asked `items` questions with a
context of 100 tokens and four choices of 2 to 6 tokens; no two contexts are alike. Both sides take
the same texts, tokenisation included. They take turns, 50 items at a time, so that what else the
machine does hits both; of HFLM the quickest batch size counts. Prints items per second of each
side, their ratio, and the largest difference of a log-likelihood.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import time
from collections.abc import Callable

PARSER = argparse.ArgumentParser(description=__doc__)
PARSER.add_argument("--items", type=int, default=1000)
PARSER.add_argument("--threads", type=int, default=2)
PARSER.add_argument("--batch-sizes", type=int, nargs="+", default=[4, 16])
CONTEXT_TOKENS = 100
VOCABULARY = 8192
ITEMS_A_TURN = 50


def main() -> None:
    """Measure and print."""
    arguments = PARSER.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import torch
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM
    from transformers import GPT2Config, GPT2LMHeadModel

    from emergectl.inference.loading import LanguageModel, Weights
    from emergectl.inference.requests import Question

    logging.disable(logging.WARNING)
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    tokenizer = word_tokenizer()
    config = GPT2Config(n_layer=4, n_embd=256, n_head=4, n_positions=256, vocab_size=VOCABULARY)
    model = GPT2LMHeadModel(config).eval()
    questions = [Question(context, choices) for context, choices in made(arguments.items)]
    ours = LanguageModel(model, tokenizer, Weights("bench"))

    def our_scores(part: list[Question]) -> list[float]:
        scores = dict(ours.score(part))
        return [score.logprob for index in range(len(part)) for score in scores[index]]

    def scores_of(size: int) -> Callable[[list[Question]], list[float]]:
        peer = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=size)

        def peer_scores(part: list[Question]) -> list[float]:
            requests = [
                Instance("loglikelihood", {}, (question.context, choice), index)
                for index, question in enumerate(part)
                for choice in question.continuations
            ]
            return [value for value, _ in peer.loglikelihood(requests, disable_tqdm=True)]

        return peer_scores

    sides = {"ours": our_scores}
    sides |= {f"HFLM, batches of {size}": scores_of(size) for size in arguments.batch_sizes}
    seconds = dict.fromkeys(sides, 0.0)
    found: dict[str, list[float]] = {name: [] for name in sides}
    for run in sides.values():
        run(questions[:4])  # What is made at the first call is not of the measurement.
    for start in range(0, len(questions), ITEMS_A_TURN):
        for name, run in sides.items():
            begun = time.perf_counter()
            found[name] += run(questions[start : start + ITEMS_A_TURN])
            seconds[name] += time.perf_counter() - begun
    for name, taken in seconds.items():
        print(f"{name}: {len(questions) / taken:.1f} items/s")
    quickest = min(taken for name, taken in seconds.items() if name != "ours")
    off = max(
        abs(mine - other)
        for values in found.values()
        for mine, other in zip(found["ours"], values, strict=True)
    )
    print(f"ratio {quickest / seconds['ours']:.2f}; log-likelihoods within {off:.1e} nats")


def word_tokenizer() -> object:
    """One word a token."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    words = {f"w{number}": number for number in range(VOCABULARY - 1)} | {"<eos>": VOCABULARY - 1}
    backend = Tokenizer(WordLevel(words, unk_token="w0"))
    backend.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>")


def made(items: int) -> list[tuple[str, tuple[str, ...]]]:
    """(context, four choices) of random words, always the same."""
    rng = random.Random(0)

    def text(tokens: int) -> str:
        return " ".join(f"w{rng.randrange(VOCABULARY - 1)}" for _ in range(tokens))

    return [
        (text(CONTEXT_TOKENS), tuple(" " + text(rng.randint(2, 6)) for _ in range(4)))
        for _ in range(items)
    ]


if __name__ == "__main__":
    main()
