"""The driver: brings a sweep to its end on this machine, beside drivers on other machines.

One loop, no torch: claim a trial, hand it to a warm worker, hear how it ended, look at its run,
let the claim go. All that it knows is on disk before it matters, so it may be killed at any moment
and started again. A worker that dies is replaced, and its trial gone on with; a trial that takes
its process down `MAX_CRASHES` times has failed.
"""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from emergectl.errors import EmergectlError
from emergectl.runtime.stop import StopRequest
from emergectl.store.owner import this_process
from emergectl.store.run import open_run
from emergectl.sweeps.claims import Claims
from emergectl.sweeps.ensembles import FEWEST, Wish, best_size, candidates, in_words
from emergectl.sweeps.folder import SETTLED, Standing, SweepFolder
from emergectl.sweeps.hosts import host_name
from emergectl.sweeps.marks import mark_asked
from emergectl.sweeps.protocol import Order, as_line
from emergectl.sweeps.watcher import Running, Watcher
from emergectl.sweeps.work import Work
from emergectl.sweeps.worker_pool import Crew, Gone, Worker, may_have_gpus, shares, workers_that_pay

MAX_CRASHES = 10
"""as many as no trial meets that is merely in the way of those who kill workers"""
MAX_STILLBORN = 3
POLL_SECONDS = 2.0
"""between looks at trials that other machines have in hand"""
LISTEN_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """How a person wants a sweep to be run."""

    workers: int | None = None
    """processes; None: as many as pay"""
    retry: int = 0
    """how often a failed trial is taken up again, over all starts"""
    fail_fast: bool = False
    """stop at the first failure"""
    device: str = "auto"
    """cpu where no trial may use a GPU"""
    ensemble: Wish = "auto"
    """how many trials of one kind are trained as one"""


@dataclass(frozen=True)
class SweepOutcome:
    """How a start of a sweep ended."""

    standings: Mapping[str, Standing]
    stopped: bool
    """asked to, before everything was done"""
    failed_fast: bool


