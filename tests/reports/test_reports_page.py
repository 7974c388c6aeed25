"""The page: whole by itself, with links to what its numbers came from, and nothing active in it."""

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from functools import partial
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml
from markdown_it import MarkdownIt

from emergectl.cli.main import main

VALUES = (0.02, 0.0, 0.01, 0.5, 0.88, 0.9, 0.91, 0.9)
# After OWASP's cheat sheet of filter evasions, and what Markdown, SVG and CSS add to them.
HOSTILE = [
    "<script>alert(1)</script>",
    "<SCRIPT SRC=//x.example/a.js></SCRIPT>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<script\x00>alert(1)</script>",
    "<script/x>alert(1)</script>",
    "<<script>alert(1)//<</script>",
    "<img src=x onerror=alert(1)>",
    "<img src=`javascript:alert(1)`>",
    '<img """><script>alert(1)</script>">',
    "<img src=&#106;avascript:alert(1)>",
    "<img dynsrc=javascript:alert(1)>",
    "<image href=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<svg/onload=alert(1)//",
    "<svg><script>alert(1)</script></svg>",
    "<svg><a xlink:href=javascript:alert(1)><text>x</text></a></svg>",
    "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    "<svg><foreignObject><iframe src=javascript:alert(1)></iframe></foreignObject></svg>",
    "<svg><set attributeName=href to=javascript:alert(1)></svg>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "<iframe src=javascript:alert(1)></iframe>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<object data=javascript:alert(1)></object>",
    "<embed src=javascript:alert(1)>",
    "<applet code=x></applet>",
    "<form action=javascript:alert(1)><input type=submit></form>",
    "<button formaction=javascript:alert(1)>x</button>",
    "<input autofocus onfocus=alert(1)>",
    "<select autofocus onfocus=alert(1)>",
    "<textarea autofocus onfocus=alert(1)>",
    "<keygen autofocus onfocus=alert(1)>",
    "<video><source onerror=alert(1)></video>",
    "<audio src=x onerror=alert(1)>",
    "<body onload=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<marquee onstart=alert(1)>",
    "<base href=//x.example/>",
    "<link rel=stylesheet href=//x.example/a.css>",
    "<meta http-equiv=refresh content='0;url=javascript:alert(1)'>",
    "<style>@import '//x.example/a.css';</style>",
    "<style>*{background:url(javascript:alert(1))}</style>",
    "</style><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</textarea><script>alert(1)</script>",
    "--><script>alert(1)</script><!--",
    "]]><script>alert(1)</script>",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<?xml-stylesheet href=javascript:alert(1)?>",
    '" onmouseover="alert(1)',
    "' onmouseover='alert(1)",
    '" style="background:url(javascript:alert(1))',
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:msgbox(1)",
    "[x](javascript:alert(1))",
    "![x](javascript:alert(1))",
    "<a href=java\tscript:alert(1)>x</a>",
    "{{ 7*7 }}{% for x in y %}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "$\\href{javascript:alert(1)}{x}$",
    "\x1b[2J\x1b]0;title\x07\x9b31m\u202eevil\u2066",
    "%3Cscript%3Ealert(1)%3C/script%3E",
]
ACTIVE = {
    *("script", "iframe", "object", "embed", "applet", "form", "input", "button", "textarea"),
    *("select", "base", "link", "img", "image", "audio", "video", "source", "foreignobject"),
    *("animate", "set", "math", "marquee", "keygen", "frame", "frameset"),
}


