"""`key.path=value` on the command line."""

import pytest

from emergectl.config.overrides import apply_overrides
from emergectl.config.reader import parse_yaml
from emergectl.errors import RequestError

TEXT = "seed: 3\noptimizer: {lr: 0.1}\nsources:\n- path: a\n- path: b\none: {path: c}\nnothing:\n"


def overridden(*overrides: str) -> dict:
    return apply_overrides(parse_yaml(TEXT, name="f.yaml"), overrides).data


def refusal_of(override: str) -> str:
    with pytest.raises(RequestError) as refused:
        overridden(override)
    return str(refused.value)


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("optimizer.lr=3e-4", ["optimizer", "lr"], 3e-4),
        ("optimizer.name=no", ["optimizer", "name"], "no"),
        ("optimizer.betas=[0.9, 0.95]", ["optimizer", "betas"], [0.9, 0.95]),
        ("notes=a=b", ["notes"], "a=b"),
        ("seed=", ["seed"], None),
        ("made.up.here=1", ["made", "up", "here"], 1),
        ("nothing.lr=1", ["nothing", "lr"], 1),
        ("sources.1.path=x", ["sources", 1, "path"], "x"),
        ("sources.2.path=x", ["sources", 2, "path"], "x"),
        ("sources.0=x", ["sources", 0], "x"),
        ("one.0.path=x", ["one", "path"], "x"),
        ("tracking.0=wandb", ["tracking", 0], "wandb"),
    ],
)
def test_an_override_sets_the_value_at_its_path(override: str, path: list, value: object) -> None:
    found = overridden(override)
    for key in path:
        found = found[key]
    assert found == value


def test_what_is_not_overridden_stays() -> None:
    assert overridden("sources.1.path=x") == {
        **parse_yaml(TEXT, name="f").data,
        "sources": [{"path": "a"}, {"path": "x"}],
    }


def test_the_last_of_two_overrides_wins() -> None:
    assert overridden("seed=1", "seed=2")["seed"] == 2


def test_what_an_override_set_is_placed_at_the_override() -> None:
    document = apply_overrides(parse_yaml(TEXT, name="f.yaml"), ["optimizer={lr: [1, 2]}"])
    assert document.where(["optimizer", "lr", 1]) == "override `optimizer={lr: [1, 2]}`"
    assert document.line_of(["optimizer", "lr"]) is None
    assert document.line_of(["seed"]) == 1


@pytest.mark.parametrize("override", ["seed", "=1", "a..b=1", ".a=1", "optimizer.=1"])
def test_an_override_of_another_form_is_refused(override: str) -> None:
    assert refusal_of(override).startswith(f"override `{override}`: write it as key.path=value")


@pytest.mark.parametrize("key", ["3", "-1", "x", "９", "9" * 5000])
def test_an_item_that_the_list_does_not_have_is_refused(key: str) -> None:
    assert "is not the number of an item: the list there has 2" in refusal_of(f"sources.{key}=1")


def test_a_path_through_a_plain_value_is_refused() -> None:
    assert refusal_of("seed.x=1") == (
        "override `seed.x=1`: there is no `x` inside the plain value 3"
    )


def test_a_value_that_is_not_yaml_is_refused_in_one_line() -> None:
    message = refusal_of("seed=[1")
    assert message.startswith("override `seed=[1`: not YAML")
    assert "\n" not in message


def test_an_override_is_shown_without_what_a_terminal_would_obey() -> None:
    assert "\x1b" not in refusal_of("seed=\x1b[31m")
