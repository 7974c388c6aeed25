"""What `analyze` reads: options on every kind of source, runs as measured, laws by group."""

import json
from pathlib import Path

import pytest

from emergectl.analysis.table import Table
from emergectl.analysis.table_curves import choose_axis, count_shown, curves_of
from emergectl.cli.main import main
from emergectl.cli.tables import TableSource, read_source
from emergectl.store.measurements import Measurement, MetricFacts, append_measurements

SHARE = MetricFacts("discontinuous", "up", "share", least=0.0, most=1.0)
LOSS = MetricFacts("continuous", "down", "loss")


def make_run(root: Path, name: str, *, size: str, seed: int = 0, lr: float = 1e-3) -> Path:
    """A run as it stands on disk: 10 steps of 100 tokens, nothing measured yet."""
    path = root / f"20260101-000000-{name}-abcd"
    path.mkdir(parents=True)
    counts = {"10k": (150_000, 10_000), "20k": (160_000, 20_000), "40k": (180_000, 40_000)}[size]
    facts = {
        **{"id": path.name, "name": name, "seed": seed, "stage": "pretrain"},
        **{"parameters": counts[0], "non_embedding_parameters": counts[1]},
    }
    (path / "run.json").write_text(json.dumps(facts))
    (path / "experiment.yaml").write_text(
        f"name: {name}\nseed: {seed}\nmodel: {{family: llama, size: {size}}}\n"
        f"optimizer: {{lr: {lr}}}\n"
    )
    lines = [
        {"step": step, "tokens": step * 100, "flops": step * 1e6, "loss": 5.0 - step / 10}
        for step in range(11)
    ]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def measure(run: Path, task: str, value: float, *, step: int = 10, **more: object) -> None:
    fields = {"metric": "exact_match", "what": SHARE, "source": "eval", "n": 100, **more}
    one = Measurement(task=task, value=value, step=step, **fields)  # type: ignore[arg-type]
    append_measurements(run, [one])


def read(root: Path, *names: object, **options: object) -> Table:
    return read_source(TableSource([str(name) for name in names], dict(options), root))


def test_what_eval_measured_on_a_run_is_read_with_the_runs_own_scales(tmp_path: Path) -> None:
    run = make_run(tmp_path, "a", size="10k")
    measure(run, "addition", 0.25, step=5, chance=0.1)
    measure(run, "addition", 0.75, step=10, chance=0.1)
    rows = read(tmp_path, run).rows
    assert [(r.task, r.value, r.step, r.tokens, r.flops, r.n, r.chance) for r in rows] == [
        ("addition", 0.25, 5, 500, 5e6, 100, 0.1),
        ("addition", 0.75, 10, 1000, 1e7, 100, 0.1),
    ]
    assert [(r.loss, r.what) for r in rows] == [(4.5, SHARE), (4.0, SHARE)]


def test_the_same_items_under_two_names_are_one_ability(tmp_path: Path) -> None:
    run = make_run(tmp_path, "a", size="10k")
    measure(run, "addition", 0.25, source="loop", items="f00")
    measure(run, "addition-digits=1", 0.5, items="f00")
    assert [(r.task, r.value) for r in read(tmp_path, run).rows] == [("addition", 0.5)]


def test_runs_stand_on_the_axis_of_parameters_without_embeddings(tmp_path: Path) -> None:
    runs = []
    for size in ("10k", "20k", "40k"):
        for seed in (0, 1):
            run = make_run(tmp_path, f"{size}-{seed}", size=size, seed=seed)
            measure(run, "addition", 0.1)
            runs.append(run)
    table = read(tmp_path, *runs)
    assert choose_axis(table) == "params"
    assert count_shown(table.rows).startswith("non-embedding parameters")
    (curve,) = curves_of(table, "params")
    assert curve.x.tolist() == [10_000, 20_000, 40_000]
    assert curve.seeds.tolist() == [2, 2, 2]
    assert {row.total_params for row in table.rows} == {150_000, 160_000, 180_000}
    total = read(tmp_path, *runs, params="total_params")
    assert {row.params for row in total.rows} == {150_000, 160_000, 180_000}
    assert {row.count for row in total.rows} == {"total"}


def test_runs_of_one_model_are_told_apart_by_what_differs(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, f"r{lr:g}", size="10k", lr=lr) for lr in (1e-3, 1e-2)]
    for run, value in zip(runs, (0.1, 0.9), strict=True):
        measure(run, "addition", value)
    names = {
        curve.name: curve.values.tolist() for curve in curves_of(read(tmp_path, *runs), "params")
    }
    assert names == {
        "lr 0.001/addition/exact_match": [0.1],
        "lr 0.01/addition/exact_match": [0.9],
    }


def test_what_follows_from_the_size_tells_no_runs_apart(tmp_path: Path) -> None:
    lrs = {"10k": 1e-2, "20k": 1e-3, "40k": 1e-4}
    runs = [make_run(tmp_path, size, size=size, lr=lr) for size, lr in lrs.items()]
    for run in runs:
        measure(run, "addition", 0.5)
    (curve,) = curves_of(read(tmp_path, *runs), "params")
    assert (curve.group, len(curve.x)) == ("", 3)


