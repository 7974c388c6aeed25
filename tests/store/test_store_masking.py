"""Secrets are hidden, and innocent text is left alone."""

from pathlib import Path

import pytest

from emergectl.store.masking import mask, mask_arguments, mask_value


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("https://me:pw@h/x", "https://***@h/x"),
        ("https://ghp_token@h/x", "https://***@h/x"),
        ("s3://h/x?a=1&X-Amz-Signature=ab&b=2", "s3://h/x?a=1&X-Amz-Signature=***&b=2"),
        ("https://h/x?key=ab", "https://h/x?key=***"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ('{"api_key": "abc", "x": 1}', '{"api_key": "***", "x": 1}'),
        ("wandb.api-key=abc next", "wandb.api-key=*** next"),
        ("see hf_abcdefghijklmnopqrstuv here", "see *** here"),
    ],
)
def test_what_looks_like_a_secret_is_hidden_in_free_text(text: str, masked: str) -> None:
    assert mask(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "tokens: 1000, tokenizer: bpe, tokens_per_second=5e4",
        "https://example.org/keys/a.jsonl?split=train",
        "loss is nan at step 500, batch 12",
        "author=me monkey=1 keyboard: x",
    ],
)
def test_innocent_text_stays_as_it_is(text: str) -> None:
    assert mask(text) == text


def test_a_prompt_template_is_a_setting_and_not_a_secret() -> None:
    assert mask_value("Token: {text} Password: {label}") == "Token: {text} Password: {label}"


def test_the_values_of_secret_variables_are_hidden_wherever_they_turn_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COMPANY_SECRET", "open sesame 1001")
    monkeypatch.setenv("SHORT_TOKEN", "abc")
    assert mask_value("said open sesame 1001, abc") == "said ***, abc"


def test_the_current_folder_is_no_secret_for_all_that_its_variable_is_called_PWD(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PWD", str(tmp_path))
    assert mask_value(f"{tmp_path}/rows.csv") == f"{tmp_path}/rows.csv"
    monkeypatch.setenv("DB_PWD", "/no/such/place")
    assert mask_value("/no/such/place") == "***"


def test_the_value_after_an_option_named_like_a_secret_is_hidden() -> None:
    argv = ["x", "--hf-token", "abc", "--tokens", "12", "--password=p w", "-k", "v", "seed=1"]
    assert mask_arguments(argv) == [
        *("x", "--hf-token", "***", "--tokens", "12", "--password=*** w", "-k", "v", "seed=1")
    ]
