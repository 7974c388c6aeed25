"""A model asked the slow way: one forward pass a continuation, one a token written, no batches."""

from collections.abc import Iterator, Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from emergectl.inference.requests import Question, Scored, TooLong, Writing


class ReferenceModel:
    """What any quick model has to agree with (greedy writing alone)."""

    name = "reference"

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.reach = int(model.config.max_position_embeddings)
        self.asked: list[Question | Writing] = []

    def score(
        self, questions: Sequence[Question]
    ) -> Iterator[tuple[int, tuple[Scored, ...] | TooLong]]:
        """Shortest first, as others do, so that the order is not that of the items."""
        order = sorted(range(len(questions)), key=lambda index: len(questions[index].context))
        for index in order:
            question = questions[index]
            self.asked.append(question)
            pairs = [self._ids(question, one) for one in question.continuations]
            longest = max(len(context) + len(rest) - 1 for context, rest in pairs)
            if longest > self.reach:
                yield index, TooLong(f"{longest} tokens, and the model reaches {self.reach}")
                continue
            texts = zip(pairs, question.continuations, strict=True)
            yield index, tuple(self._scored(*pair, text) for pair, text in texts)

    def write(self, writings: Sequence[Writing]) -> Iterator[tuple[int, tuple[str, ...] | TooLong]]:
        """Greedy, token by token, until a stop string, the end token, or the most tokens."""
        for index, writing in enumerate(writings):
            self.asked.append(writing)
            ids = self._encode(writing.context)
            if len(ids) >= self.reach:
                yield index, TooLong(f"{len(ids)} tokens, and the model reaches {self.reach}")
                continue
            yield index, (self._written(ids, writing),) * writing.samples

    def _written(self, ids: list[int], writing: Writing) -> str:
        begin = len(ids)
        while len(ids) - begin < writing.max_tokens and len(ids) < self.reach:
            best = int(self._logits(ids)[-1].argmax())
            if best == self.tokenizer.eos_token_id:
                break
            ids = [*ids, best]
            text = self.tokenizer.decode(ids[begin:])
            ends = [text.index(stop) for stop in writing.stop if stop in text]
            if ends:
                return text[: min(ends)]
        return self.tokenizer.decode(ids[begin:])

    def _scored(self, context: list[int], rest: list[int], text: str) -> Scored:
        logits = self._logits(context + rest)[len(context) - 1 : -1]
        wanted = torch.tensor(rest)
        logprob = logits.double().log_softmax(-1)[torch.arange(len(rest)), wanted].sum()
        greedy = bool((logits.argmax(-1) == wanted).all())
        return Scored(float(logprob), len(rest), len(text.encode()), greedy)

    def _logits(self, ids: list[int]) -> torch.Tensor:
        with torch.no_grad():
            return self.model(input_ids=torch.tensor([ids])).logits[0]

    def _ids(self, question: Question, continuation: str) -> tuple[list[int], list[int]]:
        context = self._encode(question.context)
        whole = self._encode(question.context + continuation)
        end = [self.tokenizer.eos_token_id] if question.ends else []
        return context, whole[len(context) :] + end

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids
