"""Tables from files: what is understood, what is skipped and counted, what is refused."""

import json
from pathlib import Path

import pytest

from emergectl.analysis.columns import Columns
from emergectl.analysis.formats.model_names import size_in
from emergectl.analysis.reading import read_tables
from emergectl.analysis.table import Table, choose_axis, curves_of, with_defaults
from emergectl.errors import DataError, RequestError
from emergectl.evaluation.metrics import metric_facts

TIDY = "task,metric,params,seed,value,n,chance\n"


def table_of(tmp_path: Path, text: str, name: str = "t.csv", **columns: object) -> Table:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return read_tables([path], Columns(**columns), lookup=metric_facts)  # type: ignore[arg-type]


def test_a_tidy_table_needs_no_mapping(tmp_path: Path) -> None:
    rows = "".join(f"add,acc,{10**k},{s},0.{k}{s},100,0\n" for k in (3, 1, 2) for s in (0, 1))
    (curve,) = curves_of(table_of(tmp_path, TIDY + rows), "params")
    assert curve.x.tolist() == [10, 100, 1000]
    assert curve.seeds.tolist() == [2, 2, 2]
    assert curve.items.tolist() == [200, 200, 200]
    assert curve.chance == 0


def test_a_wide_table_has_a_task_in_every_column(tmp_path: Path) -> None:
    text = "Model,B,add,sub/acc\na,1,0.1,0.2\nb,2,0.3,0.4\n"
    columns = {"values": ("add", "sub/acc"), "params": "B", "scales": {"params": 1e9}}
    table = table_of(tmp_path, text, model="Model", **columns)
    curves = {c.name: c for c in curves_of(table, "params")}
    assert sorted(curves) == ["add/value", "sub/acc"]
    assert curves["add/value"].x.tolist() == [1e9, 2e9]


@pytest.mark.parametrize("kind", ["tsv", "jsonl", "parquet"])
def test_other_formats_say_the_same(tmp_path: Path, kind: str) -> None:
    records = [{"task": "t", "params": p, "value": p / 100} for p in (1, 10, 100)]
    path = tmp_path / f"t.{kind}"
    if kind == "parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), path)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(r) + "\n" for r in records))
    else:
        path.write_text(
            "task\tparams\tvalue\n" + "".join(f"t\t{p}\t{p / 100}\n" for p in (1, 10, 100))
        )
    (curve,) = curves_of(read_tables([path]), "params")
    assert curve.values.tolist() == [0.01, 0.1, 1.0]


def test_what_cannot_be_used_is_counted_with_its_first_place(tmp_path: Path) -> None:
    text = (
        TIDY + "a,s,1,,nan,,\na,s,10,,,,\na,s,,,0.1,,\na,s,0,,0.1,,\na,s,5,,0.2,,\na,s,5,,0.2,,\n"
    )
    table = table_of(tmp_path, text)
    (curve,) = curves_of(table, "params")
    assert len(curve.x) == 1
    found = {s.reason: (s.count, s.first.rsplit(":", 1)[1]) for s in table.skipped}
    assert found == {
        "value missing or not finite": (2, "2"),
        "no params": (1, "4"),
        "params is zero, negative or not finite": (1, "5"),
        "the same measurement again": (1, "7"),
    }


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (TIDY + "a,acc,1,,1.5,,\n", 2, "between 0 and 1"),
        (TIDY + "a,acc,1,,half,,\n", 2, "expected a number"),
        (TIDY + "a,acc,1,,0.5,0,\n", 2, "number of items"),
        (TIDY + "a,acc,1,,0.5\n", 2, "5 cells; the header has 7"),
        ("value,value\n1,2\n", 1, "two columns"),
        ("", 1, "empty"),
        (TIDY + "a,acc,1,,\0,,\n", 2, "NUL"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_line(
    tmp_path: Path, text: str, line: int, said: str
) -> None:
    with pytest.raises(DataError, match=said) as caught:
        table_of(tmp_path, text)
    assert f"t.csv:{line}:" in str(caught.value)


def test_two_values_for_one_measurement_are_refused(tmp_path: Path) -> None:
    table = table_of(tmp_path, TIDY + "a,acc,5,,0.2,,\na,acc,5,,0.3,,\n")
    with pytest.raises(DataError, match=r"t\.csv:3: a/acc is 0\.3 and was 0\.2 at .*t\.csv:2"):
        curves_of(table, "params")


def test_a_missing_column_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="did you mean 'accuracy'"):
        table_of(tmp_path, "accuracy,params\n1,2\n", value="acuracy")
    with pytest.raises(RequestError, match="--value"):
        table_of(tmp_path, "accuracy,params\n1,2\n")


