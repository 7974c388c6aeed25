"""Language modelling: the next token, masked tokens, or the tokens of an answer."""

from __future__ import annotations

from emergectl.tasks.objectives.objective import TokenObjective


class NextToken(TokenObjective):
    """Every token from those before it."""

    name = "clm"
    learners = ("causal",)
    head = "causal"
    data = "clm"


class MaskedTokens(TokenObjective):
    """Masked tokens from those around them (Devlin et al. 2019)."""

    name = "mlm"
    learners = ("masked",)
    head = "masked"
    data = "mlm"
    sparse = True


class Answer(TokenObjective):
    """The tokens of an answer from its prompt, which an encoder–decoder reads with its encoder."""

    name = "answer"
    learners = ("causal", "seq2seq")
    head = "causal"
    data = "answer"
    sparse = True
