"""T13: secrets in environment, URLs and arguments are nowhere under a whole run's directory."""

import signal
from pathlib import Path

from training_runs import Bench, status

ENVIRONMENT = {
    "HF_TOKEN": "hf_abcDEFghiJKLmnoPQRstu",
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI+K7MDENG+bPxRfiCYEXAMPLEKEY",
    "DATABASE_PASSWORD": "correct-horse-battery",
    "MY_CREDENTIALS": "a-user-and-a-word",
}
IN_URL = "hunter2-in-a-url"
IN_ARGUMENT = "ghp_0123456789abcdefABCDEF0123456789abcd"
SECRETS = (*ENVIRONMENT.values(), IN_URL, IN_ARGUMENT)


def assert_no_secret_under(run: Path) -> None:
    files = [path for path in run.rglob("*") if path.is_file()]
    assert len(files) > 3
    for path in files:
        content = path.read_bytes()
        for secret in SECRETS:
            assert secret.encode() not in content, f"{path.name} holds {secret}"
            assert secret.encode("utf-16-le") not in content


def test_a_whole_run_with_a_tracker_keeps_no_secret(bench: Bench, tmp_path: Path) -> None:
    run = tmp_path / "run"
    ended = bench.run(
        run,
        f"notes=from https://me:{IN_URL}@example.org/x?token={IN_URL} with {IN_ARGUMENT} and "
        + " ".join(ENVIRONMENT.values()),
        "tracking=[tensorboard]",
        "train.steps=10",
        environment=ENVIRONMENT,
    )
    assert ended.code == 0, ended.said
    assert list((run / "tensorboard").iterdir())
    assert_no_secret_under(run)


def test_a_request_that_comes_to_nothing_leaves_nothing_that_could_hold_its_secret(
    bench: Bench, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    url = f"https://me:{IN_URL}@127.0.0.1:9/text.txt?api_key={IN_URL}"
    ended = bench.run(run, f"data.train=[{{path: '{url}'}}]", environment=ENVIRONMENT)
    assert ended.code == 2, ended.said
    assert "127.0.0.1" in ended.said
    assert not run.exists()


def test_a_run_that_fails_tells_why_without_the_secret(bench: Bench, tmp_path: Path) -> None:
    """The data has gone when the run goes on: the reason names its place, which holds a secret."""
    run, folder = tmp_path / "run", tmp_path / ENVIRONMENT["MY_CREDENTIALS"]
    folder.mkdir()
    text = folder / "text.txt"
    text.write_bytes((bench.experiment.parent / "text.txt").read_bytes())
    kill = {"what": "in_step", "step": 20, "signum": signal.SIGKILL}
    data = f"data.train=[{{path: {text}}}]"
    assert bench.run(run, data, sabotage=[kill]).code == -signal.SIGKILL
    text.unlink()
    ended = bench.run(run, environment=ENVIRONMENT)
    assert ended.code == 2, ended.said
    assert str(text) in ended.stderr
    # The folder's name was no secret yet when experiment.yaml and run.json were written.
    assert "***" in status(run)["reason"]
    assert folder.name not in (run / "status.json").read_text()


def test_the_working_directory_is_no_secret_though_its_variable_sounds_like_one(
    bench: Bench, tmp_path: Path
) -> None:
    """PWD is a word for password elsewhere; hidden, a run could not find its data again."""
    run = tmp_path / "run"
    environment = {"PWD": str(bench.experiment.parent)}
    harm = {"what": "in_step", "step": 20, "signum": signal.SIGKILL}
    assert bench.run(run, sabotage=[harm], environment=environment).code == -signal.SIGKILL
    assert bench.run(run, environment=environment).code == 0
    bench.assert_equal_to_plain(run)
