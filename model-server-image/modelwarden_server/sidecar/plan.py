"""The loop that makes a pod run what the store wants: asks for the plan, brings its files, has them loaded,
and tells the store how far it is.

A new plan takes over when its files are in place; until then the one before goes on. What cannot be brought
is reported and tried again; the rest runs meanwhile. Must not know how code is run.
"""

import asyncio
import logging
from dataclasses import dataclass, field

import httpx
from pydantic import ValidationError

from modelwarden.resources.cell import canonical_json, short_hash
from modelwarden.resources.server import CodePlan, CodeReport, Role, ServerPlan
from modelwarden_server.archives import ArchiveError
from modelwarden_server.innerwire import SERVER
from modelwarden_server.podwire import LOAD, STATUS, CodeToRun, Running, Wanted
from modelwarden_server.sidecar.fetch import NotFetchedError
from modelwarden_server.sidecar.pod import Pod
from modelwarden_server.sidecar.reports import pod_report
from modelwarden_server.sidecar.unpack import Place

log = logging.getLogger(__name__)
ROUND_SECONDS = 1.0
REPORT_SECONDS = 5.0
AGAIN_SECONDS = 5.0
CALL_SECONDS = 10.0


@dataclass
class Brought:
    """What of a plan is in place, and why the rest is not."""

    plan: ServerPlan
    wanted: Wanted
    missing: tuple[CodeReport, ...] = ()
    again: bool = False