def test_across_sizes_each_model_counts_at_its_last_step(tmp_path: Path) -> None:
    rows = "".join(f"t,acc,{p},{s},{0.1 * s + p / 100}\n" for p in (1, 2, 3) for s in (1, 2, 5))
    table = table_of(tmp_path, "task,metric,params,step,value\n" + rows)
    (over_sizes,) = curves_of(table, "params")
    assert over_sizes.values.tolist() == pytest.approx([0.51, 0.52, 0.53])
    assert [c.group for c in curves_of(table, "step")] == ["1", "2", "3"]


def test_flops_are_six_times_parameters_times_tokens_where_they_are_not_given(
    tmp_path: Path,
) -> None:
    table = table_of(tmp_path, "params,tokens,value\n10,100,1\n20,100,2\n")
    (curve,) = curves_of(table, "flops")
    assert curve.x.tolist() == [6000, 12000]


def test_the_axis_is_the_one_along_which_rows_differ(tmp_path: Path) -> None:
    table = table_of(tmp_path, "step,params,value\n1,7,1\n2,7,2\n3,7,3\n")
    assert choose_axis(table) == "step"
    with pytest.raises(RequestError, match="no scale"):
        choose_axis(table_of(tmp_path, "value\n1\n"))


def test_defaults_fill_what_rows_do_not_say(tmp_path: Path) -> None:
    table = table_of(tmp_path, TIDY + "a,acc,1,,0.2,7,\nb,acc,1,,0.2,,0.5\n")
    rows = with_defaults(table, n=100, chance={"a/acc": 0.25, "": 0.1}).rows
    assert [(row.n, row.chance) for row in rows] == [(7, 0.25), (100, 0.5)]


def test_results_of_lm_eval_give_scores_items_and_sizes(tmp_path: Path) -> None:
    for size, value in (("70m", 0.2), ("1.4b", 0.6)):
        error = (value * (1 - value) / 999) ** 0.5
        results = {"arc": {"alias": "arc", "acc,none": value, "acc_stderr,none": error}}
        (tmp_path / f"{size}.json").write_text(
            json.dumps({"results": results, "model_name": f"EleutherAI/pythia-{size}"})
        )
    (curve,) = curves_of(read_tables([tmp_path], lookup=metric_facts), "params")
    assert (curve.task, curve.metric) == ("arc", "acc")
    assert curve.x.tolist() == [70e6, 1.4e9]
    assert curve.items.tolist() == [1000, 1000]


def test_an_original_result_file_of_lm_eval_is_read(published) -> None:  # type: ignore[no-untyped-def]
    table = read_tables(
        [published("pythia_v1_zeroshot/raw/160m_step512.json")], lookup=metric_facts
    )
    (row,) = [r for r in table.rows if (r.task, r.metric) == ("lambada_openai", "acc")]
    assert (row.params, row.step, row.value) == (160e6, 512, 0.0)
    wide = next(r for r in table.rows if (r.task, r.metric) == ("arc_easy", "acc"))
    assert wide.n == 2376  # ARC-Easy's test set


def test_score_files_of_bigbench_give_scores_and_chance(tmp_path: Path) -> None:
    for size, score in ((1000, 0.25), (2000, 0.5)):
        scores = [
            {
                "score_dict": {"multiple_choice_grade": score},
                "number_of_shots": 0,
                "preferred_score": "multiple_choice_grade",
                "low_score": 0.25,
            }
        ]
        data = {
            "model": {
                "model_name": f"{size}",
                "model_family": "BIG-G",
                "non_embedding_params": size,
            },
            "task": {"task_name": "anachronisms"},
            "scores": scores,
        }
        (tmp_path / f"{size}.json").write_text(json.dumps(data))
    (curve,) = curves_of(read_tables([tmp_path], lookup=metric_facts), "params")
    assert (curve.group, curve.task, curve.chance) == ("BIG-G/0-shot", "anachronisms", 0.25)
    assert curve.x.tolist() == [1000, 2000]


def test_other_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"a": 1}')
    with pytest.raises(DataError, match="BIG-bench"):
        read_tables([path])


@pytest.mark.parametrize(
    ("name", "size"),
    [("pythia-1.4b", 1.4e9), ("Llama-2-70b-hf", 70e9), ("gpt2", 124e6), ("OPT-125M", 125e6)],
)
def test_the_size_is_read_from_a_models_name(name: str, size: float | None) -> None:
    assert size_in(name) == size