class Nodes(HTMLParser):
    """Every element of a page with its attributes, and all its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def links(self) -> list[str]:
        return [str(a["href"]) for tag, a in self.found if tag == "a" and "href" in a]


def assert_inactive(page: str) -> None:
    """Nothing that runs, loads or leads elsewhere, whichever way a parser reads it."""
    for tag, attributes in Nodes(page).found:
        assert tag not in ACTIVE, tag
        for key, value in attributes.items():
            assert not key.startswith("on"), (tag, key)
            assert key not in ("srcdoc", "src", "action", "formaction", "data", "xlink:href"), key
            if key == "href":
                assert re.match(r"\.{1,2}(/|$)|#", str(value)), value
            if key == "style":
                assert not re.search(r"url\((?!#)|expression|@import|javascript", str(value))
    styles = re.findall(r"<style[^>]*>(.*?)</style>", page, re.DOTALL)
    assert len(styles) == 1
    assert "url(" not in styles[0]
    assert "@import" not in styles[0]


def table_in(folder: Path, name: str = "table.jsonl", **texts: str) -> Path:
    """A table of one ability under two metrics, two seeds; other texts by column."""
    lines = []
    for k, value in enumerate(VALUES):
        for seed in ("0", "1"):
            known = {"params": 10 ** (6 + k / 2), "tokens": 1e9, "n": 500, "chance": 0.0}
            named = {"task": "add", "model": f"m{k}", "seed": seed, "group": "", **texts}
            metric = texts.get("metric", "exact_match")
            at = value + 0.01 * int(seed == "1")
            lines.append({**known, **named, "metric": metric, "value": at})
            other = {"metric": "loss", "value": 3 - 0.2 * k + 0.01 * len(seed), "chance": None}
            lines.append({**known, **named, **other})
    path = folder / name
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    """Makes such a table, for a page of one's own."""
    return partial(table_in, tmp_path)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table of the page that several tests look at."""
    return table_in(tmp_path_factory.mktemp("page"), "数据 & more.jsonl")


@pytest.fixture(scope="module")
def page(source: Path) -> str:
    """Its page."""
    return made(source)


def made(source: Path, *options: str) -> str:
    target = source.parent / "page.html"
    assert main(["report", str(source), "-o", str(target), *options]) == 0
    return target.read_text(encoding="utf-8")


def test_the_page_opens_with_all_verdicts_in_one_figure_and_shows_each_ability(page: str) -> None:
    nodes = Nodes(page)
    assert page.index("<figure") < page.index("<h2>Verdicts")
    assert "1 metric-made" in nodes.text
    shown = ("exact_match", "chance", "half of the rise, 95%", "foretold from", "share of runs at")
    for text in shown:
        assert text in nodes.text, text
    assert "emergectl report" in nodes.text
    assert_inactive(page)


def test_figures_are_numbered_from_one_and_each_has_a_caption(page: str) -> None:
    labels = re.findall(r"<figcaption><b>Figure (\d+)\.</b> (\S[^<]+)", page)
    assert [int(number) for number, _ in labels] == list(range(1, page.count("<figure") + 1))
    curve = next(caption for _, caption in labels if caption.startswith("exact_match of add"))
    for said in ("16 measurements at 8 scales, n = 500 items each", "Dashed: chance (0)", "p <"):
        assert said in unescape(curve), said


def test_the_four_claims_stand_as_a_row_with_their_numbers(page: str) -> None:
    rows = re.findall(r'<ol class="claims">(.*?)</ol>', page, re.DOTALL)
    assert len(rows) == 2
    claims = re.findall(r'"claim">(\w+)</span> <span class="state">([\w ]+)</span>', rows[0])
    assert claims[:3] == [
        ("onset", "holds"),
        ("sharpness", "holds"),
        ("metric", "does not hold"),
    ]
    assert claims[3][0] == "surprise"
    assert "sharp by any convention from" in rows[0]


def test_a_narrow_screen_shows_every_column_with_its_name(page: str) -> None:
    for table in re.findall(r'<table class="rows.*?</table>', page, re.DOTALL):
        heads = re.findall(r"<th>(.*?)</th>", table)
        for row in re.findall(r"<tr>(<td.*?)</tr>", table, re.DOTALL):
            cells = re.findall(r"<td([^>]*)>", row)
            named = re.findall(r'data-label="([^"]*)"', row)
            assert len(cells) == len(heads)
            assert set(named) <= set(heads)
            assert len(cells) - len(named) <= 3  # a name, a verdict and a spark say what they are
    assert "overflow-x" not in page


def test_methods_and_citations_are_there_to_copy(page: str) -> None:
    text = Nodes(page).text
    assert "two one-sided tests" in text
    assert "32 measurements at 8 scales each" in text
    assert "1 metric-made" in text[text.index("Verdicts: ") :]
    entries = re.findall(r"@\w+\{(\w+),", text)
    assert entries[0] == "emergectl"
    assert {"cox1961", "davies1987", "hansen1996", "benjamini1995", "schaeffer2023"} <= set(entries)
    assert text.count("{") == text.count("}")


def test_the_entry_of_emergectl_says_what_its_citation_file_says() -> None:
    from emergectl.reports.methods import bibtex_of_emergectl

    citation = yaml.safe_load((Path(__file__).parents[2] / "CITATION.cff").read_text("utf-8"))
    entry = bibtex_of_emergectl()
    for said in (
        citation["title"],
        citation["authors"][0]["name"],
        f"version = {{{citation['version']}}}",
        f"year    = {{{str(citation['date-released'])[:4]}}}",
        citation["license"],
    ):
        assert said in entry, said


def test_every_measurement_leads_to_the_line_that_it_came_from(page: str, source: Path) -> None:
    nodes = Nodes(page)
    places = [a for tag, a in nodes.found if tag == "a" and "title" in a]
    assert sum("jsonl:" in str(a["title"]) for a in places) == 2 * 2 * len(VALUES)
    for attributes in places:
        assert (source.parent / unquote(str(attributes["href"]))).resolve() == source.resolve()


def test_the_page_needs_nothing_else(page: str) -> None:
    assert not re.search(r"https?://(?!www\.w3\.org)", page)
    assert "default-src 'none'" in page


def test_ids_are_not_given_twice(page: str) -> None:
    ids = [a["id"] for _, a in Nodes(page).found if "id" in a]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("texts", [HOSTILE[:31], HOSTILE[31:]], ids=["first", "others"])
def test_sixty_cross_site_strings_in_every_field_stay_text(
    texts: list[str], tmp_path: Path
) -> None:
    assert len(HOSTILE) >= 60
    rows = []
    for number, text in enumerate(texts):
        for k, value in enumerate(VALUES[2:5]):
            known = {"params": 10 ** (6 + k / 2), "n": 500, "chance": 0.0, "value": value}
            fields = {"task": f"{number} {text}", "metric": f"{text} m", "seed": text}
            rows.append({**known, **fields, "model": text, "group": text})
    source = tmp_path / "'\"><script>alert(1)<x>.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = made(source)
    assert_inactive(page)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", page)
    shown = Nodes(page).text
    for text in texts:
        assert "".join(c if c.isprintable() else " " for c in text) in shown, text


@pytest.mark.parametrize(
    "text",
    [
        *HOSTILE,
        "addition/exact_match: 3 (of 4)",
        "_a_ __b__ c_ _d e_f_g",
        "[a](http://b) http://b",
        "a|b ~~c~~",
    ],
)
def test_markdown_keeps_hostile_text_as_text(text: str) -> None:
    from emergectl.reports.page import markdown_text
    from emergectl.reports.panels import printable_line

    escaped = markdown_text(text)
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e]", escaped)
    rendered = MarkdownIt("commonmark").enable(["table", "strikethrough"]).renderInline(escaped)
    assert "<" not in rendered
    assert " ".join(unescape(rendered).split()) == " ".join(printable_line(text).split())


def test_markdown_leaves_names_readable() -> None:
    from emergectl.reports.page import markdown_text

    name = "three-digit addition/exact_match: 0.5 (of 1)"
    assert markdown_text(name) == name


def test_labels_with_letters_for_mathematics_and_markup_are_drawn_as_they_are(
    table: Callable[..., Path],
) -> None:
    nodes = Nodes(made(table(metric="$x_1$ <b>", task="三位数加法")))
    assert "$x_1$ <b>" in nodes.text
    assert "三位数加法" in nodes.text


def test_figures_are_written_as_svg_png_and_pdf(
    table: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(table(task="加法"), "--figures", str(tmp_path / "figures"))
    assert capsys.readouterr().out.strip().endswith("page.html")
    kinds = {path.suffix for path in (tmp_path / "figures").iterdir()}
    assert kinds == {".svg", ".png", ".pdf", ".md"}
    captions = (tmp_path / "figures" / "captions.md").read_text("utf-8")
    files = {path.stem for path in (tmp_path / "figures").glob("*.pdf")}
    assert set(re.findall(r"^\*\*Figure \d+\*\* \(`(.+?)`\)\. ", captions, re.MULTILINE)) == files
    svg = next((tmp_path / "figures").glob("*exact-match-curve.svg"))
    assert "exact_match" in "".join(ElementTree.fromstring(svg.read_text("utf-8")).itertext())
    assert "<script" not in svg.read_text("utf-8")


def test_markdown_and_json_say_the_same_verdicts(
    table: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    source = table()
    assert main(["report", str(source), "--format", "md"]) == 0
    markdown = capsys.readouterr().out
    assert "| add/exact_match | metric-made |" in markdown
    assert "| metric | does not hold |" in markdown
    assert main(["report", str(source), "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    first = report["findings"]["abilities"][0]
    assert (first["name"], first["verdict"]) == ("add/exact_match", "metric-made")
    assert first["metric_claim"]["holds"] is False
    assert first["measured"][0]["seeds"][0]["where"].endswith("table.jsonl:1")


def test_a_run_is_shown_over_its_steps_with_its_cost(tmp_path: Path) -> None:
    run = tmp_path / "20260101-000000-r-abcd"
    run.mkdir()
    facts = {"id": run.name, "name": "r", "seed": 0, "argv": ["/opt/bin/emergectl"]}
    facts["argv"] += ["train", "r.yaml"]
    (run / "run.json").write_text(json.dumps({**facts, "chance": {"copy/accuracy": 0.0}}))
    lines = [
        {"step": 2**k, "tokens": 2**k * 1e6, "flops": 2**k * 1e12, "parameters": 5e5, "loss": 2.0}
        | {"copy/accuracy": v, "seconds": k}
        for k, v in enumerate([0, 0, 0.01, 0, 0.7, 0.9, 0.91, 0.9])
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["report", str(run), "--x", "step", "--n", "1000", "--chance", "0"]) == 0
    page = (run / "report" / "report.html").read_text(encoding="utf-8")
    nodes = Nodes(page)
    assert_inactive(page)
    assert "The run over its steps" in nodes.text
    assert "128M tokens" in nodes.text
    assert "started by emergectl train r.yaml" in nodes.text
    assert ".." in nodes.links()  # the run's directory, from its report/


def test_a_folder_that_is_not_there_is_named(
    table: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "nowhere" / "page.html"
    assert main(["report", str(table()), "-o", str(target)]) == 2
    assert "nowhere" in capsys.readouterr().err
