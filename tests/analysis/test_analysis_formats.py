"""Results of others' tools: small files of each kind, with our own numbers, read with no option."""

import json
from pathlib import Path

import pytest

from emergectl.analysis.columns import ColumnMapping
from emergectl.analysis.reading import read_tables
from emergectl.analysis.table import Table, TableRow, with_defaults
from emergectl.analysis.table_curves import count_shown, curves_of
from emergectl.errors import DataError, RequestError
from emergectl.evaluation.metrics import metric_facts


def read(path: Path, columns: ColumnMapping | None = None, **where: str) -> Table:
    return read_tables([path], columns, where=where, lookup=metric_facts)


def write(path: Path, data: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return path


def points(rows: list[TableRow], *fields: str) -> set[tuple[object, ...]]:
    return {tuple(getattr(row, name) for name in fields) for row in rows}


def harness(path: Path, model_args: object, results: dict, **parts: object) -> Path:
    config = {"model_args": model_args, **parts.pop("config", {})}  # type: ignore[dict-item]
    return write(path, {"results": results, "config": config, **parts})


def test_revisions_are_steps_of_one_model_and_the_last_counts_along_sizes(tmp_path: Path) -> None:
    for size in ("70m", "160m", "410m"):
        for step, value in ((0, 0.0), (1000, 0.1), (143000, 0.4)):
            args = f"pretrained=EleutherAI/pythia-{size},revision=step{step},dtype=float16"
            harness(tmp_path / f"{size}-{step}.json", args, {"lambada": {"acc,none": value}})
    table = read(tmp_path)
    (sizes,) = curves_of(table, "params")
    assert sizes.values.tolist() == [0.4, 0.4, 0.4]
    assert sizes.seeds.tolist() == [1, 1, 1]
    steps = curves_of(table, "step")
    assert [curve.x.tolist() for curve in steps] == [[1000, 143000]] * 3
    assert steps[0].group == "EleutherAI/pythia-70m"


def test_main_is_the_end_of_training(tmp_path: Path) -> None:
    for revision, value in (("step1000", 0.1), ("main", 0.5)):
        args = {"pretrained": "EleutherAI/pythia-70m", "revision": revision}
        harness(tmp_path / f"{revision}.json", args, {"lambada": {"acc,none": value}})
    (curve,) = curves_of(read(tmp_path), "params")
    assert curve.values.tolist() == [0.5]


def test_checkpoints_in_folders_are_one_model(tmp_path: Path) -> None:
    for step in (100, 200):
        args = f"pretrained=/data/out/my-160m/checkpoint-{step}"
        harness(tmp_path / f"{step}.json", args, {"piqa": {"acc,none": step / 1000}})
    table = read(tmp_path)
    assert points(table.rows, "model", "step", "params") == {
        ("/data/out/my-160m", 100, 160e6),
        ("/data/out/my-160m", 200, 160e6),
    }


@pytest.mark.parametrize("setting", ["dtype=float32", "device=cuda:1", "batch_size=4", "load=x,y"])
def test_a_setting_makes_no_other_model(tmp_path: Path, setting: str) -> None:
    harness(tmp_path / "a.json", "pretrained=m-1b", {"piqa": {"acc,none": 0.5}})
    harness(tmp_path / "b.json", f"{setting},pretrained=m-1b", {"piqa": {"acc,none": 0.5}})
    table = read(tmp_path)
    assert points(table.rows, "model") == {("m-1b",)}
    (curve,) = curves_of(table, "params")
    assert curve.seeds.tolist() == [1]
    assert table.skipped[0].reason == "the same measurement again"


def test_two_values_of_one_identity_are_refused_by_the_setting_that_tells_them(
    tmp_path: Path,
) -> None:
    for dtype, value in (("float16", 0.5), ("float32", 0.51)):
        args = f"pretrained=m-1b,dtype={dtype}"
        harness(tmp_path / f"{dtype}.json", args, {"piqa": {"acc,none": value}})
    with pytest.raises(DataError, match=r"differ in dtype \(float16, float32\).*--where 'dtype="):
        curves_of(read(tmp_path), "params")
    (curve,) = curves_of(read(tmp_path, dtype="float32"), "params")
    assert curve.values.tolist() == [0.51]


def test_an_adapter_makes_another_model(tmp_path: Path) -> None:
    harness(tmp_path / "a.json", "pretrained=m-1b", {"piqa": {"acc,none": 0.5}})
    harness(tmp_path / "b.json", "pretrained=m-1b,peft=me/lora", {"piqa": {"acc,none": 0.6}})
    assert points(read(tmp_path).rows, "model") == {("m-1b",), ("m-1b+me/lora",)}


def test_filters_are_abilities_of_their_own(tmp_path: Path) -> None:
    scores = {"exact_match,strict-match": 0.2, "exact_match,flexible-extract": 0.3}
    harness(tmp_path / "a.json", "pretrained=m-1b", {"gsm8k": {"alias": "gsm8k", **scores}})
    table = read(tmp_path)
    assert {curve.name: curve.values.tolist() for curve in curves_of(table, "params")} == {
        "gsm8k/exact_match,strict-match": [0.2],
        "gsm8k/exact_match,flexible-extract": [0.3],
    }
    assert "several filters" in table.notes[0]


def test_shots_are_kept_apart_where_there_are_several(tmp_path: Path) -> None:
    for shots, value in ((0, 0.2), (5, 0.4)):
        results = {"arc": {"acc,none": value}, "piqa": {"acc,none": 0.5}}
        own = {"arc": shots, "piqa": 0}
        harness(tmp_path / f"{shots}.json", "pretrained=m-1b", results, **{"n-shot": own})
    names = {curve.name: curve.values.tolist() for curve in curves_of(read(tmp_path), "params")}
    assert names == {"0-shot/arc/acc": [0.2], "5-shot/arc/acc": [0.4], "piqa/acc": [0.5]}


def test_shots_of_the_old_harness_and_versions_of_a_task_are_kept_apart(tmp_path: Path) -> None:
    for version, value in ((0, 0.2), (1, 0.4)):
        path, results = tmp_path / f"{version}.json", {"arc": {"acc": value, "acc_stderr": 0.01}}
        config = {"num_fewshot": 0}
        harness(path, "pretrained=m-1b", results, versions={"arc": version}, config=config)
    names = [curve.name for curve in curves_of(read(tmp_path), "params")]
    assert names == ["version 0/arc/acc", "version 1/arc/acc"]


def test_bookkeeping_is_no_ability(tmp_path: Path) -> None:
    scores = {"alias": "piqa", "acc,none": 0.5, "acc_stderr,none": 0.01, "sample_len": 1838}
    harness(tmp_path / "new.json", "pretrained=m-1b", {"piqa": scores})
    old = {"acc": 0.5, "acc_stderr": 0.01, "sample_len": 1838}
    harness(tmp_path / "old.json", "pretrained=m-2b", {"piqa": old})
    assert points(read(tmp_path).rows, "metric") == {("acc",)}


def test_a_group_has_the_items_of_its_tasks_where_it_is_their_mean(tmp_path: Path) -> None:
    results = {
        "mmlu": {"acc,none": 0.45, "alias": "mmlu"},
        "mmlu_a": {"acc,none": 0.3},
        "mmlu_b": {"acc,none": 0.5},
        "macro": {"acc,none": 0.4},
    }
    counts = {"mmlu_a": {"effective": 100}, "mmlu_b": {"effective": 300}}
    groups = {"mmlu": ["mmlu_a", "mmlu_b"], "macro": ["mmlu_a", "mmlu_b"]}
    parts = {"n-samples": counts, "group_subtasks": groups}
    table = read(harness(tmp_path / "a.json", "pretrained=m-1b", results, **parts))
    items = {row.task: row.n for row in table.rows}
    assert items == {"mmlu": 400, "mmlu_a": 100, "mmlu_b": 300, "macro": None}


def test_the_files_own_count_wins_over_the_name_and_disagreement_is_said(tmp_path: Path) -> None:
    config = {"model_num_parameters": 2_506_172_416}
    args = "pretrained=google/gemma-1b"
    table = read(harness(tmp_path / "a.json", args, {"piqa": {"acc,none": 0.5}}, config=config))
    assert (table.rows[0].params, count_shown(table.rows)) == (2_506_172_416, "total parameters")
    assert "2.506e+09 in the file, 1e+09 by its name" in table.notes[0]


def test_what_the_harness_says_of_a_metric_is_taken_where_nobody_knows_it(tmp_path: Path) -> None:
    results = {"t": {"my_cost,none": 3.0, "my_gain,none": 2.0}}
    higher = {"t": {"my_cost": False, "my_gain": True}}
    path = harness(tmp_path / "a.json", "pretrained=m-1b", results, higher_is_better=higher)
    table = with_defaults(read(path), n=None, chance={})
    assert {row.metric: row.what.direction for row in table.rows} == {
        "my_cost": "down",
        "my_gain": "up",
    }
    assert table.notes == []


def test_files_of_lighteval_are_read(tmp_path: Path) -> None:
    data = {
        "config_general": {"model_name": "HuggingFaceTB/SmolLM-135M"},
        "results": {"leaderboard|arc:challenge|25": {"acc": 0.28}, "all": {"acc": 0.3}},
    }
    (row,) = read(write(tmp_path / "r.json", data)).rows
    assert (row.task, row.model, row.params) == (
        "arc:challenge",
        "HuggingFaceTB/SmolLM-135M",
        135e6,
    )
    assert ("shots", "25") in row.asked


@pytest.mark.parametrize("option", ["group", "seed"])
def test_columns_of_a_format_can_be_mapped(tmp_path: Path, option: str) -> None:
    scores = {"exact_match,strict": 0.2, "exact_match,loose": 0.3}
    path = harness(tmp_path / "a.json", "pretrained=m-1b", {"gsm8k": scores})
    table = read(path, ColumnMapping(**{option: "filter"}))
    assert points(table.rows, option, "metric") == {
        ("strict", "exact_match"),
        ("loose", "exact_match"),
    }


@pytest.mark.parametrize(
    ("columns", "where"),
    [
        (ColumnMapping(group="nosuch"), {}),
        (ColumnMapping(params="nosuch"), {}),
        (ColumnMapping(n="nosuch"), {}),
        (None, {"nosuch": "1"}),
        (ColumnMapping(values=("nosuch",)), {}),
    ],
)
def test_a_column_that_a_format_lacks_is_refused(
    tmp_path: Path, columns: ColumnMapping | None, where: dict[str, str]
) -> None:
    path = harness(tmp_path / "a.json", "pretrained=m-1b", {"piqa": {"acc,none": 0.5}})
    with pytest.raises(RequestError, match="no column 'nosuch'"):
        read(path, columns, **where)


def test_conditions_and_units_reach_json(tmp_path: Path) -> None:
    results = {"piqa": {"acc,none": 0.5}, "arc": {"acc,none": 0.25}}
    path = harness(tmp_path / "a.json", "pretrained=m-1b", results)
    (row,) = read(path, ColumnMapping(scales={"params": 0.5}), task="arc").rows
    assert (row.task, row.value, row.params) == ("arc", 0.25, 0.5e9)
    with pytest.raises(RequestError, match=r"nothing to judge .* with task=nosuch"):
        read(path, task="nosuch")


def test_foreign_json_in_a_folder_is_passed_over_and_told(tmp_path: Path) -> None:
    harness(tmp_path / "a.json", "pretrained=m-1b", {"piqa": {"acc,none": 0.5}})
    write(tmp_path / "package.json", {"name": "x", "version": "1"})
    write(tmp_path / "list.json", [1, 2])
    write(tmp_path / "torn.json", '{"results": {')
    write(tmp_path / "samples_piqa.jsonl", '{"doc_id": 0}\n')
    table = read(tmp_path)
    assert len(table.rows) == 1
    assert {s.reason: s.count for s in table.skipped} == {
        "a file without results": 3,
        "a file that cannot be read": 1,
    }


def test_trainer_state_tells_losses_and_metrics_by_step(tmp_path: Path) -> None:
    history = [
        {"epoch": 0.5, "grad_norm": 1.2, "learning_rate": 5e-5, "loss": 2.5, "step": 500},
        {
            **{"epoch": 0.5, "eval_accuracy": 0.7, "eval_loss": 2.4, "eval_runtime": 3.1},
            **{"eval_samples_per_second": 40.0, "eval_steps_per_second": 5.0, "step": 500},
        },
        {"epoch": 1.0, "step": 1000, "total_flos": 1e12, "train_loss": 2.2, "train_runtime": 9.0},
    ]
    path = write(
        tmp_path / "bert-110m" / "checkpoint-1000" / "trainer_state.json",
        {"global_step": 1000, "log_history": history},
    )
    table = read(path)
    assert points(table.rows, "task", "metric", "value", "step", "model") == {
        ("train", "loss", 2.5, 500, "bert-110m"),
        ("eval", "accuracy", 0.7, 500, "bert-110m"),
        ("eval", "loss", 2.4, 500, "bert-110m"),
    }
    assert {row.metric: row.what.direction for row in table.rows} == {
        "loss": "down",
        "accuracy": "up",
    }


def test_a_chart_of_wandb_has_a_run_in_every_column(tmp_path: Path) -> None:
    header = ['"Step"']
    for run in ("gpt - 160m", "gpt - 70m"):
        header += [f'"{run} - eval/loss{end}"' for end in ("", "__MIN", "__MAX")]
    text = (
        ",".join(header)
        + '\n"10","3.5","3.5","3.5","","",""\n"20","3.1","3","3.2","3.9","3.9","3.9"\n'
    )
    table = read(write(tmp_path / "wandb_export.csv", text))
    assert points(table.rows, "model", "task", "metric", "step", "value", "params") == {
        ("gpt - 160m", "eval", "loss", 10, 3.5, 160e6),
        ("gpt - 160m", "eval", "loss", 20, 3.1, 160e6),
        ("gpt - 70m", "eval", "loss", 20, 3.9, 70e6),
    }


def test_scalars_of_tensorboard_are_named_by_their_files(tmp_path: Path) -> None:
    head = "Wall time,Step,Value\n"
    write(tmp_path / "run-base_eval-tag-eval_loss.csv", head + "1.7e9,100,2.5\n1.7e9,200,2.25\n")
    write(tmp_path / "run-.-tag-train_accuracy.csv", head + "1.7e9,100,0.5\n")
    table = read(tmp_path)
    assert points(table.rows, "model", "task", "metric", "step", "value") == {
        ("base_eval", "eval", "loss", 100, 2.5),
        ("base_eval", "eval", "loss", 200, 2.25),
        ("", "train", "accuracy", 100, 0.5),
    }


def test_the_open_llm_leaderboard_is_read_by_its_raw_scores(tmp_path: Path) -> None:
    text = (
        "eval_name,Precision,Model,fullname,Average ⬆️,#Params (B),IFEval Raw,IFEval,BBH Raw,BBH\n"
        "a,bfloat16,<a href='x'>me/a</a>,me/a,20.1,1.235,0.52,52,0.31,4.1\n"
        "b,float16,me/b,me/b,30.1,7.6,0.72,72,0.41,14.1\n"
    )
    table = read(write(tmp_path / "board.csv", text))
    found = {(r.model, r.task, r.value, round(r.params or 0)) for r in table.rows}
    assert found == {
        ("me/a", "IFEval", 0.52, 1_235_000_000),
        ("me/a", "BBH", 0.31, 1_235_000_000),
        ("me/b", "IFEval", 0.72, 7_600_000_000),
        ("me/b", "BBH", 0.41, 7_600_000_000),
    }
    assert points(read(tmp_path / "board.csv", Precision="float16").rows, "model") == {("me/b",)}


def test_the_first_open_llm_leaderboard_gives_percent(tmp_path: Path) -> None:
    text = "T,Model,Average ⬆️,ARC,GSM8K,#Params (B)\n🟢,<a>me/a</a>,40,25.5,1.5,6.9\n"
    table = read(write(tmp_path / "board.csv", text))
    assert {(r.model, r.task, round(r.value, 6)) for r in table.rows} == {
        ("me/a", "ARC", 0.255),
        ("me/a", "GSM8K", 0.015),
    }
    assert "divided by 100" in table.notes[0]


def test_summaries_of_opencompass_have_models_as_columns(tmp_path: Path) -> None:
    text = (
        "dataset,version,metric,mode,qwen-1.8b-hf,qwen-7b-hf\n"
        "gsm8k,1d7fe4,accuracy,gen,21.5,51.25\n"
        "mmlu,-,naive_average,ppl,45.5,-\n"
    )
    table = read(write(tmp_path / "summary.csv", text))
    assert points(table.rows, "task", "metric", "model", "params", "value") == {
        ("gsm8k", "accuracy", "qwen-1.8b-hf", 1.8e9, 0.215),
        ("gsm8k", "accuracy", "qwen-7b-hf", 7e9, 0.5125),
        ("mmlu", "naive_average", "qwen-1.8b-hf", 1.8e9, 0.455),
    }


def test_olmes_is_read_by_task_and_the_primary_score_is_no_metric_more(tmp_path: Path) -> None:
    part = {
        "task_name": "arc_easy",
        "model_config": {"model": "allenai/OLMo-1B", "revision": "step1000-tokens4B"},
        "task_config": {"num_shots": 5, "primary_metric": "acc_per_char"},
        "num_instances": 1000,
        "metrics": {"acc_raw": 0.5, "acc_per_char": 0.55, "primary_score": 0.55},
    }
    expected = {
        ("arc_easy", "acc_raw", 0.5, "allenai/OLMo-1B", 1e9, 1000, 4e9, 1000),
        ("arc_easy", "acc_per_char", 0.55, "allenai/OLMo-1B", 1e9, 1000, 4e9, 1000),
    }
    one = write(tmp_path / "task-000-arc_easy-metrics.json", part)
    lines = write(tmp_path / "metrics-all.jsonl", json.dumps(part) + "\n")
    whole = write(
        tmp_path / "metrics.json",
        {"model_config": part["model_config"], "tasks": [{**part, "alias": "arc_easy::olmes"}]},
    )
    for path in (one, lines, whole):
        rows = read(path).rows
        found = points(rows, *("task", "metric", "value", "model", "params", "step", "tokens", "n"))
        assert found == expected, path


def test_data_decide_has_all_metrics_of_a_task_in_one_cell(tmp_path: Path) -> None:
    metrics = (
        "{'acc_raw': 0.3, 'correct_prob': 0.1, 'primary_metric': 0.3, 'predicted_index_raw': None}"
    )
    text = (
        "params,data,task,step,seed,tokens,compute,metrics\n"
        f'150M,C4,arc_easy,1250,default,327680000,2.9e17,"{metrics}"\n'
    )
    table = read(write(tmp_path / "dd.csv", text))
    assert points(table.rows, "group", "params", "metric", "value", "seed", "flops", "step") == {
        ("C4", 150e6, "acc_raw", 0.3, "default", 2.9e17, 1250),
        ("C4", 150e6, "correct_prob", 0.1, "default", 2.9e17, 1250),
    }


def stat(name: str, mean: float, split: str = "test", **more: object) -> dict[str, object]:
    return {"name": {"name": name, "split": split, **more}, "count": 1, "sum": mean, "mean": mean}


def test_a_run_of_helm_is_read_with_its_spec(tmp_path: Path) -> None:
    run = tmp_path / "mmlu:subject=anatomy,model=openai_gpt2"
    stats = [
        stat("exact_match", 0.25),
        stat("exact_match", 0.2, perturbation={"name": "typos"}),
        stat("num_instances", 111),
        stat("inference_runtime", 1.5),
    ]
    write(run / "stats.json", stats)
    spec = {
        "name": "mmlu:subject=anatomy,model=openai_gpt2",
        "adapter_spec": {"model": "openai/gpt2", "max_train_instances": 5},
    }
    write(run / "run_spec.json", spec)
    write(run / "per_instance_stats.json", [])
    table = read(tmp_path)
    assert points(table.rows, "task", "metric", "value", "model", "params", "n") == {
        ("mmlu:subject=anatomy", "exact_match", 0.25, "openai/gpt2", 124e6, 111)
    }
    reasons = {s.reason: s.count for s in table.skipped}
    assert reasons == {"a file without results": 2, "measured on perturbed items": 1}


def test_a_table_of_helm_has_models_as_rows(tmp_path: Path) -> None:
    data = [
        {
            "title": "Accuracy",
            "header": [{"value": "Model"}, {"value": "Mean win rate"}, {"value": "MMLU - EM"}],
            "rows": [[{"value": "GPT-2 XL (1.5B)"}, {"value": 0.1}, {"value": 0.26}]],
        }
    ]
    table = read(write(tmp_path / "core_scenarios.json", data))
    assert points(table.rows, "task", "metric", "value", "params") == {("MMLU", "EM", 0.26, 1.5e9)}


def test_mteb_gives_the_main_score_of_each_subset(tmp_path: Path) -> None:
    folder = tmp_path / "intfloat__e5-small" / "no_revision_available"
    score = {"main_score": 0.75, "accuracy": 0.75, "f1": 0.7, "languages": ["eng-Latn"]}
    data = {
        **{"task_name": "Banking77Classification", "mteb_version": "1.18.0"},
        "scores": {"test": [{**score, "hf_subset": "default"}, {**score, "hf_subset": "de"}]},
        "evaluation_time": 10.5,
    }
    path = write(folder / "Banking77Classification.json", data)
    assert points(read(path).rows, "task", "metric", "value", "model") == {
        ("Banking77Classification", "main_score", 0.75, "intfloat/e5-small"),
        ("Banking77Classification (de)", "main_score", 0.75, "intfloat/e5-small"),
    }
    write(folder / "model_meta.json", {"name": "intfloat/e5-small", "n_parameters": 33360000})
    assert points(read(path).rows, "params") == {(33360000,)}
    assert points(read(path, metric="f1").rows, "value") == {(0.7,)}
    old = {
        "mteb_version": "1.0",
        "mteb_dataset_name": "STS12",
        "test": {"cos_sim": {"spearman": 0.7}},
    }
    assert points(read(write(tmp_path / "STS12.json", old)).rows, "task", "value") == {
        ("STS12 (cos_sim)", 0.7)
    }
