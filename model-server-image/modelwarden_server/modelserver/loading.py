"""What runs in a model server: a child for each role, and the engines that explain it, as the sidecar wants.

A code that explains gives way at once to the one that is wanted instead: what the old one says would be of
another model. A flow that predicts goes on until its successor is Ready. What fails is reported, and tried
again later where that can help; nothing here is fatal. Must not know HTTP.
"""

import contextlib
import logging
import os
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from modelwarden.resources.cell import canonical_json
from modelwarden.resources.server import CodeReport, ExplainPlan, Role
from modelwarden_server.modelserver.contract import ContractError
from modelwarden_server.modelserver.engines import Engines, OutOfTimeError, Wish, build
from modelwarden_server.modelserver.limits import ChildLimits
from modelwarden_server.modelserver.predicting import FLOW_HANDLER, flow_settings
from modelwarden_server.modelserver.supervisor import (
    Child,
    ChildError,
    ChildSpec,
    ChildStatus,
    ChildUnavailableError,
)
from modelwarden_server.podwire import CodeToRun, Running, Wanted

log = logging.getLogger(__name__)
PROJECT_HANDLER: Final = "modelwarden_server.modelserver.project"
_FIRST_PAUSE, _LONGEST_PAUSE = 10.0, 300.0
_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Surroundings:
    """Where and within what children run."""

    work: Path
    """Folder whose subfolders children may write."""
    shared: Path
    """Folder below which all files are that are loaded."""
    limits: ChildLimits = field(default_factory=ChildLimits)
    """Of all children together; each gets its share of the memory."""
    start: Callable[[ChildSpec], Child] = Child
    first_pause: float = _FIRST_PAUSE


class Slot:
    """One set of user code: its child, and its engines once they are made."""

    def __init__(self, code: CodeToRun, wanted: Wanted, around: Surroundings) -> None:
        self.code, self._around = code, around
        self.key = _key(code, wanted)
        self.child = around.start(_spec(code, wanted, around))
        self.engines: Engines | None = None
        self._explain: tuple[ExplainPlan, Path] | None = None
        self._problem: str | None = None
        self._stopped = threading.Event()
        self._changed = threading.Event()
        self._wanted = wanted
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"load-{code.plan.role}", daemon=True)

    def start(self) -> None:
        """Start the child, and make engines when it is there."""
        self.child.start()
        self._thread.start()

    def explain(self, wanted: Wanted) -> None:
        """Have engines made for what is wanted; nothing to do if they are those."""
        plan, sample = wanted.explain, wanted.background
        explained = plan is not None and sample is not None and plan.code == self.code.plan.role
        asked = (plan, Path(sample)) if explained and plan is not None and sample is not None else None
        with self._lock:
            self._wanted = wanted
            if asked == self._explain:
                return
            self._explain, self.engines, self._problem = asked, None, None
        self._changed.set()

    def stop(self) -> None:
        """End the child."""
        self._stopped.set()
        self._changed.set()
        self.child.stop()

    @property
    def state(self) -> ChildStatus:
        """How it is, engines included where the code is there to explain."""
        status = self.child.status
        if status.state == "Loading" and not status.message:
            return replace(status, message="the user's code is being loaded")
        if self.code.plan.role != "explain" or status.state != "Ready":
            return status
        with self._lock:
            engines, problem, asked = self.engines, self._problem, self._explain
        if engines is not None or asked is None:
            return status
        if problem is not None:
            return replace(status, state="Failed", message=problem)
        return replace(status, state="Loading", message="checking predict against the reference")

    def report(self) -> CodeReport:
        """How far it is."""
        status, engines = self.state, self.engines
        report = CodeReport(
            role=self.code.plan.role,
            code_hash=self.code.plan.code_hash,
            state=status.state,
            message=status.message or (self._problem or ""),
            python=status.python,
            isolation=status.isolation,
            restarts=status.restarts,
        )
        if engines is None:
            return report
        explained = {
            "path": engines.path or None,
            "why": engines.why,
            "difference": engines.difference,
            "differs": engines.differs,
        }
        return report.model_copy(update=explained)

    def _run(self) -> None:
        pause = self._around.first_pause
        while not self._stopped.is_set():
            self._changed.clear()
            with self._lock:
                asked, wanted = self._explain, self._wanted
                due = asked is not None and self.engines is None
            if asked is None or not due:
                self._changed.wait()
                continue
            status = self.child.wait(_POLL_SECONDS)
            if status.state != "Ready":
                self._stopped.wait(_POLL_SECONDS)
                continue
            if self._made(asked, wanted):
                pause = self._around.first_pause
            else:
                self._changed.wait(pause)
                pause = min(_LONGEST_PAUSE, 2 * pause)

    def _made(self, asked: tuple[ExplainPlan, Path], wanted: Wanted) -> bool:
        """Make the engines; False if it failed and may be tried again later."""
        plan, sample = asked
        try:
            code = self.code.plan
            wish = Wish(wanted.identity, plan, sample, code.code_hash)
            engines = build(self.child, wish)
        except ChildUnavailableError:
            return True  # it is on its way, or its status says why not
        except OutOfTimeError:
            problem = "predict is too slow: it did not get through the reference's sample"
        except (ChildError, ContractError, ValueError) as error:
            problem = _one_line(error)
        except Exception as error:
            log.exception("no engines")
            problem = f"a fault of the model server ({type(error).__name__}): its log tells more"
        else:
            with self._lock:
                if asked == self._explain:
                    self.engines, self._problem = engines, None
            log.info("%s: explained by %s", self.code.plan.role, engines.path)
            return True
        with self._lock:
            if asked == self._explain:
                self._problem = problem
        log.warning("%s: %s", self.code.plan.role, problem)
        return False


