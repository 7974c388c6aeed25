"""What originals of others' result files showed: each case has the form of a published file.

The forms (keys and structure) are those of files that were read: evaluations of Pythia by
lm-evaluation-harness 0.3 and 0.4, runs of HELM, MTEB's result store, exports of Weights & Biases,
trainer_state.json of fine-tunings, tables of the first Open LLM Leaderboard. Numbers are our own.
"""

import gzip
import json
from pathlib import Path

import pytest

from emergectl.analysis.reading import read_tables
from emergectl.analysis.table import Table, TableRow
from emergectl.analysis.table_curves import curves_of
from emergectl.errors import DataError
from emergectl.evaluation.metrics import metric_facts


def read(path: Path, **where: str) -> Table:
    return read_tables([path], where=where, lookup=metric_facts)


def write(path: Path, data: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return path


def points(rows: list[TableRow], *fields: str) -> set[tuple[object, ...]]:
    return {tuple(getattr(row, name) for name in fields) for row in rows}


@pytest.mark.parametrize(
    ("first", "second", "model"),
    [
        (
            "pythia-160m-0shot-global_step500_eval_results_12-26-2022-22-11-03.json",
            "pythia-160m-0shot-global_step1500_eval_results_12-29-2022-16-09-11.json",
            "pythia-160m",
        ),
        ("160m-5shot_step500.json", "160m-5shot_step1500.json", "160m"),
        (
            "me__m-160m/step500/results_2024-05-01T10-00-00.123456.json",
            "me__m-160m/step1500/results_2024-05-01T11-30-10.654321.json",
            "me__m-160m",
        ),
        (
            "m-160m_step500_20240501_101112.json",
            "m-160m_step1500_20240502_090807.json",
            "m-160m",
        ),
    ],
)
def test_dates_and_shots_in_the_names_of_files_are_no_models(
    tmp_path: Path, first: str, second: str, model: str
) -> None:
    for name, value in ((first, 0.25), (second, 0.5)):
        config = {"model": "neox", "model_args": {"iteration": 500, "seed": 1234}}
        write(tmp_path / name, {"results": {"arc": {"acc": value}}, "config": config})
    table = read(tmp_path)
    assert points(table.rows, "model", "step", "params", "seed") == {
        (model, 500, 160e6, ""),
        (model, 1500, 160e6, ""),
    }


@pytest.mark.parametrize(("told", "shots"), [({}, "5"), ({"num_fewshot": 0}, "0")])
def test_shots_in_the_name_of_a_file_are_taken_where_it_tells_none(
    tmp_path: Path, told: dict[str, int], shots: str
) -> None:
    data = {"results": {"arc": {"acc": 0.25}}, "config": {"model_args": "pretrained=m-1b", **told}}
    table = read(write(tmp_path / "m-1b-5shot.json", data))
    assert ("shots", shots) in table.rows[0].asked
    assert any("5 by its name" in note for note in table.notes) == bool(told)


@pytest.mark.parametrize(
    "results",
    [{}, {"total_samples": 5, "scores": [{"name": "match"}]}],
)
def test_results_of_another_tool_are_no_results_of_the_harness(
    tmp_path: Path, results: object
) -> None:
    path = write(tmp_path / "log.json", {"results": results, "status": "success"})
    with pytest.raises(DataError, match="no results of lm-evaluation-harness"):
        read(path)


def test_results_in_objects_in_objects_are_refused_by_name(tmp_path: Path) -> None:
    data = {"results": {"arc": {"2022-07-07": {"acc": 0.5}}}, "versions": {}}
    with pytest.raises(DataError, match="results of 'arc' hold no numbers"):
        read(write(tmp_path / "a.json", data))


def test_a_pointer_of_git_lfs_is_called_one(tmp_path: Path) -> None:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:5b38\nsize 3968\n"
    for name in ("r.json", "r.csv", "r.jsonl"):
        with pytest.raises(DataError, match="a pointer of Git LFS"):
            read(write(tmp_path / name, text))


def test_samples_of_the_harness_are_called_so(tmp_path: Path) -> None:
    one = {"doc_id": 0, "doc": {}, "resps": [["a"]], "filter": "none", "exact_match": 1.0}
    path = write(tmp_path / "samples_gsm8k_2024-05-01T10-00-00.jsonl", json.dumps(one) + "\n")
    with pytest.raises(DataError, match=r"item by item.*results_"):
        read(path)


def binomial(share: float, items: int) -> float:
    return float((share * (1 - share) / (items - 1)) ** 0.5)


def test_a_groups_items_are_its_tasks_items_and_not_read_from_its_pooled_error(
    tmp_path: Path,
) -> None:
    """0.4.2 tells no items; the error of a group is pooled over tasks, so it is no binomial one."""
    tasks = {"mmlu_a": (0.25, 100), "mmlu_b": (0.75, 300)}
    pooled = (sum((n - 1) * binomial(p, n) ** 2 * n for p, n in tasks.values()) / 398 / 400) ** 0.5
    results = {
        "mmlu": {"acc,none": (25 + 225) / 400, "acc_stderr,none": pooled},
        **{t: {"acc,none": p, "acc_stderr,none": binomial(p, n)} for t, (p, n) in tasks.items()},
    }
    data = {
        **{"results": results, "group_subtasks": {"mmlu": ["mmlu_a", "mmlu_b"]}},
        "config": {"model_args": "pretrained=m-1b"},
    }
    rows = read(write(tmp_path / "a.json", data)).rows
    assert {row.task: row.n for row in rows} == {"mmlu": 400, "mmlu_a": 100, "mmlu_b": 300}


def test_a_share_of_probability_tells_no_number_of_items(tmp_path: Path) -> None:
    """TruthfulQA's mc2 is a mean of shares, called `acc`: its error is smaller than binomial."""
    scores = {"acc,none": 0.4393046477915496, "acc_stderr,none": 0.01389749136478885}
    right = {"acc,none": 219 / 817, "acc_stderr,none": binomial(219 / 817, 817)}
    results = {"truthfulqa_mc2": scores, "truthfulqa_mc1": right}
    data = {"results": results, "config": {"model_args": "pretrained=m-1b"}}
    rows = read(write(tmp_path / "a.json", data)).rows
    assert {row.task: row.n for row in rows} == {"truthfulqa_mc2": None, "truthfulqa_mc1": 817}


def test_the_mean_loss_of_a_whole_training_is_no_loss_at_its_last_step(tmp_path: Path) -> None:
    history = [
        {"epoch": 0.5, "loss": 2.0, "learning_rate": 1e-4, "step": 50},
        {"epoch": 1.0, "loss": 1.0, "learning_rate": 0.0, "step": 100},
        {"epoch": 1.0, "eval_loss": 1.2, "eval_wer": 24.9, "eval_runtime": 3.0, "step": 100},
        {
            **{"epoch": 1.0, "step": 100, "total_flos": 1e15, "train_loss": 1.5},
            **{"train_runtime": 9.0, "train_samples_per_second": 4.0},
        },
    ]
    table = read(write(tmp_path / "t5" / "trainer_state.json", {"log_history": history}))
    curves = {curve.name: curve.values.tolist() for curve in curves_of(table, "step")}
    assert curves == {"train/loss": [2.0, 1.0], "eval/loss": [1.2], "eval/wer": [24.9]}
    assert {s.reason: s.count for s in table.skipped} == {
        "the mean over a whole training (--where metric=… takes it)": 1
    }


def test_what_trainers_count_beside_metrics_is_no_ability(tmp_path: Path) -> None:
    entry = {
        **{"loss": 2.0, "mean_token_accuracy": 0.5, "train_accuracy": 0.25, "num_tokens": 4096.0},
        **{"grad_norm": 1.0, "learning_rate": 1e-4, "epoch": 0.1, "memory/max_active (GiB)": 9.0},
        "step": 10,
    }
    rows = read(write(tmp_path / "s" / "trainer_state.json", {"log_history": [entry]})).rows
    assert points(rows, "task", "metric", "value", "tokens") == {
        ("train", "loss", 2.0, 4096),
        ("train", "mean_token_accuracy", 0.5, 4096),
        ("train", "accuracy", 0.25, 4096),
    }


def helm_run(root: Path, name: str, model: str, stats: dict[str, float]) -> None:
    folder = root / name.replace(":", "-", 1)
    spec = {"name": name, "adapter_spec": {"model": model, "max_train_instances": 5}}
    write(folder / "run_spec.json", spec)
    names = {**stats, "num_instances": 40}
    rows = [
        {"name": {"name": n, "split": "test"}, "count": 1, "sum": v, "mean": v}
        for n, v in names.items()
    ]
    write(folder / "stats.json", rows)


def test_a_model_in_the_name_of_a_helm_run_is_no_part_of_the_task(tmp_path: Path) -> None:
    for size, value in (("410m", 0.25), ("1b", 0.5)):
        stats = {"f1_score": value}
        helm_run(
            tmp_path,
            f"narrative_qa:model=eleutherai_pythia-{size}",
            f"eleutherai/pythia-{size}",
            stats,
        )
        helm_run(
            tmp_path,
            f"mmlu:subject=law,model=eleutherai_pythia-{size},groups=x",
            f"eleutherai/pythia-{size}",
            stats,
        )
    (law, narrative) = curves_of(read(tmp_path), "params")
    assert (narrative.task, narrative.values.tolist()) == ("narrative_qa", [0.25, 0.5])
    assert (law.task, law.values.tolist()) == ("mmlu:subject=law,groups=x", [0.25, 0.5])


def test_log_probabilities_that_were_not_recorded_are_no_certainty(tmp_path: Path) -> None:
    silent = {"logprob": 0.0, "perplexity": 1.0, "bits_per_byte": 0.0, "logprob_per_byte": 0.0}
    helm_run(tmp_path, "a:model=m-1b", "x/m-1b", {"exact_match": 0.25, **silent})
    told = {"logprob": -2.0, "perplexity": 7.4, "bits_per_byte": 1.4, "logprob_per_byte": -1.0}
    helm_run(tmp_path, "b:model=m-1b", "x/m-1b", {"exact_match": 0.5, **told})
    table = read(tmp_path)
    assert points(table.rows, "task", "metric") == {
        ("a", "exact_match"),
        *(("b", metric) for metric in ("exact_match", *told)),
    }
    assert ("log-probabilities that were not recorded (all are 0)", 4) in [
        (s.reason, s.count) for s in table.skipped
    ]


def mteb(path: Path, value: float) -> Path:
    score = {"hf_subset": "default", "main_score": value, "v_measure": value}
    data = {"mteb_version": "1.12", "task_name": "T", "dataset_revision": "d0"}
    return write(path, {**data, "scores": {"test": [score]}})


def test_two_revisions_of_an_embedding_model_are_told_by_their_folders(tmp_path: Path) -> None:
    for revision, value in (("a" * 40, 0.25), ("b" * 40, 0.5)):
        mteb(tmp_path / "results" / "me__e5-118m" / revision / "T.json", value)
    with pytest.raises(DataError, match=r"differ in revision .*--where 'revision=b{40}'"):
        curves_of(read(tmp_path), "params")
    table = read(tmp_path, revision="b" * 40)
    (row,) = table.rows
    assert (row.model, row.params, row.value) == ("me/e5-118m", 118e6, 0.5)
    assert (row.what.direction, row.unsure) == ("up", "")


@pytest.mark.parametrize("head", ["ARC (25-shot)", "ARC(25-shot)", "ARC"])
def test_early_tables_of_the_leaderboard_have_shots_in_their_columns(
    tmp_path: Path, head: str
) -> None:
    text = (
        f"\ufeffModel,Average,{head},MMLU (5-shot),Parameters,URL\n"
        "me/a-7b,40,25.5,30.5,3.9,https://x\nme/b-13b,41,26.5,31,0.0,https://y\n"
    )
    table = read(write(tmp_path / "board.csv", text))
    assert {(r.task, r.params, round(r.value, 6)) for r in table.rows} == {
        ("ARC", 7e9, 0.255),
        ("ARC", 13e9, 0.265),
        ("MMLU", 7e9, 0.305),
        ("MMLU", 13e9, 0.31),
    }
    assert any("by the models' names" in note for note in table.notes)


def chart(axis: str, *names: str) -> str:
    head = [axis, *(f"{name}{end}" for name in names for end in ("", "__MIN", "__MAX"))]
    row = ["10", *(str(i + 1) for i, _ in enumerate(names) for _ in range(3))]
    return "\n".join(",".join(f'"{cell}"' for cell in line) for line in (head, row)) + "\n"


def test_steps_beside_the_values_of_a_chart_are_no_metric(tmp_path: Path) -> None:
    text = chart("train/global_step", "a - _step", "a - train/loss")
    rows = read(write(tmp_path / "chart.csv", text)).rows
    assert points(rows, "model", "task", "metric", "step", "value") == {
        ("a", "train", "loss", 10, 2)
    }


@pytest.mark.parametrize("axis", ["Relative Time (Process)", "Wall Time", "epoch", "lr"])
def test_a_chart_over_anything_but_steps_is_refused(tmp_path: Path, axis: str) -> None:
    path = write(tmp_path / "chart.csv", chart(axis, "a - train/loss"))
    with pytest.raises(DataError, match=rf"over '.*{axis[:4]}.*'.*export it over"):
        read(path)


def test_the_index_of_the_right_choice_is_no_metric(tmp_path: Path) -> None:
    metrics = "{'acc_raw': 0.25, 'correct_choice': 1.5, 'bits_per_byte_corr': 1.2}"
    text = (
        "group,model,task,chinchilla,step,seed,tokens,compute,metrics\n"
        f'c4,4M,boolq,5xC,100,14.0,3276800,7e13,"{metrics}"\n'
        f'c4,6M,boolq,5xC,100,14.0,,,"{metrics}"\n'
    )
    rows = read(write(tmp_path / "raw.csv", text)).rows
    assert points(rows, "task", "metric", "params", "group", "flops") == {
        ("boolq", "acc_raw", 4e6, "c4", 7e13),
        ("boolq", "bits_per_byte_corr", 4e6, "c4", 7e13),
        ("boolq", "acc_raw", 6e6, "c4", None),
        ("boolq", "bits_per_byte_corr", 6e6, "c4", None),
    }
    assert [row.what.direction for row in rows[:2]] == ["up", "down"]


def test_a_count_of_items_in_a_summary_is_no_model(tmp_path: Path) -> None:
    text = "dataset,version,metric,mode,total_count,m-7b\ngsm8k,1,accuracy,gen,80,82.5\n"
    (row,) = read(write(tmp_path / "summary.csv", text)).rows
    assert (row.model, row.n, row.value) == ("m-7b", 80, 0.825)


def test_the_normalised_mean_of_a_big_bench_task_stands_beside_its_metrics(tmp_path: Path) -> None:
    scores = {"exact_str_match": 0.5, "normalized_aggregate_score": 50.0}
    data = {
        "model": {"model_name": "1b", "model_family": "BIG-G", "non_embedding_params": 1e9},
        "task": {"task_name": "t"},
        "scores": [{"score_dict": scores, "number_of_shots": 0, "preferred_score": "x"}],
    }
    table = read(write(tmp_path / "s.json", data))
    assert points(table.rows, "metric") == {("exact_str_match",)}
    assert table.skipped[0].count == 1


def test_packed_tables_are_read_and_torn_ones_named(tmp_path: Path) -> None:
    texts = {
        "t.csv.gz": "task,params,value\na,1e6,0.25\n",
        "t.jsonl.gz": '{"task": "a", "params": 1e6, "value": 0.25}\n',
        "t.json.gz": json.dumps({"results": {"a": {"acc": 0.25}}, "model_name": "m-1m"}),
    }
    for name, text in texts.items():
        packed = gzip.compress(text.encode())
        (tmp_path / name).write_bytes(packed)
        assert points(read(tmp_path / name).rows, "task", "params", "value") == {("a", 1e6, 0.25)}
        (tmp_path / name).write_bytes(packed[:-9])
        with pytest.raises(DataError, match=rf"{name}:\d: .*(gzip|end-of-stream)"):
            read(tmp_path / name)
