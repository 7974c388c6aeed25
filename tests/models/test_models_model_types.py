"""What is read of transformers' tables as text agrees with what transformers itself says."""

import pytest
from transformers import CONFIG_MAPPING
from transformers.models.auto import modeling_auto

from emergectl.errors import ExperimentError
from emergectl.models.families import FAMILIES
from emergectl.models.model_types import check_family, family_kind


def test_the_tables_read_as_text_are_those_of_transformers() -> None:
    causal = set(modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    masked = set(modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES)
    seq2seq = set(modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES)
    known = set(CONFIG_MAPPING) - {"attention_only"}
    assert {t for t in known if family_kind(t) == "seq2seq"} == known & seq2seq
    assert {t for t in known if family_kind(t) == "masked"} == (known & masked) - seq2seq
    assert {t for t in known if family_kind(t) == "causal"} == (known & causal) - masked - seq2seq


def test_every_family_of_the_ladder_is_known_and_learns_as_its_entry_says() -> None:
    for name, family in FAMILIES.items():
        check_family(name)
        assert family_kind(name) == family.kind


def test_what_a_family_learns_by_is_known_for_all_of_transformers() -> None:
    assert [
        family_kind(name) for name in ("gpt2", "bert", "gpt_neox", "electra", "vit", "bart")
    ] == [
        "causal",
        "masked",
        "causal",
        "masked",
        None,
        "seq2seq",
    ]


def test_an_unknown_family_is_refused_with_the_nearest() -> None:
    with pytest.raises(ExperimentError, match=r"did you mean modernbert\?") as error:
        check_family("modern-bert")
    assert error.value.key == "model.family"