class Desk:
    """All that runs. `load` says what is wanted; the others may be called at any time from any thread."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._boot = uuid.uuid4().hex
        self._hash = ""
        self._serve_seconds = 180.0
        self._now: dict[Role, Slot] = {}
        self._before: dict[Role, Slot] = {}
        self._lock = threading.Lock()

    def load(self, wanted: Wanted) -> None:
        """Make what is wanted run; what goes on unchanged is left alone. Stops others, which may take a few
        seconds. Raises ValueError for files that are elsewhere than they may be."""
        self._check(wanted)
        with self._lock:
            named = {code.plan.role: code for code in wanted.codes}
            around = replace(self._around, limits=_shared(self._around.limits, len(named)))
            leaving = [self._now.pop(role) for role in list(self._now) if role not in named]
            leaving += [self._before.pop(role) for role in list(self._before) if role not in named]
            for role, code in named.items():
                known = self._now.get(role)
                if known is None or known.key != _key(code, wanted):
                    leaving += self._retire(role, known)
                    _stop(leaving)
                    self._now[role] = Slot(code, wanted, around)
                    self._now[role].start()
                self._now[role].explain(wanted)
            self._hash = wanted.plan_hash
            if wanted.serve is not None:
                self._serve_seconds = wanted.serve.seconds
        _stop(leaving)

    def running(self) -> Running:
        """What runs, the newest of a role first."""
        with self._lock:
            self._settle()
            slots = [*self._now.values(), *self._before.values()]
            return Running(
                boot=self._boot, plan_hash=self._hash, codes=tuple(slot.report() for slot in slots)
            )

    def engines(self) -> Engines | None:
        """The engines that explain now; None: there are none, or their child is not there."""
        with self._lock:
            slots = list(self._now.values())
        for slot in slots:
            engines = slot.engines
            if engines is not None and slot.child.status.state == "Ready":
                return engines
        return None

    def flow(self) -> tuple[Child, float] | None:
        """The child that predicts, and the seconds a prediction may take; None: there is none."""
        with self._lock:
            self._settle()
            slot = self._before.get("serve") or self._now.get("serve")
            return None if slot is None else (slot.child, self._serve_seconds)

    def stop(self) -> None:
        """End everything."""
        with self._lock:
            slots = [*self._now.values(), *self._before.values()]
            self._now, self._before = {}, {}
        _stop(slots)

    def _check(self, wanted: Wanted) -> None:
        shared = self._around.shared.resolve()
        named = [path for code in wanted.codes for path in (code.files, code.environment)]
        for path in (*named, wanted.background):
            if path is not None and not Path(path).resolve().is_relative_to(shared):
                raise ValueError("a plan names files outside of the shared folder")

    def _retire(self, role: Role, known: Slot | None) -> list[Slot]:
        """What is to be stopped when `known` is no longer wanted."""
        if known is None:
            return []
        if role == "serve" and role not in self._before and known.child.status.state == "Ready":
            self._before[role] = known
            return []
        return [known]

    def _settle(self) -> None:
        """Let go of a flow whose successor is there."""
        for role in list(self._before):
            if self._now[role].child.status.state == "Ready":
                slot = self._before.pop(role)
                threading.Thread(target=slot.stop, name="stop", daemon=True).start()


def _key(code: CodeToRun, wanted: Wanted) -> bytes:
    """What a child depends on."""
    settings = _settings(code, wanted)
    return canonical_json({"code": code.plan.code_hash, "files": code.files, "settings": settings})


def _settings(code: CodeToRun, wanted: Wanted) -> dict[str, Any]:
    if code.plan.import_path is None:
        return flow_settings(code.plan, wanted.serve, wanted.identity)
    return {"import_path": code.plan.import_path}


def _spec(code: CodeToRun, wanted: Wanted, around: Surroundings) -> ChildSpec:
    # A folder of its own for each start: the one before may still be in its old one.
    work = around.work / f"{code.plan.role}-{code.plan.code_hash[:16]}-{uuid.uuid4().hex[:8]}"
    return ChildSpec(
        handler=FLOW_HANDLER if code.plan.import_path is None else PROJECT_HANDLER,
        project=Path(code.files),
        work=work,
        settings=_settings(code, wanted),
        environment=None if code.environment is None else Path(code.environment),
        limits=around.limits,
    )


def _shared(limits: ChildLimits, children: int) -> ChildLimits:
    return replace(limits, memory_bytes=limits.memory_bytes // max(1, children))


def _stop(slots: list[Slot]) -> None:
    while slots:
        slot = slots.pop()
        slot.stop()
        with contextlib.suppress(OSError):
            os.rmdir(slot.child.spec.work)  # noqa: PTH106 - empty, or left for the end of the pod


def _one_line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:500]
