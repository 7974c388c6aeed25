"""The number that a text ends with, as what it is: a fraction is one number, and so is a time.

Read are whole numbers and decimals with separators between thousands, signs of every kind, digits
of every script, fractions (3/4, ¾, 1 3/4, \\frac{3}{4}, 三分之一), powers of ten, percent (a
hundredth each, a sign or a word) and per mille, ratios and times (3:1, 3 to 1, 10:30 pm, 10点30分),
words of scale (2 million, 5百), and Chinese numerals. What could be read in two ways is no number,
so that no answer is right by chance: 1,5 and 1,2,3 and 1.2.3, dates (1/2/2024, 2024-01-05), 1 000,
2k, 0x10, 3万5千, and what is not worked out (3-5, 1 + 2).
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

_MINUS = "-\u2010\u2011\u2012\u2013\u2014\u2212\uff0d\ufe63\u207b"
_DASHES = dict.fromkeys(map(ord, _MINUS), "-")
_GAPS = re.compile("(?<=\\d)[\u00a0\u2009\u202f\u2007'’](?=\\d{3})")
_VULGAR = re.compile(r"[¼-¾⅐-⅞↉]")
_RAISED = re.compile(r"⁻?[⁰¹²³⁴-⁹]+")
_LATEX = re.compile(r"\\[dt]?frac\s*(?:\{\s*(-?\d+)\s*\}|(\d))\s*(?:\{\s*(\d+)\s*\}|(\d)(?!\d))")
_CLOCK = re.compile(r"(?<=\d)\s?[点點时時]\s?(?=\d{1,2}\s?分)")
_UNDERSCORE = re.compile(r"(?<=\d)_(?=\d)")
# Before a number that is a part of something: a sum, a range, a date; hexadecimals; 3万5千.
_PART_OF = re.compile(r"\d *[-+*×÷·] *\Z|0x\Z|\d[百千万萬亿億]\Z", re.IGNORECASE)
_GROUP = re.compile(r"(?<!\d)\d{1,3} \Z")
_NEXT_GROUP = re.compile(r"\d{3}(?!\d)")
_THOUSANDS = re.compile(r"k(?!\w)", re.IGNORECASE)
_TO = re.compile(r"(?<=\d)\s+to\s+(?=-?\d)", re.IGNORECASE)
_COLON = re.compile(r"(?<=\d)\s*[:\u2236]\s*(?=\d)")
_SLASH = re.compile(r"(?<=\d)\s*[/\u2044\u2215]\s*(?=\d)")
_TIMES_TEN = re.compile(r"(?<=\d)\s*[×x*·]\s*10\s*\^\s*\{?\s*([+-]?\d+)\s*\}?(?![\d.,])")

_UNSIGNED = (
    r"(?:\d{1,3}(?:,\d{3})+|\d{1,2}(?:,\d{2})+,\d{3}|\d+)(?:\.\d+)?(?:e[+-]?\d{1,3})?|"
    r"\.\d+(?:e[+-]?\d{1,3})?"
)
# All that hangs together with digits; what of it is a number is said by the patterns below.
_CHUNK = re.compile(
    r"(?P<sign>(?:(?<![\w.)\]])-\s?|负|負)?)(?P<money>[$€£¥]?)(?P<body>"
    r"(?:\d+ (?=\d+/\d))?[.]?\d(?:[\d.,:/^]*\d)?(?:e[+-]?\d+)?)"
    r"(?P<percent>\s?(?:\\?%|‰|percent\b|per cent\b))?"
    r"(?P<scale>\s?(?:百|千|万|萬|亿|億|hundred\b|thousand\b|million\b|billion\b|trillion\b))?"
    r"(?P<half>\s?[ap]\.?m\b)?",
    re.IGNORECASE,
)
_PLAIN = re.compile(_UNSIGNED, re.IGNORECASE)
_FRACTION = re.compile(r"(?:(\d+) )?(\d+)/(\d+)")
_POWER = re.compile(r"(\d{1,4})\^(\d{1,2})")
_RATIO = re.compile(r"\d+(?:\.\d+)?(?::\d+(?:\.\d+)?)+")
_SCALES = {
    "": 1, "百": 100, "千": 1000, "万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8,
    "hundred": 100,
    "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12,
}  # fmt: skip

_CHINESE_DIGITS = {c: n for n, c in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2, "兩": 2}
_CHINESE_UNITS = {"十": 10, "百": 100, "千": 1000}
_CHINESE_SCALES = {"万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}
_CHINESE = re.compile(
    r"[负負]?(?:百分之|[零〇一二三四五六七八九十百千万萬亿億两兩]+分之)?"
    r"[零〇一二三四五六七八九十百千万萬亿億两兩]+(?:[点點][零〇一二三四五六七八九]+)?"
)
# Behind a numeral that is an answer stand a word to measure by and a full stop at most.
_TRAILS = re.compile(r"[^\W\d_]{0,2}[\s。.!！]*\Z")


def last_number_of(text: str) -> str | None:
    """The last number of a text in one spelling; None where there is none, or no clear one.

    `$1,200.00.` is `1200`, `6/8` is `0.75`, `1/3` is `1/3`, `−５０%` is `-0.5`, `09:30` is `9:30`.
    """
    plain = _plain(text)
    chunks = list(_CHUNK.finditer(plain))
    if not chunks:
        return _chinese(plain)
    last = chunks[-1]
    before = plain[: last.start()].rstrip()
    if before.endswith(("±", "√", "^")) or plain[last.end() :].startswith("^"):
        return None
    if _is_part(plain, last):
        return None
    ratio = _ratio(last)
    if ratio is not None:
        return ratio
    value = _value(last["body"])
    if value is None or last["half"]:
        return None
    value *= _SCALES[(last["scale"] or "").strip().lower()]
    if last["percent"]:
        value /= 1000 if "‰" in last["percent"] else 100
    return _spelled(-value if last["sign"] else value)


def _is_part(plain: str, last: re.Match[str]) -> bool:
    """Whether the last number of a text belongs to something that it does not say alone."""
    before, behind = plain[: last.start()], plain[last.end() :]
    is_taken_away = last["sign"].endswith(" ") and before.rstrip(" ")[-1:].isdigit()
    is_next_group = _GROUP.search(before) and _NEXT_GROUP.match(plain, last.start())
    is_thousands = last[0][-1:].isdigit() and _THOUSANDS.match(behind)
    return bool(is_taken_away or is_next_group or is_thousands or _PART_OF.search(before))


def _plain(text: str) -> str:
    """The text with ASCII digits and signs, and fractions, ratios and powers without blanks."""
    text = _VULGAR.sub(lambda m: " " + unicodedata.normalize("NFKC", m[0]), text)
    text = _RAISED.sub(lambda m: "^" + unicodedata.normalize("NFKC", m[0]), text)
    text = _GAPS.sub("", text.translate(_DASHES))
    text = unicodedata.normalize("NFKC", text).translate(_DASHES)
    digits = {
        ord(c): str(unicodedata.digit(c)) for c in set(text) if unicodedata.category(c) == "Nd"
    }
    text = _LATEX.sub(
        lambda m: f" {m[1] or m[2]}/{m[3] or m[4]}", _UNDERSCORE.sub("", text.translate(digits))
    )
    text = _CLOCK.sub(":", text)
    text = _SLASH.sub("/", _COLON.sub(":", _TO.sub(":", text)))
    return _TIMES_TEN.sub(r"e\1", text)


def _value(body: str) -> Fraction | None:
    """A number without sign or unit; None where it is none."""
    if _PLAIN.fullmatch(body):
        return Fraction(body.replace(",", ""))
    if fraction := _FRACTION.fullmatch(body):
        whole, above, below = (int(part or 0) for part in fraction.groups())
        return whole + Fraction(above, below) if below else None
    if power := _POWER.fullmatch(body):
        return Fraction(int(power[1]) ** int(power[2]))
    return None


def _ratio(chunk: re.Match[str]) -> str | None:
    """A ratio or a time, its parts apart; the afternoon's hours are counted on."""
    if not _RATIO.fullmatch(chunk["body"]):
        return None
    first, *others = chunk["body"].split(":")
    hours = _spelled(Fraction(first))
    half = (chunk["half"] or "").strip().lower()
    if half:
        hours = str(int(Fraction(first)) % 12 + (12 if half.startswith("p") else 0))
    return ("-" if chunk["sign"] else "") + ":".join([hours, *others])


