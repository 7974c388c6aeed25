"""Tables from files: what is understood, what is skipped and counted, what is refused."""

import json
from pathlib import Path

import pytest

from emergectl.analysis.columns import ColumnMapping
from emergectl.analysis.reading import read_tables
from emergectl.analysis.table import Table, with_defaults
from emergectl.analysis.table_curves import choose_axis, curves_of
from emergectl.errors import DataError, RequestError
from emergectl.evaluation.metrics import metric_facts
from emergectl.store.model_names import read_name

TIDY = "task,metric,params,seed,value,n,chance\n"


def table_of(tmp_path: Path, text: str, name: str = "t.csv", **columns: object) -> Table:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return read_tables([path], ColumnMapping(**columns), lookup=metric_facts)  # type: ignore[arg-type]


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
    assert read_name(name).params == size


def values_of(table: Table) -> dict[str, list[float]]:
    return {curve.name: curve.values.tolist() for curve in curves_of(table, "params")}


def test_records_with_varying_fields_say_the_same_in_any_order(tmp_path: Path) -> None:
    records = [{"task": "t", "params": p, "value": p / 100} for p in (1, 10)]
    records += [{**record, "group": "B", "value": 0.5} for record in records]
    lines = [json.dumps(record) + "\n" for record in records]
    expected = {"t/value": [0.01, 0.1], "B/t/value": [0.5, 0.5]}
    for order in (lines, lines[::-1], lines[2:] + lines[:2]):
        assert values_of(table_of(tmp_path, "".join(order), "t.jsonl")) == expected
        assert values_of(table_of(tmp_path, "".join(order), "t.jsonl", group="group")) == expected


def test_a_column_of_later_records_can_be_named(tmp_path: Path) -> None:
    text = '{"value": 0.5, "params": 1}\n{"value": 0.6, "params": 1, "run": 7, "em": 0.1}\n'
    assert [row.seed for row in table_of(tmp_path, text, "t.jsonl", seed="run").rows] == ["", "7"]
    kept = read_tables([tmp_path / "t.jsonl"], where={"run": "7"})
    assert [row.value for row in kept.rows] == [0.6]
    wide = table_of(tmp_path, text, "t.jsonl", values=("em",))
    assert [row.value for row in wide.rows] == [0.1]
    with pytest.raises(RequestError, match="no column 'runs'; did you mean 'run'"):
        table_of(tmp_path, text, "t.jsonl", seed="runs")


@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_semicolons_tabs_and_decimal_commas_are_read(
    tmp_path: Path, name: str, delimiter: str
) -> None:
    lines = ["task;params;value;n", "t;1.000.000;0,25;1.000", "t;2,5M;0,5;100"]
    text = "\n".join(lines).replace(";", delimiter) + "\n"
    rows = table_of(tmp_path, text, name).rows
    assert [(r.params, r.value, r.n) for r in rows] == [(1e6, 0.25, 1000), (2.5e6, 0.5, 100)]


def test_numbers_are_read_as_people_write_them(tmp_path: Path) -> None:
    text = (
        "task,params,tokens,step,value\n"
        't,125M,300B,50K,25%\nt,1.3B,3T,"143,000",0.5\nt,"6,900,000,000",1e9,1,−0.5\n'
    )
    rows = table_of(tmp_path, text).rows
    assert [(r.params, r.tokens, r.step, r.value) for r in rows] == [
        (125e6, 300e9, 5e4, 0.25),
        (1.3e9, 3e12, 143000, 0.5),
        (6.9e9, 1e9, 1, -0.5),
    ]
    with pytest.raises(DataError, match="value is '125M'; expected a number"):
        table_of(tmp_path, "value,params\n125M,1\n")


@pytest.mark.parametrize("metric", ["acc", "accuracy", "exact_match"])
def test_percent_are_asked_about_under_any_known_name(tmp_path: Path, metric: str) -> None:
    with pytest.raises(DataError, match=r"percent\? then --scale value=0\.01"):
        table_of(tmp_path, f"task,metric,params,value\nq,{metric},1,25.1\n")
    scaled = f"task,metric,params,value\nq,{metric},1,25.1\n"
    (row,) = table_of(tmp_path, scaled, scales={"value": 0.01}).rows
    assert row.value == pytest.approx(0.251)


