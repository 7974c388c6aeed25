"""T20: would the tests notice? Plants bugs, one at a time, and sees whether a test turns red.

    make planted                            all of them, some seven minutes on two cores
    python tests/planted_bugs.py rename …   those whose name holds one of the words

Each bug is a piece of the package replaced by another in a temporary copy of the checkout, where
the tests named for it then run. A bug that no test finds ends the script with 1; so does a piece
that the package no longer holds exactly once, a test that does not exist, and a test that is red
before anything is planted.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Bug:
    """One piece of the package replaced, and the tests that should not let it pass."""

    name: str
    file: str
    """under emergectl/"""
    old: str
    new: str
    tests: str
    """under tests/, `file::test`; several with blanks between"""


KILLS = "training/test_training_kills.py::test_a_run_killed_"
AT_POINTS = f"{KILLS}once_at_each_named_point_of_its_saves_ends_as_if_it_had_not_been"
COMMITS = "store/test_store_checkpoints.py::test_a_commit_"
NUMBERS = "training/test_training_numbers.py::test_"
CLAIMS = "sweeps/test_sweeps_claims.py::test_a_claim_"
SWEEPS = "sweeps/test_sweeps_running.py::test_"
PAGE = "reports/test_reports_page.py::test_"
ASKED = "training/test_training_asking_ranks.py::test_"

ENSEMBLE = "training/test_training_ensemble.py::test_"

BUGS = (
    Bug(
        "Student's degrees of freedom are too large by the number of rungs",
        "analysis/sample.py",
        "int((sample.runs - 1)[keep].sum())",
        "int(sample.runs[keep].sum())",
        "analysis/test_analysis_facts.py::test_students_degrees_of_freedom_are_what_the_seeds_leave",
    ),
    Bug(
        "a checkpoint is written in place, without the rename",
        "store/checkpoints.py",
        """            temporary.mkdir()
            write(temporary)
            _seal(temporary, step, facts)
            superseded = None""",
        """            temporary = target
            temporary.mkdir(exist_ok=True)
            write(temporary)
            _seal(temporary, step, facts)
            return target
            superseded = None""",
        f"{COMMITS}killed_at_any_point_leaves_the_old_one_or_the_new_one",
    ),
    Bug(
        "a file is replaced in place, without the rename",
        "store/atomic.py",
        "            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)",
        "            temporary = path\n"
        "            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)",
        "store/test_store_atomic.py::test_a_reader_sees_the_old_content_or_the_new_and_never_half",
    ),
    Bug(
        "files are not synced before the rename",
        "store/checkpoints.py",
        "sums = _sums(directory, names, fsync=True)",
        "sums = _sums(directory, names)",
        "store/test_store_checkpoints.py::"
        "test_every_file_and_folder_is_on_the_disk_before_the_rename_and_the_name_after_it",
    ),
    Bug(
        "the parent folder is not synced after the rename",
        "store/checkpoints.py",
        "            temporary.rename(target)\n            fsync_folder(directory)\n",
        "            temporary.rename(target)\n",
        "store/test_store_checkpoints.py::"
        "test_every_file_and_folder_is_on_the_disk_before_the_rename_and_the_name_after_it",
    ),
    Bug(
        "sums are not checked against the manifest",
        "store/checkpoints.py",
        "        if found != manifest.files[name]:",
        "        if found.bytes != manifest.files[name].bytes:",
        "training/test_training_resume.py::"
        "test_a_damaged_checkpoint_is_passed_over_set_aside_and_made_again",
    ),
    Bug(
        "the manifest's own sum is not checked",
        "store/checkpoints.py",
        "        if claimed != _sum_of_manifest(content):",
        "        if not claimed:",
        "store/test_store_checkpoints.py::test_every_single_flipped_bit_of_a_manifest_is_found",
    ),
    Bug(
        "the newest checkpoint is taken unverified",
        "store/checkpoints.py",
        "            return verify(directory / step_name(step)), rejected",
        "            return read_manifest(directory / step_name(step)), rejected",
        "training/test_training_resume.py::"
        "test_a_damaged_checkpoint_is_passed_over_set_aside_and_made_again",
    ),
    Bug(
        "a damaged checkpoint stays where it is pruned",
        "training/checkpointing.py",
        "    checkpoints.set_aside(run.checkpoints, later_than=manifest.step)\n",
        "",
        "training/test_training_resume.py::"
        "test_a_damaged_checkpoint_is_passed_over_set_aside_and_made_again",
    ),
    Bug(
        "dropout is not seeded by the step",
        "runtime/ranks.py",
        "    torch.manual_seed((seed * 1_000_003 + step) * 1_009 + rank)",
        "    if step == 0:\n        torch.manual_seed(seed * 1_009 + rank)",
        AT_POINTS,
    ),
    Bug(
        "metrics.jsonl is not cut back on resume",
        "training/checkpointing.py",
        '    run.metrics.truncate(manifest.facts["metrics_offset"])\n',
        "",
        AT_POINTS,
    ),
    Bug(
        "a torn last line is not cut off",
        "store/metrics_log.py",
        "        if end < self._size():\n            os.ftruncate(self._descriptor, end)\n",
        "",
        "store/test_store_metrics_log.py::"
        "test_a_torn_tail_is_passed_over_by_readers_and_cut_before_the_next_line",
    ),
    Bug(
        "the optimizer starts anew on resume",
        "training/checkpointing.py",
        "        self.optimizers.load_tensors(load_file(directory / OPTIMIZER_FILE))\n",
        "",
        AT_POINTS,
    ),
    Bug(
        "the order of the data is a matter of history",
        "data/feeds.py",
        "        draws = np.arange(step * batch_size, (step + 1) * batch_size)\n",
        "        self.asked = getattr(self, 'asked', -1) + 1\n"
        "        draws = np.arange(self.asked * batch_size, (self.asked + 1) * batch_size)\n",
        AT_POINTS,
    ),
    Bug(
        "a run's directory is not claimed by making it",
        "store/run.py",
        """                path.mkdir()
            except FileExistsError:""",
        """                path.mkdir(exist_ok=True)
            except FileExistsError:""",
        "store/test_store_run.py::"
        "test_fifty_starts_at_once_with_one_frozen_clock_make_fifty_complete_directories",
    ),
    Bug(
        "two processes may hold one run",
        "store/lock.py",
        "            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)",
        "training/test_training_resume.py::test_the_second_of_two_processes_on_one_run_is_refused",
    ),
    Bug(
        "a pid used again is taken for the run",
        "store/owner.py",
        "    return process_start(owner.pid) == owner.process_start\n",
        "    return process_start(owner.pid) is not None\n",
        "store/test_store_status.py::test_a_pid_that_was_used_again_is_not_the_run",
    ),
    Bug(
        "control bytes reach the terminal",
        "cli/output.py",
        'text if text.isprintable() else _CONTROLS.sub("", _ESCAPES.sub("", text))',
        "text",
        "cli/test_cli_output.py::test_clean_leaves_text_and_takes_control",
    ),
    Bug(
        "the best checkpoint is pruned",
        "training/checkpointing.py",
        "if step in (self.progress.step, self.progress.best_step)}",
        "if step == self.progress.step}",
        "training/test_training_keeping.py::test_the_best_checkpoint_stays_beside_the_last",
    ),
    Bug(
        "old checkpoints go before the new one stands",
        "training/checkpointing.py",
        "        path = checkpoints.commit(\n",
        "        checkpoints.prune(run.checkpoints, set())\n        path = checkpoints.commit(\n",
        "training/test_training_disk.py::"
        "test_a_run_on_a_full_disk_ends_with_what_it_had_and_goes_on_later " + AT_POINTS,
    ),
    Bug(
        "the loss is a mean over each micro-batch",
        "training/loop.py",
        "            loss = loss_sum / targets\n",
        "            own = job.objective.target_weight(part)\n"
        "            loss = loss_sum / own * len(part['labels']) / rows\n",
        "training/test_training_accumulation.py::test_accumulated_gradients_are_those_of_one_batch",
    ),
    Bug(
        "each rank divides by its own targets",
        "training/loop.py",
        "    targets, tokens, flops = job.ranks.sum(\n"
        "        [job.objective.target_weight(batch), *batch_work(job, batch)]\n    )\n",
        "    _, tokens, flops = job.ranks.sum([0.0, *batch_work(job, batch)])\n"
        "    targets = job.objective.target_weight(batch)\n",
        "training/test_training_ranks.py::test_two_ranks_give_the_losses_of_one",
    ),
    Bug(
        "every rank asks the same batches",
        "inference/batching.py",
        "batches[first + place.rank : first + place.rank + 1]",
        "batches[first : first + 1]",
        f"{ASKED}two_ranks_leave_the_records_of_one_and_each_item_once",
    ),
    Bug(
        "every rank writes the answers",
        "evaluation/item_files.py",
        "        found = on_main(place, hold)\n",
        "        found = hold()\n",
        f"{ASKED}two_ranks_leave_the_records_of_one_and_each_item_once",
    ),
    Bug(
        "a signal to one rank is not told to the others",
        "runtime/agreed_stop.py",
        "            gathered = self._ranks.gather((self._own.signum, value))",
        "            gathered = self._ranks.gather((None, value))\n"
        "            self.signum = self._own.signum",
        f"{ASKED}a_signal_to_one_rank_stops_stage_evaluate_on_all_and_it_goes_on",
    ),
    Bug(
        "every rank tells the person what is wrong",
        "runtime/rank_agreement.py",
        "    if not place.is_main:\n        raise ToldError(message, exit_code)\n",
        "",
        f"{ASKED}a_wrong_request_is_told_by_one_rank",
    ),
    Bug(
        "samples beyond the last pass that was needed are counted",
        "evaluation/pass_until.py",
        "            if self.is_done:\n                return\n",
        "",
        "evaluation/test_evaluation_pass_until.py::"
        "test_a_limit_of_samples_leaves_the_estimate_unbiased_and_the_interval_right",
    ),
    Bug(
        "a gradient that is not finite goes into the update",
        "training/loop.py",
        "    if math.isfinite(loss) and (math.isfinite(grad_norm) or trained.scaler.is_enabled()):",
        "    if math.isfinite(loss):",
        f"{NUMBERS}a_broken_loss_or_gradient_stops_the_run_before_the_update",
    ),
    Bug(
        "weights that are not finite are kept as a good checkpoint",
        "training/checkpointing.py",
        "            if not torch.isfinite(parameter).all():",
        "            if parameter is None:",
        f"{NUMBERS}a_broken_weight_is_never_kept_in_a_checkpoint",
    ),
    Bug(
        "an evaluation that is not a number is the best there is",
        "training/loop.py",
        "    best = math.inf if progress.best_value is None else progress.best_value\n"
        "    if value < best - margin:",
        "    best = progress.best_value\n    if best is None or value < best - margin:",
        f"{NUMBERS}a_broken_evaluation_is_not_taken_for_the_best_under_skip",
    ),
    Bug(
        "an evaluation that a signal cut short is not made up for",
        "training/loop.py",
        "    look = progress.looked_at != progress.step\n",
        "    look = progress.step == 0\n",
        "training/test_training_signals.py::"
        "test_a_signal_in_the_middle_of_an_evaluation_leaves_it_for_the_next_start",
    ),
    Bug(
        "what the loop measured after the checkpoint stands twice",
        "training/session.py",
        "        forget_after(session.run.path, trained.progress.looked_at)\n",
        "        pass\n",
        "training/test_training_text_tasks.py::"
        "test_a_run_on_tasks_killed_twice_ends_as_if_it_had_not_been",
    ),
    Bug(
        "whatever is 0 or 1 has the interval of a share",
        "evaluation/estimates.py",
        '    if facts.quantity == "share":\n',
        "    if measure.values is not None and set(measure.values) <= {0.0, 1.0}:\n",
        "evaluation/test_evaluation_registry.py::"
        "test_what_a_metric_is_decides_its_interval_and_never_the_values",
    ),
    Bug(
        "the same items under another name are other items",
        "tasks/learning/materials.py",
        "        return fingerprint_of(self.keys[: self.rows] or [own])\n",
        "        return fingerprint_of([own])\n",
        "evaluation/test_evaluation_registry.py::test_the_same_items_under_two_names_are_one_curve",
    ),
    Bug(
        "a second signal is not heard",
        "runtime/stop.py",
        "            os._exit(128 + signum)",
        "            pass",
        "training/test_training_signals.py::"
        "test_a_second_signal_ends_at_once_and_the_run_goes_on_all_the_same",
    ),
    Bug(
        "a scheduler's SIGUSR1 is not listened to",
        "runtime/stop.py",
        "SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)",
        "SIGNALS = (signal.SIGTERM, signal.SIGINT)",
        "training/test_training_signals.py::"
        "test_a_signal_in_the_middle_of_a_step_keeps_that_very_step",
    ),
    Bug(
        "lack of memory ends every run",
        "training/loop.py",
        '    automatic = job.experiment.train.micro_batch_size == "auto"',
        "    automatic = False",
        "training/test_training_memory.py::"
        "test_auto_halves_the_micro_batch_until_it_fits_and_says_so",
    ),
    Bug(
        "secrets in URLs are written down",
        "store/masking.py",
        "    for pattern, replacement in (*_IN_URLS, _BY_SHAPE):",
        "    for pattern, replacement in (_BY_SHAPE,):",
        "training/test_training_secrets.py",
    ),
    Bug(
        "of two equal keys the last one counts",
        "config/reader.py",
        "            if key in entries:",
        "            if key in entries and False:",
        "config/test_config_reader.py::test_two_equal_keys_are_refused_with_both_lines",
    ),
    Bug(
        "a sweep's claim is made over another's",
        "sweeps/claims.py",
        "            os.link(temporary, path)",
        "            path.write_bytes(temporary.read_bytes())",
        "sweeps/test_sweeps_claims.py::test_of_many_processes_one_has_a_trial_at_a_time",
    ),
    Bug(
        "a sweep's claim outlives its owner",
        "sweeps/claims.py",
        "            return not is_alive(owner)",
        "            return False",
        f"{CLAIMS}whose_owner_on_this_machine_is_dead_comes_back_at_once",
    ),
    Bug(
        "a sweep judges another machine's claim by its own clock",
        "sweeps/claims.py",
        "        return now - since >= SILENCE_SECONDS",
        "        return time.time() - touched / 1e9 >= SILENCE_SECONDS",
        "sweeps/test_sweeps_claims.py::test_another_machines_claim_stands_however_its_clock_is_set",
    ),
    Bug(
        "a sweep's claim is made without a second look",
        "sweeps/claims.py",
        "            path.unlink()\n            return False\n",
        "            pass\n",
        "sweeps/test_sweeps_claims.py::"
        "test_whoever_makes_a_claim_too_late_sees_the_living_one_before_it_and_withdraws",
    ),
    Bug(
        "a released claim of a sweep takes later ones of others with it",
        "sweeps/claims.py",
        "            if _number(path) < _number(own):",
        "            if path != own:",
        "sweeps/test_sweeps_claims.py::"
        "test_whoever_was_given_up_leaves_the_claim_of_its_successor_alone",
    ),
    Bug(
        "a trial is marked as asked before it is",
        "sweeps/ask_trials.py",
        "    try:\n        device",
        "    mark_asked(run, digest)\n    try:\n        device",
        "sweeps/test_sweeps_asking.py::"
        "test_a_trial_killed_while_it_is_asked_is_asked_the_rest_once",
    ),
    Bug(
        "a machine runs a sweep twice at once",
        "sweeps/hosts.py",
        "        lock = take_lock(place)",
        "        lock = os.open(place, os.O_RDONLY)",
        f"{SWEEPS}ten_starts_at_the_same_moment_are_one_sweep",
    ),
    Bug(
        "a trial's record is written nowhere",
        "sweeps/work.py",
        "folder.keep(\n            TrialRecord(key=key, ",
        "(\n            TrialRecord(key=key, ",
        f"{SWEEPS}a_sweep_of_which_everything_was_killed_ends_with_the_table_of_one_that_was_not",
    ),
    Bug(
        "the torn last line of a search's journal stays",
        "sweeps/search.py",
        "        os.truncate(path, whole)",
        "        pass",
        "sweeps/test_sweeps_search.py::test_a_journal_with_a_torn_last_line_is_mended_before_it_is_used",
    ),
    Bug(
        "a failed trial is retried once too often",
        "sweeps/driver.py",
        "retries >= self._wishes.retry",
        "retries > self._wishes.retry",
        f"{SWEEPS}what_failed_is_retried_as_often_as_asked_and_no_oftener",
    ),
    Bug(
        "what stands in a report's page is not escaped",
        "reports/page.py",
        "        autoescape=not markdown,",
        "        autoescape=False,",
        f"{PAGE}sixty_cross_site_strings_in_every_field_stay_text",
    ),
    Bug(
        "control characters reach a report's page",
        "reports/page.py",
        "        return markdown_text(value) if markdown else printable_line(value)",
        "        return markdown_text(value) if markdown else value",
        f"{PAGE}sixty_cross_site_strings_in_every_field_stay_text",
    ),
    Bug(
        "a value outside its band is taken for one inside",
        "reports/reproduce.py",
        "        return self.ours is not None and self.low <= self.ours <= self.high",
        "        return self.ours is not None and self.low <= self.ours",
        "reports/test_reports_reproduce.py::test_a_value_outside_its_band_ends_with_exit_code_1",
    ),
    Bug(
        "members of an ensemble are clipped by the norm of them all",
        "training/stack.py",
        "(limit / (norms + 1e-6))",
        "(limit / (norms.norm() + 1e-6))",
        f"{ENSEMBLE}a_member_that_is_not_finite_is_frozen_and_the_others_go_on",
    ),
    Bug(
        "members of an ensemble decay as the first one does",
        "training/stack.py",
        "(1 - rates * decay).float()",
        "(1 - rates * decay[:1]).float()",
        f"{ENSEMBLE}after_200_steps_each_member_has_the_weights_of_its_solo_run",
    ),
    Bug(
        "trials go together that differ in AdamW's epsilon",
        "sweeps/ensembles.py",
        '("lr", "weight_decay", "betas")',
        '("lr", "weight_decay", "betas", "eps")',
        "sweeps/test_sweeps_ensembles.py::test_other_trials_do_not",
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Plant the bugs asked for; 0 where each turned a test red."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="only bugs whose name holds one of these words")
    words = parser.parse_args(arguments).words
    bugs = [bug for bug in BUGS if not words or any(word in bug.name for word in words)]
    if not bugs:
        parser.error(f"no bug has a name with {' or '.join(words)}")
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        copy = Path(folder)
        for part in ("emergectl", "tests", "configs"):
            caches = shutil.ignore_patterns("__pycache__")
            shutil.copytree(REPOSITORY / part, copy / part, ignore=caches)
        shutil.copy(REPOSITORY / "pyproject.toml", copy)
        troubles = [bug.name for bug in bugs if not _is_found(bug, copy)]
        healthy = _run_tests(sorted({test for bug in bugs for test in bug.tests.split()}), copy)
    print(f"\n{len(bugs) - len(troubles)} of {len(bugs)} bugs found")
    if healthy[0] != 0:
        print(f"the tests are not green without any bug:\n{healthy[1]}")
    return 1 if troubles or healthy[0] != 0 else 0


def _is_found(bug: Bug, copy: Path) -> bool:
    """Whether a test turns red with the bug in the copy; prints a line of the table."""
    path = copy / "emergectl" / bug.file
    sound = path.read_text("utf-8")
    if sound.count(bug.old) != 1:
        print(f"STALE     {bug.name}: {bug.file} holds its piece {sound.count(bug.old)} times")
        return False
    began = time.monotonic()
    path.write_text(sound.replace(bug.old, bug.new), "utf-8")
    try:
        code, output = _run_tests(bug.tests.split(), copy)
    finally:
        path.write_text(sound, "utf-8")
    # 1: tests failed. Anything else is no answer: nothing collected, an error, an interrupt.
    verdict = {0: "SURVIVED", 1: "found"}.get(code, "NO ANSWER")
    print(f"{verdict:9} {bug.name}  ({time.monotonic() - began:.0f} s)", flush=True)
    if code not in (0, 1):
        print(output)
    return code == 1


def _run_tests(tests: Sequence[str], copy: Path) -> tuple[int, str]:
    """pytest's exit code and output, in the copy and on the copy's package."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    command += [f"tests/{test}" for test in tests]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    ended = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    return ended.returncode, ended.stdout[-3000:] + ended.stderr[-1000:]


if __name__ == "__main__":
    sys.exit(main())