@dataclass
class PlanLoop:
    """See the module's text. Only the loop changes `pod.plan`, `pod.running` and `pod.waiting`."""

    pod: Pod
    place: Place
    round_seconds: float = ROUND_SECONDS
    report_seconds: float = REPORT_SECONDS
    again_seconds: float = AGAIN_SECONDS
    _brought: Brought | None = None
    _bringing: "asyncio.Task[Brought] | None" = None
    _told: tuple[str, str] = ("", "")
    _reported: tuple[bytes, float] = (b"", -1e9)
    _cleaned: str = ""
    _complaints: dict[str, str] = field(default_factory=dict)

    async def run(self) -> None:
        """Rounds for ever; what goes wrong in one is logged once and tried again in the next."""
        while True:
            try:
                await self.round()
            except Exception as error:
                self._complain("round", f"{type(error).__name__}: {error}")
                log.debug("the round failed", exc_info=True)
            await asyncio.sleep(self.round_seconds)

    async def round(self) -> None:
        """One round."""
        self.pod.settings.poll()
        await self._ask()
        self._bring()
        await self._look()
        if self._brought is not None:
            await self._load(self._brought.wanted)
            self._clean(self._brought)
        await self._report()

    async def _ask(self) -> None:
        """Learn the plan; while the store is away the one that is known goes on."""
        try:
            answer = await self.pod.store.get(SERVER, timeout=CALL_SECONDS)
            if answer.status_code != 200:
                self._complain("plan", f"the store has no plan now: it answers {answer.status_code}")
                return
            plan = ServerPlan.model_validate_json(answer.content)
        except (httpx.HTTPError, ValidationError) as error:
            self._complain("plan", f"the plan cannot be had from the store ({type(error).__name__})")
            return
        self._complaints.pop("plan", None)
        if self.pod.plan is None or plan.plan_hash != self.pod.plan.plan_hash:
            log.info("plan %s is to run", plan.plan_hash)
            self.pod.plan = plan
            if self._bringing is not None:
                self._bringing.cancel()
                self._bringing = None

    def _bring(self) -> None:
        """Begin to bring the plan's files, or take what was brought."""
        plan = self.pod.plan
        if plan is None:
            return
        if self._bringing is None:
            done = self._brought
            if done is None or done.plan.plan_hash != plan.plan_hash or done.again:
                delay = self.again_seconds if done is not None and done.plan is plan else 0.0
                if delay == 0.0:
                    self.pod.waiting = tuple(_coming(code) for code in plan.codes if self._new(code))
                self._bringing = asyncio.create_task(self._all_of(plan, delay))
        elif self._bringing.done():
            brought, self._bringing = self._bringing.result(), None
            self._brought = brought
            self.pod.waiting = brought.missing
            for report in brought.missing:
                self._complain(report.role, report.message)

    def _new(self, code: CodePlan) -> bool:
        before = () if self._brought is None else self._brought.wanted.codes
        return all(code.code_hash != known.plan.code_hash for known in before)

    async def _all_of(self, plan: ServerPlan, delay: float) -> Brought:
        await asyncio.sleep(delay)
        codes: list[CodeToRun] = []
        missing: list[CodeReport] = []
        again = False
        for code in plan.codes:
            try:
                codes.append(await self.place.code(code))
            except ArchiveError as error:
                missing.append(_missing(code, f"{code.files.name} {error}", failed=True))
            except NotFetchedError as error:
                missing.append(_missing(code, str(error), failed=False))
                again = True
            except OSError as error:
                missing.append(_missing(code, f"the pod's disk: {error.strerror}", failed=True))
                again = True
        codes += self._still_serving({code.plan.role for code in codes}, missing)
        background = None
        try:
            if plan.explain is not None:
                background = await self.place.background(plan.explain.background)
        except (NotFetchedError, OSError) as error:
            self._complain("background", str(error))
            again = True
        wanted = Wanted(
            plan_hash="",
            identity=self.pod.identity,
            codes=tuple(codes),
            explain=None if background is None else plan.explain,
            background=background,
            serve=plan.serve,
        )
        named = wanted.model_copy(update={"plan_hash": short_hash(canonical_json(wanted))})
        return Brought(plan, named, tuple(missing), again)

    def _still_serving(self, here: set[Role], missing: list[CodeReport]) -> list[CodeToRun]:
        """Whoever predicts goes on with the code before when the new one cannot be brought; explanations wait
        instead, for they would be those of another model."""
        before = () if self._brought is None else self._brought.wanted.codes
        lost = {report.role for report in missing} - here - {"explain"}
        return [code for code in before if code.plan.role in lost]

    async def _look(self) -> None:
        try:
            answer = await self.pod.model_server.get(STATUS, timeout=CALL_SECONDS)
            self.pod.running = Running.model_validate_json(answer.raise_for_status().content)
            self._complaints.pop("model server", None)
        except (httpx.HTTPError, ValidationError) as error:
            self.pod.running = None
            self._complain("model server", f"it does not answer ({type(error).__name__})")

    async def _load(self, wanted: Wanted) -> None:
        running = self.pod.running
        if running is None or running.plan_hash == wanted.plan_hash:
            return
        headers = {"Content-Type": "application/json"}
        try:
            answer = await self.pod.model_server.post(
                LOAD, content=canonical_json(wanted), headers=headers, timeout=CALL_SECONDS
            )
            self.pod.running = Running.model_validate_json(answer.raise_for_status().content)
        except (httpx.HTTPError, ValidationError) as error:
            self._complain("load", f"the model server did not take the plan ({type(error).__name__})")
        else:
            self._complaints.pop("load", None)

    def _clean(self, brought: Brought) -> None:
        """Remove what no plan names, once the model server has let go of it."""
        running, wanted = self.pod.running, brought.wanted
        loading = running is None or any(code.state == "Loading" for code in running.codes)
        if self._bringing is not None or loading or running is None or running.plan_hash != wanted.plan_hash:
            return
        if self._cleaned != wanted.plan_hash:
            kept = [path for code in wanted.codes for path in (code.files, code.environment) if path]
            self.place.keep_only([*kept, wanted.background or ""])
            self._cleaned = wanted.plan_hash

    async def _report(self) -> None:
        """Tell the store: at once what has changed, the rest every few seconds."""
        content = canonical_json(pod_report(self.pod))
        now = asyncio.get_running_loop().time()
        before, when = self._reported
        if content == before and now - when < self.report_seconds:
            return
        path = f"{SERVER}/pods/{self.pod.name}"
        headers = {"Content-Type": "application/json"}
        try:
            answer = await self.pod.store.put(path, content=content, headers=headers, timeout=CALL_SECONDS)
            answer.raise_for_status()
            self._reported = content, now
            self._complaints.pop("report", None)
        except httpx.HTTPError as error:
            self._complain("report", f"the store could not be told ({type(error).__name__})")

    def _complain(self, about: str, sentence: str) -> None:
        if self._complaints.get(about) != sentence:
            self._complaints[about] = sentence
            log.warning("%s: %s", about, sentence)


def _coming(code: CodePlan) -> CodeReport:
    size = code.files.bytes + (0 if code.environment is None else code.environment.bytes)
    return CodeReport(
        role=code.role, code_hash=code.code_hash, state="Loading", message=f"fetching {size} bytes of files"
    )


def _missing(code: CodePlan, message: str, *, failed: bool) -> CodeReport:
    state = "Failed" if failed else "Waiting"
    return CodeReport.model_validate(
        {"role": code.role, "codeHash": code.code_hash, "state": state, "message": message}
    )