def test_shots_of_a_run_are_abilities_of_their_own_and_parts_are_left_out(tmp_path: Path) -> None:
    run = make_run(tmp_path, "a", size="10k")
    measure(run, "arc", 0.1, asked={"shots": 0})
    measure(run, "arc", 0.4, asked={"shots": 5})
    measure(run, "arc", 0.9, asked={"shots": 5}, group=("digits", 3))
    table = read(tmp_path, run)
    names = {curve.name: curve.values.tolist() for curve in curves_of(table, "step")}
    assert names == {"0-shot/arc/exact_match": [0.1], "5-shot/arc/exact_match": [0.4]}
    assert [(s.reason, s.count) for s in table.skipped] == [("of a part of the items alone", 1)]


def test_options_reach_runs(tmp_path: Path) -> None:
    run = make_run(tmp_path, "a", size="10k")
    measure(run, "addition", 0.25)
    measure(run, "parity", 0.5)
    rows = read(tmp_path, run, where=["task=parity"], scale=["params=2"], group="source").rows
    assert [(r.task, r.params, r.group) for r in rows] == [("parity", 20_000, "eval")]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--where", "nosuch=1"], "no column 'nosuch'"),
        (["--group", "nosuch"], "no column 'nosuch'"),
        (["--params", "nosuch"], "no column 'nosuch'"),
        (["--lower", "nosuch"], "no task or metric of that name"),
        (["--chance", "nosuch=0.1"], "no task or metric of that name"),
        (["--values", "nosuch"], "no column 'nosuch'"),
        (["--scale", "height=2"], "a scale is one of"),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "jsonl", "json", "run"])
def test_a_name_that_is_not_there_ends_with_one_line_on_every_source(
    tmp_path: Path,
    kind: str,
    options: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if kind == "run":
        path = make_run(tmp_path, "a", size="10k")
        measure(path, "addition", 0.25)
    else:
        path = tmp_path / f"t.{kind}"
        path.write_text(
            {
                "csv": "task,metric,params,value\nt,acc,1,0.5\n",
                "jsonl": '{"task": "t", "metric": "acc", "params": 1, "value": 0.5}\n',
                "json": '{"results": {"t": {"acc,none": 0.5}}, "model_name": "m-1b"}',
            }[kind]
        )
    assert main(["analyze", "emergence", str(path), *options]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert len(captured.err.strip().splitlines()) == 1


def test_values_may_be_repeated_and_lists_in_yaml_stay_lists(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text('size,"a,strict","a,loose"\n1,0.1,0.2\n')
    both = ["a,strict=a/acc", "a,loose=b/acc"]
    mapping = tmp_path / "m.yaml"
    mapping.write_text(f"params: size\nvalues: {json.dumps(both)}\nlower: [a/acc]\n")
    repeated = read(tmp_path, table, values=both, params="size").rows
    assert [(r.task, r.metric, r.value) for r in repeated] == [("a", "acc", 0.1), ("b", "acc", 0.2)]
    from emergectl.cli.tables import _with_file

    options = dict.fromkeys(("params", "values", "lower"))
    mapped = read(tmp_path, table, **_with_file(options, mapping)).rows
    assert [r.what.direction for r in mapped] == ["down", "up"]


def test_a_list_where_one_name_is_meant_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mapping = tmp_path / "m.yaml"
    mapping.write_text("params: [a, b]\n")
    table = tmp_path / "t.csv"
    table.write_text("a,b,value\n1,2,3\n")
    assert main(["analyze", "emergence", str(table), "--columns", str(mapping)]) == 2
    assert "params is one name" in capsys.readouterr().err


def test_every_group_has_a_scaling_law_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "runs.csv"
    lines = ["family,params,tokens,loss"]
    for family, floor in (("a", 1.7), ("b", 2.4)):
        for n in (1e7, 1e8, 1e9, 1e10):
            for d in (1e9, 1e10, 1e11, 1e12):
                lines.append(f"{family},{n},{d},{floor + 400 / n**0.34 + 410 / d**0.28}")
    lines.append("c,1e7,1e9,3")
    path.write_text("\n".join(lines) + "\n")
    command = ["analyze", "scaling", str(path), "--group", "family", "--draws", "100"]
    assert main([*command, "--json"]) == 0
    captured = capsys.readouterr()
    laws = json.loads(captured.out)["groups"]
    floors = {group: law["parameters"]["E"]["value"] for group, law in laws.items()}
    assert floors == {"a": pytest.approx(1.7, rel=0.01), "b": pytest.approx(2.4, rel=0.01)}
    assert "no law for c: 1 runs of 1 sizes" in captured.err


def test_runs_give_a_scaling_law(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = []
    for size, n in (("10k", 1e4), ("20k", 2e4), ("40k", 4e4)):
        for tokens in (1e5, 4e5, 16e5):
            run = make_run(tmp_path, f"{size}-{tokens:g}", size=size)
            loss = 1.5 + 60 / n**0.4 + 90 / tokens**0.35
            line = {"step": 10, "tokens": tokens, "flops": 6 * n * tokens, "loss": loss}
            (run / "metrics.jsonl").write_text(json.dumps(line) + "\n")
            text = (run / "experiment.yaml").read_text()
            (run / "experiment.yaml").write_text(f"{text}train: {{tokens: {tokens:g}}}\n")
            measure(run, "validation", loss, metric="loss", what=LOSS)
            runs.append(str(run))
    command = ["analyze", "scaling", *runs, "--draws", "100", "--json"]
    assert main(command) == 0
    law = json.loads(capsys.readouterr().out)
    assert law["runs"] == 9
    assert law["parameters"]["E"]["value"] == pytest.approx(1.5, rel=0.05)
