"""The experiments that come with emergectl, and the schema that editors check them by."""

from pathlib import Path

import pytest

from emergectl.config.experiment import load_experiment
from emergectl.config.json_schema import experiment_schema
from emergectl.config.reader import looks_like_sweep, read_yaml
from emergectl.config.shipped import find_shipped, first_comment, shipped_configs, shipped_folder
from emergectl.config.sweep import load_sweep
from emergectl.errors import RequestError

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.skipif(not CONFIGS.is_dir(), reason="this checkout has no configs/")
def test_every_shipped_experiment_is_valid_and_says_what_it_is() -> None:
    assert shipped_folder() == CONFIGS
    assert shipped_configs()
    for name, path in shipped_configs().items():
        if looks_like_sweep(read_yaml(path)):
            load_sweep(path)
        else:
            load_experiment(path)
        assert first_comment(path), f"{name} opens without a comment that describes it"


def test_a_shipped_experiment_is_found_by_its_name(tmp_path, monkeypatch) -> None:
    (tmp_path / "pretrain").mkdir()
    file = tmp_path / "pretrain" / "shakespeare.yaml"
    file.write_text("# Shakespeare, character by character.\n")
    monkeypatch.setattr("emergectl.config.shipped.shipped_folder", lambda: tmp_path)
    assert find_shipped("pretrain/shakespeare") == file
    assert find_shipped("pretrain/shakespeare.yaml") == file
    assert first_comment(file) == "Shakespeare, character by character."
    with pytest.raises(RequestError, match="did you mean `pretrain/shakespeare`"):
        find_shipped("pretrain/shakespear")
    with pytest.raises(RequestError, match="there are: pretrain/shakespeare"):
        find_shipped("x")


def test_every_field_in_the_json_schema_is_described() -> None:
    schema = experiment_schema()
    for name, part in [("Experiment", schema), *schema["$defs"].items()]:
        assert part["description"]
        for key, field in part["properties"].items():
            assert "description" in field or "$ref" in field, f"{name}.{key}"


def test_the_json_schema_knows_keys_as_they_are_written_and_no_others() -> None:
    schema = experiment_schema()
    assert "from" in schema["$defs"]["ModelSpec"]["properties"]
    assert "from_" not in schema["$defs"]["ModelSpec"]["properties"]
    closed = [
        name for name, part in schema["$defs"].items() if part["additionalProperties"] is False
    ]
    assert set(schema["$defs"]) - set(closed) == {"TaskAsked", "TaskSource"}
    assert schema["additionalProperties"] is False


def test_the_json_schema_admits_one_source_and_a_tracker_by_name() -> None:
    schema = experiment_schema()
    one, many = schema["$defs"]["DataSpec"]["properties"]["train"]["anyOf"]
    assert many == {"type": "array", "items": one, "minItems": 1}
    assert {r["$ref"] for r in one["oneOf"]} == {"#/$defs/FileSource", "#/$defs/TaskSource"}
    names = schema["properties"]["tracking"]["items"]["anyOf"][1]["enum"]
    assert set(names) == set(schema["$defs"]["TrackerSpec"]["properties"]["name"]["enum"])
