"""Sweep files: ranges, what goes together, and errors that name file, line and key."""

import contextlib
import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emergectl.cli.main import main
from emergectl.config.json_schema import sweep_schema
from emergectl.config.sweep import load_sweep, sweep_name
from emergectl.config.values import SearchRange, expand_values, read_interval
from emergectl.errors import RequestError

EXAMPLE = """\
# A sweep with a little of everything.
name: study
experiment:
  model: {family: gpt2, size: 10k}
  data: {train: {task: copying, vocab_size: 16, segment: 4, repeats: 2, length: 9}, seq_len: 8}
  train: {steps: 5}
grid:
  optimizer.weight_decay: [0.0, 0.1]
  train.batch_size: {log: [4, 16], points: 3, whole: true}
zip:
  - {optimizer.betas: [[0.9, 0.95], [0.9, 0.99]], schedule.warmup_steps: [0, 2]}
ladder:
  sizes: [10k, 30k]
  lr: {at: 30k, lr: 3e-3, power: -1}
include:
  - {model.size: 100k, optimizer.lr: 1e-3}
exclude:
  - {model.size: 30k, train.batch_size: 16}
seeds: 2
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    return path


def test_ranges_become_lists_of_round_numbers() -> None:
    assert expand_values("0..7") == list(range(8))
    assert expand_values("-1..1") == [-1, 0, 1]
    assert expand_values({"log": [1e-4, 1e-2], "points": 3}) == [1e-4, 1e-3, 1e-2]
    assert expand_values({"linear": [0, 1], "points": 5}) == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert expand_values({"log": [16, 64], "points": 3, "whole": True}) == [16, 32, 64]
    assert expand_values(["0..7", None]) == ["0..7", None]


def test_a_search_reads_intervals() -> None:
    assert read_interval({"log": [1e-4, 1e-2]}) == SearchRange(1e-4, 1e-2, log=True, whole=False)
    assert read_interval("2..8") == SearchRange(2, 8, log=False, whole=True)
    assert read_interval(["a", None]) == ["a", None]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("7..0", "the lower end comes first"),
        ("0..99999999", "more than 10,000 values"),
        ({"log": [0, 1], "points": 3}, "above 0"),
        ({"log": [1, 2]}, "points: N"),
        ({"logg": [1, 2], "points": 2}, "expected one of `log"),
        ({"log": [1, 2], "points": True}, "points: N"),
        ({"log": [1, "2"], "points": 2}, "two numbers"),
        ([], "an empty list"),
        (3, "expected a list"),
    ],
)
def test_what_is_no_set_of_values_is_told(written: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        expand_values(written)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("seeds: 2", "sedes: 2"), r"study.yaml:19: sedes: unknown key; did you mean `seeds`\?"),
        (("seeds: 2", "seeds: 0"), "study.yaml:19: seeds: expected more than 0, got 0"),
        (("sizes: [10k, 30k]", "sizes: []"), "study.yaml:13: ladder.sizes: expected a list of 1"),
        (("points: 3, ", ""), "study.yaml:9: grid.train.batch_size: .*points: N"),
        (("[0, 2]", "[0, 2, 3]"), "pairs lists of different lengths"),
        (("optimizer.weight_decay", "optimizer.lr"), "`optimizer.lr` is set by `grid` and by"),
        (("name: study", "name: a b"), "study.yaml:2: name: expected text that fits"),
        (("seeds: 2", "search: {space: {seed: 0..9}, metric: x, trials: 3}"), "exclude each other"),
    ],
)
def test_a_wrong_sweep_file_is_told_with_line_and_key(
    tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    assert change[0] in EXAMPLE
    with pytest.raises(RequestError, match=said):
        load_sweep(write(tmp_path, EXAMPLE.replace(*change)))


def test_overrides_reach_the_sweep_or_the_experiment_in_it(tmp_path: Path) -> None:
    file = write(tmp_path, EXAMPLE)
    sweep = load_sweep(
        file, ["seeds=3", "train.steps=9", "grid.optimizer.weight_decay=[0.5]", "experiment.seed=4"]
    )
    assert sweep.spec.seeds == 3
    assert sweep.spec.grid["optimizer.weight_decay"] == [0.5]
    assert sweep.base.data["train"]["steps"] == 9
    assert sweep.base.data["seed"] == 4


def test_an_override_of_what_the_sweep_sets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"the sweep sets it, in `grid`; set grid\.train"):
        load_sweep(write(tmp_path, EXAMPLE), ["train.batch_size=8"])


def test_an_experiment_in_its_own_file_is_found_from_the_sweeps_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "text.txt").write_text("abc\n" * 50)
    (tmp_path / "base" / "one.yaml").write_text("data: {train: {path: ../text.txt}, seq_len: 8}\n")
    file = write(tmp_path, "experiment: base/one.yaml\ngrid: {data.train.path: [text.txt]}\n")
    monkeypatch.chdir("/")
    sweep = load_sweep(file)
    point = {"data.train.path": sweep.setting("text.txt", "grid", "data.train.path")}
    for values in ({}, point):
        source = sweep.experiment_at(values).experiment.data.train[0]
        assert source.path == str(tmp_path / "text.txt")  # type: ignore[union-attr]


def test_a_sweep_is_named_by_its_file_or_by_itself(tmp_path: Path) -> None:
    file = write(tmp_path, EXAMPLE.replace("name: study\n", ""))
    assert load_sweep(file).name == sweep_name(str(file)) == sweep_name("study") == "study"
    for missing in ("../study", "study.yaml", "study.yml"):
        with pytest.raises(RequestError, match=f"{missing}: no such file"):
            sweep_name(missing)


def test_validate_checks_every_trial_and_names_the_one_that_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, EXAMPLE)
    assert main(["validate", str(file)]) == 0
    file = write(tmp_path, EXAMPLE.replace("[0, 2], [0", "").replace("0.0, 0.1", "0.1, -1"))
    assert main(["validate", str(file)]) == 2
    said = capsys.readouterr().err
    assert "study.yaml:8: optimizer.weight_decay: expected at least 0, got -1" in said
    assert "in the trial with" in said


def test_the_json_schema_describes_every_field() -> None:
    schema = sweep_schema()
    for part in (schema, *schema["$defs"].values()):
        assert all("description" in field for field in part["properties"].values())
    json.dumps(schema)


SNIPPETS = ["&a", "*a", "<<: *a", "!!python/name:os.system", ".nan", "1e999", "0..", "..", "7..0"]
SNIPPETS += ["0..99999999999", "{log: [1, 2], points: 99999999}", "- ", ": ", "\n", "{", "}", "["]
SNIPPETS += ["]", "null", "~", "no", "-1", "seeds: 99999", "experiment: study.yaml\n", "\x00", "…"]


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    cuts=st.lists(
        st.tuples(st.integers(0, len(EXAMPLE)), st.integers(0, 12), st.sampled_from(SNIPPETS)),
        min_size=1,
        max_size=4,
    )
)
def test_whatever_is_in_the_file_there_is_never_a_traceback(
    cuts: list[tuple[int, int, str]], tmp_path: Path
) -> None:
    text = EXAMPLE
    for place, length, snippet in cuts:
        text = text[:place] + snippet + text[place + length :]
    path = tmp_path / "study.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with contextlib.redirect_stderr(io.StringIO()) as said:
        code = main(["validate", str(path)])
    assert code in (0, 2)
    assert (code == 2) == bool(said.getvalue())
    assert "Traceback" not in said.getvalue()


def test_a_sweep_file_cannot_allow_code(tmp_path: Path) -> None:
    file = write(tmp_path, EXAMPLE + "evaluate: {tasks: [addition], allow_code: true}\n")
    with pytest.raises(RequestError, match=r"study\.yaml:\d+: evaluate\.allow_code: a file cannot"):
        load_sweep(file)
    file = write(tmp_path, EXAMPLE + "evaluate: {tasks: [addition]}\n")
    assert load_sweep(file, ["evaluate.allow_code=true"]).spec.evaluate.allow_code
