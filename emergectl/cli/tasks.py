"""`tasks`: which abilities can be asked, what they take, and what their questions look like."""

from __future__ import annotations

import inspect
from itertools import islice
from typing import Annotated, Any, Literal

import typer

from emergectl.cli.options import Json
from emergectl.cli.output import clean, one_line, print_json, print_table, say
from emergectl.errors import RequestError

Name = Annotated[str, typer.Argument(help="A name from `emergectl tasks list`.")]
Params = Annotated[
    list[str] | None, typer.Argument(metavar="[PARAM=VALUE]...", help="The task's parameters.")
]
EXAMPLES = 3
SCORED = 1000
"""test items on which shortcuts are scored, the first ones"""

app = typer.Typer(
    help="List, show and sample the abilities that can be asked.", no_args_is_help=True
)


@app.command("list")
def list_tasks(
    json_: Json = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """List the tasks."""
    from emergectl.config.shipped import first_comment, shipped_tasks
    from emergectl.tasks.catalog import broken_tasks, task_classes

    for reason in broken_tasks():
        say(f"left out: {reason}")
    rows = [[name, _asks(found), _summary(found)] for name, found in sorted(task_classes().items())]
    for name, path in shipped_tasks().items():
        rows.append([name, "as its file says", first_comment(path).rstrip(".")])
    print_table(["name", "asks for", "description"], rows, json_=json_, csv=csv)


@app.command("show")
def show(name: Name, params: Params = None, json_: Json = False) -> None:
    """Show what a task asks: metrics, chance, shortcuts, ceiling, least work, real examples."""
    from emergectl.tasks.catalog import task_class

    found: Any = task_class(name)
    fields = {} if found is None else found.model_fields
    needs = [field_name for field_name, field in fields.items() if field.is_required()]
    task = _made(name, params or []) if params or not needs else None
    if task is not None:
        found = type(task)
        needs = [] if getattr(task, "names_rows", True) else ["path"]
    asked = found if task is None else task  # a file may say itself how it is asked
    known, examples = ({}, []) if needs else _looked_at(task)
    facts: dict[str, Any] = {
        "name": name,
        "description": inspect.getdoc(found),
        "about": inspect.getdoc(inspect.getmodule(found)),
        "asks_for": _asks(asked),
        "metrics": _metrics(asked),
        "chance": known.get("chance"),
        "shortcuts": known.get("shortcuts"),
        "ceiling": known.get("ceiling"),
        "least_work": getattr(found, "least_work", "") or None,
        "parameters": _parameters(found),
        "examples": examples,
    }
    if json_:
        print_json(facts)
        return
    print(f"{name}: {one_line(str(facts['description']))}\n\n{facts['about']}\n")
    for title in ("asks_for", "metrics", "chance", "shortcuts", "ceiling", "least_work"):
        value = facts[title]
        if title == "shortcuts":
            _print_shortcuts(value or {})
            continue
        if isinstance(value, dict):
            value = ", ".join(f"{metric} {level:.4g}" for metric, level in value.items())
        elif isinstance(value, list):
            value = ", ".join(value)
        if value:
            print(f"{title.replace('_', ' '):<11} {value}")
    print()
    print_table(
        ["parameter", "default", "values", "meaning"],
        [[p["name"], p["default"], p["values"], p["meaning"]] for p in facts["parameters"]],
    )
    if needs:
        say(f"examples need {' and '.join(needs)}: add {needs[0]}=…")
    for sample in facts["examples"]:
        print()
        _print_sample(sample)


@app.command("sample")
def sample(
    name: Name,
    params: Params = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Items to make.")] = 5,
    split: Annotated[str, typer.Option(help="train or test.")] = "test",
    seed: Annotated[int, typer.Option(min=0, help="Of the items.")] = 0,
    json_: Json = False,
) -> None:
    """Print items of a task as a model is asked them."""
    if split not in ("train", "test"):
        raise RequestError(f"--split is train or test, not {split}")
    items = _samples(
        _made(name, params or []), "train" if split == "train" else "test", seed=seed, count=count
    )
    if json_:
        print_json(items)
        return
    for number, item in enumerate(items):
        if number:
            print()
        _print_sample(item)


def _made(name: str, params: list[str]) -> Any:
    """The task with parameters written as PARAM=VALUE. RequestError for what it does not take."""
    from emergectl.tasks.references import load_task

    for param in params:
        key, equals, _ = param.partition("=")
        if not equals or not key:
            raise RequestError(f"`{one_line(param)}`: write it as parameter=value")
    return load_task(":".join([name, *params]))


def _looked_at(task: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Chance, shortcuts, ceiling, and examples; neither where the rows of a task cannot be had,
    which is said."""
    try:
        return _levels(task), _samples(task, "test", seed=0, count=EXAMPLES)
    except RequestError as error:
        say(f"no examples: {error}")
        return {}, []


def _asks(task: Any) -> str:
    """How a task, or a class of tasks, asks a model."""
    ask = getattr(task, "ask", "every token")
    return ask if isinstance(ask, str) else "as its file says"


def _metrics(task: Any) -> list[str]:
    metrics = getattr(task, "metrics", ("loss", "token_accuracy"))
    return list(metrics) if isinstance(metrics, tuple) else []


def _summary(found: type) -> str:
    return (inspect.getdoc(found) or "").splitlines()[0].rstrip(".")


def _levels(task: Any) -> dict[str, Any]:
    """What needs no ability and the best that can be reached, by metric; shortcuts by name too."""
    from emergectl.tasks.shortcuts import bounds_of
    from emergectl.tasks.task import TextTask

    if not isinstance(task, TextTask):
        shortcuts = {"token_accuracy": dict(getattr(task, "shortcuts", {}))}
        return {"chance": {"token_accuracy": task.chance}, "shortcuts": shortcuts, "ceiling": {}}
    items = list(islice(task.items("test", seed=0), SCORED))
    return {"chance": dict(task.chance), **bounds_of(task, items).to_json()}


def _print_shortcuts(by_metric: dict[str, dict[str, float]]) -> None:
    """A line for each shortcut that is ever right, the best first; metrics that agree in one."""
    together: dict[tuple[tuple[str, float], ...], list[str]] = {}
    for metric, scores in by_metric.items():
        together.setdefault(tuple(scores.items()), []).append(metric)
    title = "shortcuts"
    for scored, metrics in together.items():
        for name, score in sorted(scored, key=lambda pair: -pair[1]):
            if score > 0:
                print(f"{title:<11} {', '.join(metrics)} {score:.4g} {clean(name)}")
                title = ""


def _parameters(found: Any) -> list[dict[str, Any]]:
    """Name, default, values and meaning of each parameter, the task's own first."""
    from emergectl.config.parts import field_meanings

    schema, meanings = found.model_json_schema(), field_meanings(found)
    rows = []
    own = vars(found).get("__annotations__", {})
    for name, field in sorted(found.model_fields.items(), key=lambda f: f[0] not in own):
        described = schema["properties"][name]
        rows.append(
            {
                "name": name,
                "default": None if field.is_required() else field.get_default(),
                "values": "required" if field.is_required() else _values(described),
                "meaning": one_line(meanings.get(name, "")),
            }
        )
    return rows


def _values(described: dict[str, Any]) -> str:
    """What a parameter can be, in few words."""
    if "enum" in described:
        return " | ".join(map(str, described["enum"]))
    if "anyOf" in described:
        return " or ".join(dict.fromkeys(map(_values, described["anyOf"])))
    low = described.get("minimum", described.get("exclusiveMinimum"))
    high = described.get("maximum", described.get("exclusiveMaximum"))
    if low is None and high is None:
        return str(described.get("type", "any"))
    return f"{'…' if low is None else low} to {'…' if high is None else high}"


def _samples(
    task: Any, split: Literal["train", "test"], *, seed: int, count: int
) -> list[dict[str, Any]]:
    """Items, or sequences with their scored tokens, as plain data."""
    from emergectl.tasks.task import TextTask, answer_of, put

    if not isinstance(task, TextTask):
        return _sequences(task, split, seed=seed, count=count)
    return [
        {
            "id": item.id,
            "question": put(task.template, item),
            "answer": answer_of(item),
            "choices": list(item.choices),
            "facts": dict(item.facts),
        }
        for item in islice(task.items(split, seed=seed), count)
    ]


def _sequences(
    task: Any, split: Literal["train", "test"], *, seed: int, count: int
) -> list[dict[str, Any]]:
    from emergectl.tasks.synthetic import HELD_OUT_STREAM, TRAIN_STREAM, random_block

    stream = TRAIN_STREAM if split == "train" else HELD_OUT_STREAM
    batch = task.sequences(random_block(seed, stream, 0), count)
    return [
        {"tokens": tokens, "scored": scored}
        for tokens, scored in zip(batch.tokens.tolist(), batch.scored.tolist(), strict=True)
    ]


def _print_sample(sample: dict[str, Any]) -> None:
    """A question with its answer and facts; of a sequence the scored tokens in brackets."""
    if "tokens" in sample:
        pairs = zip(sample["tokens"], sample["scored"], strict=True)
        print(" ".join(f"[{token}]" if scored else str(token) for token, scored in pairs))
        return
    print(clean(f"{sample['question']}▸{sample['answer']}"))
    if sample["choices"]:
        print(clean(f"  choices: {' | '.join(sample['choices'])}"))
    facts = "  ".join(f"{key} {_short(value)}" for key, value in sample["facts"].items())
    if facts:
        print(clean(f"  {facts}"))


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