def test_percent_under_an_unknown_name_are_asked_about(tmp_path: Path) -> None:
    table = table_of(tmp_path, "task,params,mmlu\nq,1,25.1\nq,2,30\n", values=("mmlu",))
    with pytest.raises(DataError, match=r"mmlu is 25\.1.*percent"):
        with_defaults(table, n=1000, chance={})
    notes = with_defaults(table, n=None, chance={}).notes
    assert any("values from 0 to 30; are these percent?" in note for note in notes)


def test_a_number_of_items_makes_a_share_of_a_metric_that_nobody_knows(tmp_path: Path) -> None:
    table = table_of(tmp_path, "params,mmlu\n1,0.25\n2,0.3\n", values=("mmlu",))
    whats = [with_defaults(table, n=n, chance={}).rows[0].what for n in (None, 1000)]
    assert [what.quantity for what in whats] == ["mean", "share"]


def test_the_direction_of_an_unknown_metric_is_said_and_can_be_told(tmp_path: Path) -> None:
    table = table_of(tmp_path, "task,metric,params,value\nq,regret,1,3\nq,acc,1,0.5\n")
    told = with_defaults(table, n=None, chance={"": 0.25}, lower=["regret"])
    assert [(r.what.direction, r.chance) for r in told.rows] == [("down", None), ("up", 0.25)]
    assert told.notes == []
    table = table_of(tmp_path, "task,metric,params,value\nq,regret,1,3\nq,acc,1,0.5\n")
    (note, *_) = with_defaults(table, n=None, chance={}).notes
    assert note.startswith("direction of regret is not known: taken as rising; say --lower regret")


@pytest.mark.parametrize(
    ("metric", "direction", "scale"),
    [("log_perplexity", "down", "linear"), ("loss", "down", "linear"), ("ppl", "down", "log")],
)
def test_losses_are_what_the_registry_says(
    tmp_path: Path, metric: str, direction: str, scale: str
) -> None:
    (row,) = table_of(tmp_path, f"task,metric,params,value\nq,{metric},1,3\n").rows
    assert (row.what.direction, row.what.scale) == (direction, scale)
    (row,) = table_of(tmp_path, f"params,{metric}\n1,3\n", values=(metric,)).rows
    assert (row.what.direction, row.what.scale) == (direction, scale)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (("a,strict",), ["a,strict/value"]),
        (("a,strict,b",), ["a,strict/value", "b/value"]),
        (("b,a,strict",), ["b/value", "a,strict/value"]),
        (("a,strict=t/em,b=t/lp",), ["t/em", "t/lp"]),
        (("a,strict=t/em,strict", "b"), ["t/em,strict", "b/value"]),
        (("c=d",), ["c=d/value"]),
        (("c=d=e/acc",), ["e/acc"]),
    ],
)
def test_columns_may_have_commas_and_signs_in_their_names(
    tmp_path: Path, values: tuple[str, ...], names: list[str]
) -> None:
    text = 'params,"a,strict",b,c=d\n1,0.1,0.2,0.3\n'
    rows = table_of(tmp_path, text, values=values).rows
    assert [f"{row.task}/{row.metric}" for row in rows] == names


def test_sizes_are_read_from_names_where_no_column_tells_a_scale(tmp_path: Path) -> None:
    text = "model,acc\nEleutherAI/pythia-70m,0.1\nbloom-1b1,0.2\nx-1b-3b,0.3\n"
    table = table_of(tmp_path, text, value="acc")
    assert [row.params for row in table.rows] == [70e6, 1.1e9, 1e9]
    assert "params are read from the models' names" in table.notes[0]
    assert "1b, the first of 1b, 3b" in table.notes[1]


