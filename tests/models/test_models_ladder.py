"""The size ladder: each rung means what it says, in every family."""

import itertools

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

from emergectl.config.schema import ModelSpec
from emergectl.errors import ExperimentError
from emergectl.models.counting import count_parameters
from emergectl.models.families import FAMILIES
from emergectl.models.family_config import family_config
from emergectl.models.ladder import (
    RUNGS,
    aspect_ratio,
    parameters_of,
    shape_of_size,
    shape_of_width,
)


@pytest.mark.parametrize("size", RUNGS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_rung_has_its_non_embedding_parameters_within_15_per_cent(family: str, size: str) -> None:
    config = family_config(
        ModelSpec(family=family, size=size), vocab_size=512, seq_len=128, pad_token_id=0
    )
    auto = {
        "causal": AutoModelForCausalLM,
        "masked": AutoModelForMaskedLM,
        "seq2seq": AutoModelForSeq2SeqLM,
    }[FAMILIES[family].kind]
    with torch.device("meta"):
        model = auto.from_config(config)
    assert count_parameters(model).non_embedding == pytest.approx(RUNGS[size], rel=0.15)


@pytest.mark.parametrize("matrices_per_layer", [4, 12])
def test_the_ladder_rises_in_width_and_depth_keeps_whole_heads(matrices_per_layer: int) -> None:
    shapes = [shape_of_size(size, matrices_per_layer=matrices_per_layer) for size in RUNGS]
    for smaller, larger in itertools.pairwise(shapes):
        assert larger.width >= smaller.width
        assert larger.width * larger.layers > smaller.width * smaller.layers
    for shape in shapes:
        assert shape.width % shape.heads == 0
        assert shape.width % 8 == 0
        assert shape.layers >= 2


@pytest.mark.parametrize("size", [size for size in RUNGS if RUNGS[size] >= 100_000])
def test_the_aspect_ratio_follows_the_rule_from_100k_on(size: str) -> None:
    shape = shape_of_size(size)
    wanted = aspect_ratio(RUNGS[size])
    assert 0.5 < shape.width / shape.layers / wanted < 2


def test_the_7b_rung_is_the_shape_that_llama_7b_was_published_with() -> None:
    shape = shape_of_size("7b")
    assert (shape.layers, shape.width, shape.heads) == (32, 4096, 32)


def test_a_size_may_be_written_in_capitals() -> None:
    assert shape_of_size("10M") == shape_of_size("10m")


@pytest.mark.parametrize(
    ("size", "parameters"),
    [("7k", 7e3), ("42m", 42e6), ("1.5b", 1.5e9), ("0.3M", 3e5), ("12b", 12e9), ("160m", 160e6)],
)
def test_a_size_is_any_number_of_parameters(size: str, parameters: float) -> None:
    config = family_config(ModelSpec(family="llama", size=size), vocab_size=64, seq_len=32)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert parameters_of(size) == parameters
    assert count_parameters(model).non_embedding == pytest.approx(parameters, rel=0.15)


@pytest.mark.parametrize("size", ["10", "m", "-3m", "1e6", "1_000k", "0k", "3t", "5000b", "١٠k"])
def test_what_is_no_size_is_refused(size: str) -> None:
    with pytest.raises(ExperimentError, match="expected a number of parameters") as error:
        shape_of_size(size)
    assert error.value.key == "model.size"


def test_a_size_below_the_narrowest_shapes_names_the_next_one() -> None:
    with pytest.raises(ExperimentError, match="next larger size is") as error:
        shape_of_size("2k")
    said = error.value.message.rpartition(" is ")[2]
    assert shape_of_size(said).layers >= 2


def test_no_size_from_10k_on_lacks_a_shape() -> None:
    for family in FAMILIES.values():
        for exponent in range(400, 950, 11):
            size = f"{10 ** (exponent / 100) / 1e6:.6f}m"
            shape = shape_of_size(size, matrices_per_layer=family.matrices_per_layer)
            count = family.matrices_per_layer * shape.layers * shape.width**2
            assert count == pytest.approx(parameters_of(size), rel=0.08)


def test_an_unknown_size_names_the_nearest_rung() -> None:
    with pytest.raises(
        ExperimentError, match=r"such as 10k.*got '100mb'; did you mean 100m\?"
    ) as e:
        shape_of_size("100mb")
    assert e.value.key == "model.size"


@pytest.mark.parametrize("width", [48, 100, 384, 768, 97])
def test_a_width_of_ones_own_gets_heads_that_divide_it(width: int) -> None:
    shape = shape_of_width(width, layers=4)
    assert shape.width == width
    assert width % shape.heads == 0
