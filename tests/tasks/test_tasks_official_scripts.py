"""When answers are the same: the scripts of SQuAD and CMRC 2018, and numbers."""

import pytest

from emergectl.tasks.answers import (
    cmrc_f1,
    cmrc_normal,
    cmrc_segments,
    last_number,
    squad_f1,
    squad_normal,
)


def test_squad_leaves_out_case_punctuation_and_articles() -> None:
    assert squad_normal("The  Denver Broncos!") == "denver broncos"
    assert squad_normal("an apple, a day") == "apple day"


@pytest.mark.parametrize(
    ("answer", "reference", "f1"),
    [
        ("the Denver Broncos", "Denver Broncos", 1.0),
        ("Broncos of Denver", "Denver Broncos", 2 * (2 / 3) / (2 / 3 + 1)),
        ("to to be", "to be", 2 * (2 / 3) / (2 / 3 + 1)),  # each word as often as it stands
        ("Panthers", "Denver Broncos", 0.0),
        ("", "Denver Broncos", 0.0),
    ],
)
def test_squads_f1_is_of_bags_of_words(answer: str, reference: str, f1: float) -> None:
    assert squad_f1(answer, reference) == pytest.approx(f1)


def test_cmrc_parts_chinese_by_the_character_and_the_rest_by_the_word() -> None:
    assert cmrc_segments("由Nexon开发，2004年！") == ["由", "nexon", "开", "发", "2004", "年"]
    assert cmrc_segments("全长364.6公里") == ["全", "长", "364.6", "公", "里"]


def test_cmrc_leaves_out_the_marks_of_its_list_alone() -> None:
    assert cmrc_normal("《泡泡堂》。") == "泡泡堂"
    assert cmrc_normal("a, b") == "a, b"  # the comma of ASCII is not on the list


@pytest.mark.parametrize(
    ("answer", "reference", "f1"),
    [
        ("广州西站", "广州西站", 1.0),
        ("到广州西站去", "广州西站", 2 * (4 / 6) / (4 / 6 + 1)),
        ("广西州站", "广州西站", 2 * (1 / 4) * (1 / 4) / (1 / 2)),  # one stretch, not a bag
        ("茂名", "广州西站", 0.0),
    ],
)
def test_cmrcs_f1_is_of_the_longest_common_stretch(answer: str, reference: str, f1: float) -> None:
    assert cmrc_f1(answer, reference) == pytest.approx(f1)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("#### 18", "18"),
        ("so she pays $1,200.00.", "1200"),
        ("-3.50 then", "-3.5"),
        ("7 of 12 apples", "12"),
        ("0.5", "0.5"),
        (".5", "0.5"),
        ("007", "7"),
        ("none", None),
        # One number, not the digits that it ends with.
        ("The odds are 3/4", "0.75"),
        ("1/3", "1/3"),
        ("2/6 of it", "1/3"),
        ("1 3/4 cups", "1.75"),
        ("¾", "0.75"),
        ("1½", "1.5"),
        (r"$\\frac{1}{4}$", "0.25"),
        ("-3/4", "-0.75"),
        ("At 10:30", "10:30"),
        ("09:30", "9:30"),
        ("10:30 pm", "22:30"),
        ("12:05 a.m.", "0:05"),
        ("2 to 1", "2:1"),
        ("3 : 1", "3:1"),
        ("３：１", "3:1"),
        ("1e3", "1000"),
        ("1.5 × 10^3", "1500"),
        ("2.5×10⁻²", "0.025"),
        ("2^10", "1024"),
        ("10²", "100"),
        ("50%", "0.5"),
        ("12.5 %", "0.125"),
        ("50 percent", "0.5"),
        (r"50\%", "0.5"),
        ("5‰", "0.005"),
        ("a percentage of 50", "50"),
        (r"\frac34", "0.75"),
        (r"-\frac{1}2", "-0.5"),
        ("10点30分", "10:30"),
        ("5百人", "500"),
        ("3千", "3000"),
        ("5 hundred", "500"),
        ("3万5千", None),
        ("2k", None),
        ("2 km", "2"),
        ("0x10", None),
        ("1_000", "1000"),
        ("1 000", None),
        ("10 000 000.5", None),
        ("in 2020 100 came", "100"),
        ("2024-01-05", None),
        ("555-1234", None),
        ("3 million", "3000000"),
        ("1.5亿", "150000000"),
        # Signs of every kind, and what is none.
        ("−5", "-5"),
        ("–5", "-5"),
        ("－５", "-5"),
        ("﹣5", "-5"),
        ("-$5", "-5"),
        ("负5", "-5"),
        ("10-5", None),  # a range, or a sum that is not worked out
        ("3 - 5", None),
        ("1 + 2", None),
        ("2*3", None),
        ("1 + 2 = 3", "3"),
        ("step 1\n- 5", "-5"),
        ("5 -3", "-3"),
        ("COVID-19", "19"),
        ("x = 7 and y = -8", "-8"),
        # Digits of other scripts.
        ("５４０", "540"),
        ("٥٤٠", "540"),
        ("五百四十", "540"),
        ("答案是三分之一。", "1/3"),
        ("百分之五十", "0.5"),
        ("负十二", "-12"),
        ("一点五", "1.5"),
        ("二〇二四年", "2024"),
        ("一万零三百人", "10300"),
        ("我一定会去的吧", None),
        # Thousands, and what may be something else.
        ("1,000,000", "1000000"),
        ("1,00,000", "100000"),
        ("1\u202f000", "1000"),
        ("1'000.50", "1000.5"),
        ("540.", "540"),
        ("1.5.", "1.5"),
        ("18.00", "18"),
        ("1,5", None),
        ("1,2,3", None),
        ("10,00", None),
        ("1.000,50", None),
        ("1.2.3", None),
        ("1/2/2024", None),
        ("7/0", None),
        ("±5", None),
    ],
)
def test_a_number_has_one_spelling(text: str, number: str | None) -> None:
    assert last_number(text) == number
