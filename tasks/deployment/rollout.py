"""A version that passed its gates, tried on live requests before it is champion: warm, then shadow, then canary.

The registry's trial says what endpoints do with it; they follow by themselves. A trial that is not taken on in time
runs out, so that a rollout that was killed takes its canary with it.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.core.errors import Conflict, NotPromoted, UpdraftError
from tasks.core.notify import notify
from tasks.core.registry import Mode, Trial
from tasks.core.spec import Deployment
from tasks.core.stages import Context
from tasks.deployment.endpoint import SWITCH_SECONDS, await_trial, is_running
from tasks.deployment.judging import Seen, judge, judge_errors

LOOK_SECONDS = 1.0
"""Between two looks at the records."""

WARM_SECONDS = SWITCH_SECONDS
"""How long workers may take to load it, or to take a step."""

GRACE_SECONDS = 60.0
"""How long a trial outlives the step that it is for."""

Numbers = dict[str, Any]


def try_out(ctx: Context, version: int, champion: int) -> list[Numbers]:
    """Takes the version through the steps that the spec asks for; the trial is still on when all were passed.

    Returns:
        What each step measured.

    Raises:
        NotPromoted: a step refused it, or could not judge it; the trial was ended, and the audit log says why.
        Conflict: another trial is under way, or somebody ended or changed this one.
        UpdraftError: the caller wants it to stop.
    """
    project = ctx.spec.name
    rollout = _Rollout(ctx, version, champion)
    try:
        rollout.begin()
        return [rollout.step(*step) for step in steps(ctx.spec.deployment)]
    except Conflict:
        raise
    except NotPromoted as refusal:
        rollout.end(refusal.message)
        notify(f"{project}: version {version} is not promoted", refusal.message)
        raise
    except BaseException as error:
        rollout.end(f"the rollout was stopped: {type(error).__name__}")
        raise


def steps(wanted: Deployment) -> Iterator[tuple[Mode, float, float]]:
    """Mode, share of the requests and minutes of each step."""
    if wanted.shadow_minutes:
        yield "shadow", 1.0, wanted.shadow_minutes
    for share in wanted.canary:
        yield "canary", share, wanted.step_minutes


class _Rollout:
    """The trial under way."""

    def __init__(self, ctx: Context, version: int, champion: int) -> None:
        self._ctx, self._version, self._champion = ctx, version, champion
        self._trial: Trial | None = None
        self._found: Numbers = {}

    def begin(self) -> None:
        """Has every worker load it, with no requests yet. A trial of the same version that a killed attempt left is
        taken over.

        Raises:
            NotPromoted: no endpoint runs, or it cannot load the version.
        """
        if not is_running(self._ctx.registry):
            raise _refused(self._ctx.spec.name, self._version, "no endpoint is running that could try it")
        left = self._ctx.registry.trial(self._ctx.spec.name)
        self._trial = left if left and left.version == self._version else None
        self._set("shadow", 0.0, 0.0)

    def step(self, mode: Mode, share: float, minutes: float) -> Numbers:
        """One step to its end.

        Raises:
            NotPromoted: it was refused.
        """
        trial = self._set(mode, share, minutes * 60)
        limits, seen = self._ctx.spec.deployment, {self._champion: Seen(), self._version: Seen()}
        champion, challenger = seen.values()
        dropped = 0
        ends, enough = time.monotonic() + minutes * 60, limits.min_requests
        while True:
            is_over = time.monotonic() >= ends
            dropped += self._look(trial, seen)
            if is_over or judge_errors(champion, challenger, limits):
                break
            fewer = min(champion.requests, challenger.requests)
            if fewer >= enough:
                if judge(champion, challenger, limits)[1]:
                    break
                enough = 2 * fewer  # chance would be given a try each second
            self._wait(trial)
        numbers, faults = judge(champion, challenger, limits)
        self._found = {"step": f"{mode} {share:g}", **numbers, "dropped": dropped}
        if faults:
            raise _refused(trial.project, trial.version, f"at the step {mode} {share:g}: {'; '.join(faults)}")
        return self._found

    def end(self, why: str) -> None:
        """The champion answers alone again, and the audit log says why."""
        registry, run_id = self._ctx.registry, self._ctx.run_id
        if self._trial is None:
            told = {"version": self._version, "why": why}
            return registry.audit(self._ctx.spec.name, "end_trial", "deploy", told, run_id)
        with suppress(Conflict):
            registry.end_trial(self._trial, who="deploy", why=why, run_id=run_id, found=self._found)

    def _set(self, mode: Mode, share: float, seconds: float) -> Trial:
        """The trial as it is now, once every worker takes part in it."""
        registry, project = self._ctx.registry, self._ctx.spec.name
        until = datetime.now(UTC).replace(tzinfo=None) + timedelta(seconds=seconds + WARM_SECONDS + GRACE_SECONDS)
        why = f"tried beside version {self._champion}"
        self._trial = registry.set_trial(
            *(project, self._version, mode, share),
            until=until,
            expected=self._trial,
            who="deploy",
            why=why,
            run_id=self._ctx.run_id,
        )
        wanted = {"version": self._version, "mode": mode, "share": share}
        if not await_trial(registry, project, wanted, WARM_SECONDS):
            raise _refused(project, self._version, "the endpoint does not take it: its log names what does not load")
        return self._trial

    def _look(self, trial: Trial, seen: Mapping[int, Seen]) -> int:
        """Adds what was recorded since the last look; how many requests the workers could not keep record of."""
        batches = self._ctx.registry.take_records(trial)
        for record in (record for batch in batches for record in batch.records):
            # A worker that cannot load the champion answers with the one before.
            if record["version"] in seen:
                seen[record["version"]].add(record)
        return sum(batch.dropped for batch in batches)

    def _wait(self, trial: Trial) -> None:
        if self._ctx.stopped():
            raise UpdraftError(f"{trial.project}: the trial of version {trial.version} was stopped.", "Deploy again.")
        if self._ctx.registry.trial(trial.project) != trial:
            fix = f"See why: updraft audit {trial.project}"
            raise Conflict(f"{trial.project}: somebody ended or changed the trial of version {trial.version}.", fix)
        time.sleep(LOOK_SECONDS)


def _refused(project: str, version: int, why: str) -> NotPromoted:
    fix = f"The champion stays. If you know better: updraft models promote {project} {version} --why '...'"
    return NotPromoted(f"{project}: version {version} is not promoted, {why}.", fix)