def test_models_that_share_a_scale_are_named(tmp_path: Path) -> None:
    text = "model,params,task,value\na,1,t,0.1\nb,1,t,0.3\nc,2,t,0.5\n"
    table = table_of(tmp_path, text)
    (curve,) = curves_of(table, "params")
    assert curve.values.tolist() == [pytest.approx(0.2), 0.5]
    assert "such as a, b at params 1" in table.notes[-1]


def test_what_two_values_differ_in_is_named(tmp_path: Path) -> None:
    text = "task,params,shots,value\nt,1,0,0.2\nt,1,5,0.4\n"
    with pytest.raises(DataError, match=r"differ in shots \(0, 5\).*--group 'shots'"):
        curves_of(table_of(tmp_path, text), "params")
    assert values_of(table_of(tmp_path, text, group="shots")) == {
        "0/t/value": [0.2],
        "5/t/value": [0.4],
    }


def test_a_unit_of_a_column_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no column `tokens` to scale"):
        table_of(tmp_path, "params,value\n1,2\n", scales={"tokens": 2})


@pytest.mark.parametrize(("option", "names"), [("--chance", {"nosuch": 0.1}), ("--lower", {})])
def test_a_name_that_no_row_has_is_refused(
    tmp_path: Path, option: str, names: dict[str, float]
) -> None:
    table = table_of(tmp_path, "params,value\n1,2\n")
    lower = ["nosuch"] if option == "--lower" else []
    with pytest.raises(RequestError, match=f"{option} nosuch: no task or metric"):
        with_defaults(table, n=None, chance=names, lower=lower)


def test_bytes_that_are_no_text_are_named_by_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"params,value\n1,2\n\xff,3\n")
    with pytest.raises(DataError, match=r"t\.csv:3: byte 1: not UTF-8"):
        read_tables([path])


@pytest.mark.parametrize(
    ("text", "values", "items"),
    [
        ("task;params;value;n\na;1e6;0.25;1,172\na;2e6;0.5;1,172\n", [0.25, 0.5], 1172),
        ("task;params;value;n\na;1e6;0,125;1.172\na;2e6;0,5;1.172\n", [0.125, 0.5], 1172),
        ('task,params,value,n\na,1e6,"0,25","1,172"\na,2e6,"0,125","1,172"\n', [0.25, 0.125], 1172),
        ('task,params,value,n\na,1e6,25%,"1,172"\na,2e6,50 %,"1,172"\n', [0.25, 0.5], 1172),
    ],
)
def test_commas_are_what_the_other_cells_show(
    tmp_path: Path, text: str, values: list[float], items: int
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    rows = read_tables([path]).rows
    assert [(row.value, row.n) for row in rows] == [(value, items) for value in values]


def test_spaces_around_cells_are_none_of_them(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("task , params , value\na , 1e6 , 0.25\n")
    (row,) = read_tables([tmp_path / "t.csv"], where={"task": "a"}).rows
    assert (row.task, row.value) == ("a", 0.25)


@pytest.mark.parametrize(
    ("name", "direction", "scale"),
    [
        ("wikitext_perplexity", "down", "log"),
        ("wikitext_log_perplexity", "down", "linear"),
        ("c4/CrossEntropyLoss", "down", "linear"),
        ("bits_per_byte_corr", "down", "linear"),
        ("train_loss_mean", "down", "linear"),
        ("neg_log_perplexity", "up", "linear"),
        ("loss_reduction", "up", "linear"),
        ("lossless", "up", "linear"),
        ("my_accuracy", "up", "linear"),
    ],
)
def test_a_name_that_ends_in_a_falling_metric_is_taken_for_it_and_told(
    tmp_path: Path, name: str, direction: str, scale: str
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"params,{name}\n1e6,3\n1e7,2\n")
    for columns in (ColumnMapping(values=(name,)), ColumnMapping(value=name)):
        table = with_defaults(read_tables([path], columns, lookup=metric_facts), n=None, chance={})
        assert {(row.what.direction, row.what.scale) for row in table.rows} == {(direction, scale)}
        assert any("by its name, so it falls" in note for note in table.notes) == (
            direction == "down"
        )