def _chinese(text: str) -> str | None:
    """The Chinese numeral that a text without digits ends with."""
    found = list(_CHINESE.finditer(text))
    if not found or not _TRAILS.match(text, found[-1].end()):
        return None
    numeral = found[-1][0]
    sign = -1 if numeral[0] in "负負" else 1
    below, _, above = numeral.lstrip("负負").rpartition("分之")
    value = _chinese_value(above)
    parts = Fraction(100) if below == "百" else _chinese_value(below) if below else Fraction(1)
    return _spelled(sign * value / parts) if parts else None


def _chinese_value(numeral: str) -> Fraction:
    whole, _, decimals = numeral.replace("點", "点").partition("点")
    if len(whole) > 1 and all(c in _CHINESE_DIGITS for c in whole):
        total = int("".join(str(_CHINESE_DIGITS[c]) for c in whole))  # 二〇二四
    else:
        total, section, digit = 0, 0, 0
        for c in whole:
            if c in _CHINESE_DIGITS:
                digit = _CHINESE_DIGITS[c]
            elif c in _CHINESE_UNITS:
                section += (digit or 1) * _CHINESE_UNITS[c]
                digit = 0
            else:
                total = (total + section + digit or 1) * _CHINESE_SCALES[c]
                section = digit = 0
        total += section + digit
    behind = "".join(str(_CHINESE_DIGITS[c]) for c in decimals)
    return Fraction(total) + Fraction(int(behind or 0), 10 ** len(behind))


def _spelled(value: Fraction) -> str:
    """As a decimal where it ends, else as a fraction."""
    rest, places = value.denominator, 0
    while rest % 10 == 0 or rest % 5 == 0 or rest % 2 == 0:
        rest = rest // 10 if rest % 10 == 0 else rest // 5 if rest % 5 == 0 else rest // 2
        places += 1
    if rest > 1:
        return f"{value.numerator}/{value.denominator}"
    digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
    whole, behind = digits[: len(digits) - places], digits[len(digits) - places :].rstrip("0")
    return ("-" if value < 0 else "") + (f"{whole}.{behind}" if behind else whole)