class Driver:
    """One start of a sweep."""

    def __init__(
        self,
        work: Work,
        folder: SweepFolder,
        claims: Claims,
        *,
        wishes: Wishes,
        stop: StopRequest,
        watcher: Watcher,
    ) -> None:
        self._work, self._folder, self._claims = work, folder, claims
        self._wishes, self._stop, self._watcher = wishes, stop, watcher
        self._crew = Crew(folder.path / "logs", host_name(this_process()))
        self._token = folder.stop_token()
        self._stopping = False
        self._failed_fast = False
        # None until a worker has told: the driver has no torch to ask.
        asks = wishes.device != "cpu" and may_have_gpus()
        self._devices: int | None = None if asks else 0
        self._stillborn = 0
        self._looked = 0.0
        keys = [planned.key for planned in work.planned()]
        self._standings: dict[str, Standing] = {key: folder.look(key) for key in keys}
        self._open: deque[str] = deque()
        self._elsewhere: dict[str, float] = {}
        self._running: dict[str, Running] = {}
        self._sizes: dict[str, int] = {}
        self._weighing: tuple[Worker, str] | None = None
        for key, standing in self._standings.items():
            if self._is_over(standing):
                work.settled(key, standing)
            else:
                self._open.append(key)

    def run(self) -> SweepOutcome:
        """Work until nothing is left, here or elsewhere, or somebody asks to stop."""
        self._watcher.began(self._standings)
        try:
            while True:
                self._heed_stop()
                self._give_work()
                if not self._crew.workers and (self._stopping or not self._left()):
                    break
                for worker, said in self._crew.listen(LISTEN_SECONDS):
                    if isinstance(said, Gone):
                        self._lose(worker, said)
                    else:
                        self._hear(worker, said)
                self._watcher.tick(self._running, self._standings)
        finally:
            if self._crew.workers:  # After an error of the sweep itself.
                self._crew.stop(signal.SIGTERM)
                self._crew.end()
            self._claims.close()
        self._claims.forget({key for key, s in self._standings.items() if s.state in SETTLED})
        self._watcher.over(self._standings)
        over = all(self._is_over(standing) for standing in self._standings.values())
        return SweepOutcome(self._standings, not over, self._failed_fast)

    # What is to be done -------------------------------------------------------------------------

    def _is_over(self, standing: Standing) -> bool:
        if standing.state in SETTLED:
            return True
        retries = standing.record.retries if standing.record else 0
        return standing.state == "failed" and retries >= self._wishes.retry

    def _left(self) -> int:
        return len(self._open) + len(self._elsewhere) + len(self._running)

    def _give_work(self) -> None:
        """An order for every idle worker, and as many workers as there is work for."""
        if self._stopping:
            return
        self._look_elsewhere()
        if self._is_weighing():
            return
        for worker in [w for w in self._crew.workers if w.ready and not w.keys]:
            pack = self._next_pack()
            if pack:
                worker.run(pack)
            elif not self._open and not self._elsewhere:
                self._crew.dismiss(worker)
        while self._open and len(self._crew.workers) < self._wanted_workers():
            self._crew.start(self._environment(self._crew.free_number()))

    def _wanted_workers(self) -> int:
        most = len(self._open) + len(self._running)
        if self._devices is None:
            return min(1, most)  # The first worker tells how many GPUs there are.
        if self._wishes.workers is not None:
            return min(self._wishes.workers, most)
        return workers_that_pay(self._devices, most)

    def _environment(self, worker: int) -> dict[str, str]:
        wanted = self._wishes.workers or workers_that_pay(self._devices or 0, self._left())
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        return shares(wanted, self._devices or 0, worker=worker, visible=visible)

    def _next_pack(self) -> list[Order]:
        """Orders for one worker: a trial, and those that are to be trained with it as one."""
        pack: list[Order] = []
        while self._open and not pack:
            pack += self._claim(self._open.popleft())
        if not pack:
            return []
        first = pack[0].key
        if pack[0].trained:
            return pack
        kind, step = self._work.kind(first), self._standings[first].step
        alike = [
            key
            for key in self._open
            if kind is not None
            and self._work.kind(key) == kind
            and self._standings[key].step == step
            and not self._standings[key].trained
        ]
        for key in alike:
            if len(pack) >= self._size(kind, 1 + len(alike)):
                break
            self._open.remove(key)
            pack += self._claim(key)
        return pack

    def _size(self, kind: str | None, alike: int) -> int:
        """How many trials of a kind go together, so many being left."""
        if kind is None or self._wishes.ensemble == "off":
            return 1
        if self._wishes.ensemble != "auto":
            return self._wishes.ensemble
        return min(self._sizes.get(kind, 1), -(-alike // self._wanted_workers()))

    def _is_weighing(self) -> bool:
        """Whether a worker measures ensembles of what comes next; the others wait meanwhile."""
        if self._weighing is not None:
            return True
        if self._wishes.ensemble != "auto" or not self._open:
            return False
        key = self._open[0]
        kind = self._work.kind(key)
        if kind is None or kind in self._sizes or self._standings[key].trained:
            return False
        alike = sum(self._work.kind(other) == kind for other in self._open)
        share = -(-alike // max(1, self._wanted_workers()))
        if share < FEWEST:
            return False
        idle = [w for w in self._crew.workers if w.ready and not w.keys]
        if not idle or not all(worker.began for worker in self._crew.workers):
            return bool(idle)
        idle[0].weigh(self._work.experiment(key), candidates(share))
        self._weighing = idle[0], kind
        return True

    def _claim(self, key: str) -> list[Order]:
        """An order for a trial, as a list; none where it is over or in other hands."""
        standing = self._folder.look(key)
        if not self._is_over(standing):
            if standing.state == "running" or not self._claims.take(key):
                self._elsewhere[key] = time.monotonic()
                self._standings[key] = replace(standing, state="running")
                return []
            standing = self._folder.look(key)  # Done meanwhile by whoever had it before?
            if not self._is_over(standing) and standing.state != "running":
                order = self._work.order(key, standing)
                self._standings[key] = replace(standing, state="running")
                self._running[key] = Running(key=key, step=standing.step)
                return [order]
            self._claims.release(key)
            if standing.state == "running":
                self._elsewhere[key] = time.monotonic()
                return []
        self._settle(key, standing)
        return []

    def _look_elsewhere(self) -> None:
        """What others have in hand may be done, or theirs no longer."""
        now = time.monotonic()
        for key, since in list(self._elsewhere.items()):
            if now - since >= POLL_SECONDS:
                del self._elsewhere[key]
                self._open.append(key)
        if not self._crew.workers:
            while self._open and self._is_over(self._folder.look(self._open[0])):
                key = self._open.popleft()
                self._settle(key, self._folder.look(key))

    # What the workers say -----------------------------------------------------------------------

    def _hear(self, worker: Worker, said: dict[str, Any]) -> None:
        if "ready" in said:
            worker.ready = worker.began = True
            if self._devices is None:
                self._devices = said["devices"]
            self._stillborn = 0
        elif "began" in said:
            running = self._running[said["began"]]
            running.step, running.steps = said["step"], said["steps"]
        elif "at" in said:
            self._running[said["at"]].step = said["step"]
        elif "asking" in said:
            at = "" if said["step"] is None else f"step {said['step']:,}, "
            told = f"{at}{said['task']}: {said['done']:,} of {said['items']:,} items"
            self._running[said["asking"]].asking = told
        elif "metrics" in said:
            if self._work.metric(said["metrics"], said["step"], said["value"]):
                worker.tell(as_line(prune=said["metrics"]))
        elif "weighed" in said:
            worker.ready = True
            self._weighed(dict(said["weighed"]))
        elif "ended" in said:
            worker.ready = not said["leaving"]
            self._end(worker, said["ended"], said["reason"])

    def _weighed(self, rates: dict[int, float]) -> None:
        """What was measured decides, for this start."""
        assert self._weighing is not None
        kind, self._weighing = self._weighing[1], None
        self._sizes[kind] = best_size(rates) if rates else 1
        if len(rates) > 1:
            self._say(in_words(rates))

    def _end(self, worker: Worker, key: str, reason: str | None) -> None:
        """A trial ended in a worker that lives."""
        worker.keys.remove(key)
        del self._running[key]
        self._claims.release(key)
        standing = self._folder.look(key)
        if standing.state == "waiting":  # Its run could not even be made.
            standing = replace(standing, state="failed", reason=reason)
            self._settle(key, standing)
            self._tell_end(key, standing)
        elif standing.state == "running":  # A forgotten worker of an earlier start has it.
            self._elsewhere[key] = time.monotonic()
        elif self._is_over(standing):
            self._settle(key, standing)
            self._tell_end(key, standing)
        else:
            self._standings[key] = standing
            self._open.append(key)
            self._tell_end(key, standing)

    def _lose(self, worker: Worker, gone: Gone) -> None:
        """A worker is gone, with or without trials in hand."""
        if self._weighing is not None and self._weighing[0] is worker:
            self._weighed({})
        for key in worker.keys:
            del self._running[key]
            self._claims.release(key)
            self._standings[key] = self._folder.look(key)
            if self._stopping:
                continue
            crashes = self._folder.crashed(key)
            self._say(f"the worker of trial {key[:12]} died ({gone.in_words()})")
            if crashes >= MAX_CRASHES:
                self._give_up(key, f"took its process down {crashes} times ({gone.in_words()})")
            else:
                self._open.appendleft(key)
        if not worker.began and gone.code != 0 and not self._stopping:
            self._stillborn += 1
            if self._stillborn >= MAX_STILLBORN:
                raise EmergectlError(
                    f"workers die before they begin ({gone.in_words()}); see {worker.log}"
                )

    def _give_up(self, key: str, reason: str) -> None:
        standing = self._standings[key]
        if standing.path is not None and standing.trained and self._folder.asks is not None:
            mark_asked(standing.path, self._folder.asks, reason)
        elif standing.path is not None:
            with open_run(standing.path) as run:
                run.set_status("failed", exit_code=1, reason=reason)
        standing = replace(self._standings[key], state="failed", reason=reason)
        self._settle(key, standing)
        self._tell_end(key, standing)

    def _settle(self, key: str, standing: Standing) -> None:
        self._standings[key] = standing
        self._work.settled(key, standing)

    def _tell_end(self, key: str, standing: Standing) -> None:
        self._watcher.ended(key, standing)
        what = f"trial {key[:12]} {standing.state}"
        self._folder.log(f"{what}: {standing.reason}" if standing.reason else what)
        if standing.state == "failed" and self._wishes.fail_fast and not self._stopping:
            self._failed_fast = True
            self._begin_stop("stopping at the first failure")

    # Stopping -----------------------------------------------------------------------------------

    def _heed_stop(self) -> None:
        if self._stopping:
            return
        if self._stop.signum is not None:
            self._begin_stop("stopping; trials in hand keep a checkpoint")
        elif time.monotonic() - self._looked >= 1.0:
            self._looked = time.monotonic()
            if self._folder.stop_token() != self._token:
                self._begin_stop("asked to stop; trials in hand keep a checkpoint")

    def _begin_stop(self, why: str) -> None:
        self._stopping = True
        self._say(why)
        self._crew.stop(self._stop.signum or signal.SIGTERM)

    def _say(self, text: str) -> None:
        self._watcher.message(text)
        self._folder.log(text)
