"""Trainings on a laptop: what is due is run once, tried again within bounds, and each change told once."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from modelwarden.resources.report import EnrichmentReport
from modelwarden_server.childjobs import ChildJobs, JobEnd, Trainings

HASH = "a" * 64


@dataclass(frozen=True)
class ScriptedJobs(ChildJobs):
    """Jobs that end as they are told, the last code for ever."""

    codes: tuple[int, ...] = (0,)
    ran: list[tuple[str, Sequence[str]]] = field(default_factory=list)

    async def run(self, purpose: str, input_hash: str, arguments: Sequence[str]) -> JobEnd:
        self.ran.append((f"{purpose} {input_hash}", arguments))
        return JobEnd(self.codes[min(len(self.ran), len(self.codes)) - 1], "")


def entry(
    state: str = "Training", *, due: bool = True, message: str = "soon", **more: str
) -> EnrichmentReport:
    return EnrichmentReport.model_validate(
        {"kind": "anomaly", "state": state, "due": due, "wanted": HASH, "message": message, **more}
    )


async def looked(codes: tuple[int, ...], *looks: EnrichmentReport) -> tuple[ScriptedJobs, list[str]]:
    told: list[str] = []
    jobs = ScriptedJobs("http://cell", "k" * 64, codes)
    trainings = Trainings(jobs, told.append, wait_seconds=0)
    for look in looks:
        trainings.look([look])
        for task in list(trainings._tasks.values()):
            await task
    return jobs, told


async def test_what_is_due_is_trained_once_however_often_it_is_looked_at() -> None:
    jobs, told = await looked((0,), entry(), entry(), entry("Ready", due=False, message="in use"))
    assert jobs.ran == [(f"train anomaly_{HASH}", ["--kind", "anomaly", "--input-hash", HASH])]
    assert told == ["anomaly detection: soon", "anomaly detection is ready: in use"]


@pytest.mark.parametrize(
    ("codes", "attempts", "end"),
    [
        ((1, 0), 2, "it is tried again"),
        ((-9, 0), 2, "was killed by signal 9: it is tried again"),
        ((1,), 3, "ended with 1: it is not tried again"),
        ((2,), 1, "ended with 2: it is not tried again"),
    ],
)
async def test_a_job_that_fails_is_tried_again_within_bounds(
    codes: tuple[int, ...], attempts: int, end: str
) -> None:
    jobs, told = await looked(codes, entry(), entry())
    assert len(jobs.ran) == attempts
    assert told[-1].endswith(end)


async def test_off_and_on_trains_again() -> None:
    off = entry("Disabled", due=False, message="turned off", reason="TurnedOff")
    jobs, told = await looked((2, 0), entry(), off, entry())
    assert len(jobs.ran) == 2
    assert "anomaly detection is off: turned off" in told


async def test_what_nobody_ever_turned_on_is_not_talked_about() -> None:
    _, told = await looked((0,), entry("Disabled", due=False, reason="TurnedOff"))
    assert told == []
