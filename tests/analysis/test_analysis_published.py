"""Published data through the command, one line each: what the papers say comes out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emergectl.cli.main import main

Find = Callable[[str], Path]
OVER_STEPS = ["--x", "step", "--model", "params", "--where", "variant=standard"]


def analyzed(capsys: pytest.CaptureFixture[str], kind: str, *options: object) -> Any:
    assert main(["analyze", kind, *map(str, options), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_lambada_accuracy_sets_in_where_its_perplexity_improves(
    published: Find, capsys: pytest.CaptureFixture[str]
) -> None:
    file = published("pythia_v1_zeroshot/pythia_v1_zeroshot.csv")
    lambada = ["--where", "task=lambada_openai", "--n", 5153, "--chance", "acc=0"]
    said = analyzed(capsys, "emergence", file, *OVER_STEPS, *lambada)
    accuracies = [a for a in said["abilities"] if a["metric"] == "acc"]
    assert len(accuracies) == 7
    for ability in accuracies:
        if float(ability["group"]) < 1e8:
            continue
        onset = ability["onset"]
        assert (onset["last_at_chance"], onset["first_above"]) == (512, 1000)
        assert ability["verdict"] == "gradual"
        assert ability["shapes"][0]["shape"] == "broken"
        assert ability["pair"]["metric"] == "ppl"
        # Perplexity has begun to fall before.
        assert ability["pair"]["lag_decades"]["high"] < 0
    best = accuracies[0]["axes"]
    assert (best[0]["axis"], best[-1]["axis"]) == ("flops", "params")


@pytest.mark.parametrize("axis", ["step", "params"])
def test_mmlu_does_not_emerge_over_either_axis(
    axis: str, published: Find, capsys: pytest.CaptureFixture[str]
) -> None:
    file = published("pythia_v1_zeroshot/pythia_v1_zeroshot.csv")
    mmlu = ["--where", "task=mmlu_mean_57", "--n", 14042, "--chance", 0.25, "--x", axis]
    options = OVER_STEPS[2:]
    said = analyzed(capsys, "emergence", file, *options, *mmlu)
    assert {a["verdict"] for a in said["abilities"]} <= {"flat", "smooth", "undetermined"}


def test_the_tasks_of_wei_over_flops_and_exact_match_beside_bleu(
    published: Find, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    mapping = tmp_path / "wei.yaml"
    mapping.write_text(
        "model: Model\nflops: flops_e21\nscale: {flops: 1e21}\nchance: [0, persian=0.25]\n"
        "values:\n"
        "- ipa_transliterate_2_exact_match=ipa/exact_match\n"
        "- ipa_transliterate_2_bleu=ipa/bleu\n"
        "- parsinlu_qa_2_acc=persian/acc\n"
        "- word_unscrambling_2_exact_match=unscramble/exact_match\n"
        "- arithmetic_2dm_2_acc=multiply/acc\n"
        "- arithmetic_3ds_2_acc=subtract/acc\n"
    )
    file = published("obsscaling_base/emergent_joined.csv")
    said = analyzed(capsys, "emergence", file, "--x", "flops", "--columns", mapping)
    assert said["left_out"][0]["count"] > 0
    abilities = {(a["task"], a["metric"]): a for a in said["abilities"]}
    assert len(abilities) == 6
    # Models of other families scatter by more than a gradual rise misses.
    assert not {a["verdict"] for a in abilities.values()} & {"emergent", "metric-made"}
    # Two models of 1.3e24 FLOPs write 1 answer in 100 right, their neighbours 28 to 37.
    ipa = abilities["ipa", "exact_match"]
    assert (ipa["verdict"], ipa["turn"]) == ("non-monotone", pytest.approx(1.296e24))
    assert (ipa["pair"]["metric"], abilities["ipa", "bleu"]["verdict"]) == ("bleu", "gradual")
    assert ipa["pair"]["lag_decades"]["low"] < 0 < ipa["pair"]["lag_decades"]["high"]


def test_the_chinchilla_refit_in_one_command(
    published: Find, capsys: pytest.CaptureFixture[str]
) -> None:
    file = published("chinchilla_epoch/svg_extracted_data.csv")
    columns = ["--params", "Model Size", "--flops", "Training FLOP", "--drop-highest", 5]
    law = analyzed(capsys, "scaling", file, *columns, "--draws", 100)
    found = {name: p["value"] for name, p in law["parameters"].items()}
    expected = {"A": 477.84, "B": 2143.86, "E": 1.8172, "alpha": 0.34731, "beta": 0.36718}
    assert {k: found[k] for k in expected} == pytest.approx(expected, rel=1e-3)
    assert law["objective"] == pytest.approx(0.00101827, rel=1e-4)
    assert law["runs"] == 240
