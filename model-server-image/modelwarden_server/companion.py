"""What an operator does for a cell, done for a cell on a laptop: datasets declared, files sent, Jobs run,
trainings and what its server is given too.

A client of the cell's own doors, nothing more: whatever works here works on a cluster. Must not touch the
cell's files.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from modelwarden.resources.enrichment import Enrichment
from modelwarden.resources.enrichment_settings import counting
from modelwarden.resources.purposes import PROFILE
from modelwarden.resources.referencedataset import ReferenceDataset
from modelwarden.resources.report import ReferenceReport, StatusReport
from modelwarden.resources.server_settings import ServerWish
from modelwarden_server.childjobs import Changes, ChildJobs, Trainings
from modelwarden_server.innerwire import DATASETS
from modelwarden_server.localprovision import Provisions, Sources
from modelwarden_server.refused import sentence_of

POLL_SECONDS = 0.5
PATIENCE_SECONDS = 3.0
Tell = Callable[[str], None]


@dataclass
class Companion:
    """Attends to one cell until it is cancelled. `tell` is given a sentence at each change.

    `enrichments` are only told about: their settings come with the cell's. `wish` is what is asked of the
    server now, and `sources` where its files are.
    """

    url: str
    key: str
    model_id: str
    datasets: tuple[ReferenceDataset, ...]
    files: Sequence[Path]
    tell: Tell
    enrichments: tuple[Enrichment, ...] = ()
    wish: Callable[[], ServerWish | None] = lambda: None
    sources: Sources = field(default_factory=lambda: Sources(Path()))
    _jobs: dict[str, "asyncio.Task[None]"] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._once = Changes(self.tell)
        self._children = ChildJobs(self.url, self.key)
        self._trainings = Trainings(self._children, self.tell)
        self._provisions = Provisions(self._children, self.sources, self.tell)

    async def attend(self) -> None:
        """Declare, upload, close, profile, and tell; for ever."""
        headers = {"Authorization": self.key}
        async with httpx.AsyncClient(base_url=self.url, headers=headers, timeout=600) as client:
            await self._ready(client)
            await self._declare(client)
            self._tell_of_enrichments()
            if self.files:
                await self._upload(client)
            while True:
                self._look(await self._status(client))
                await asyncio.sleep(POLL_SECONDS)

    async def _ready(self, client: httpx.AsyncClient) -> None:
        patience = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while True:
            try:
                answer = await client.get("/readyz")
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code == 200:
                return
            if answer is not None and asyncio.get_running_loop().time() > patience:
                self._once("readiness", answer.text.strip())
            await asyncio.sleep(0.1)

    async def _status(self, client: httpx.AsyncClient) -> StatusReport:
        answer = await client.get("/status")
        return StatusReport.from_json(answer.raise_for_status().content)

    async def _declare(self, client: httpx.AsyncClient) -> None:
        for dataset in self.datasets:
            name, spec = dataset.metadata.name, dataset.spec
            if spec.source.upload is None:
                self.tell(f"reference {name}: only uploads are possible here, send its file with --reference")
            # Files that are still to come are closed when they have.
            close = spec.closed and not self.files
            body = {"closed": close, "totalRecordCount": spec.total_record_count if close else None}
            answer = await client.put(f"{DATASETS}/{name}", json=body)
            if answer.is_error:
                self.tell(f"reference {name}: {sentence_of(answer, 'the store')}")

    async def _upload(self, client: httpx.AsyncClient) -> None:
        """Send the files to the one declared dataset (or the cell's own) and close it with their rows."""
        known = {entry.name: entry for entry in (await self._status(client)).reference}
        names = [d.metadata.name for d in self.datasets] or ["default"]
        if len(names) > 1:
            self.tell(f"--reference needs one ReferenceDataset, the folder has {', '.join(names)}")
            return
        if names[0] in known and known[names[0]].state != "open":
            self.tell(f"reference {names[0]} is closed already: the files are not sent again")
            return
        path = f"/api/v3/models/{self.model_id}/reference_data"
        where = {"dataset": names[0]} if self.datasets else {}
        rows = 0
        for file in self.files:
            with file.open("rb") as content:
                answer = await client.post(path, params=where, files={"reference_data": (file.name, content)})
            if answer.status_code != 207 or answer.json()["counts"]["failure"]:
                self.tell(f"reference {names[0]}: {file} was not taken: {answer.text[:500]}")
                return
            rows += answer.json()["counts"]["success"]
        closing = {"status": "uploaded", "total_record_count": rows}
        answer = await client.patch(path, params=where, json=closing)
        sentence = sentence_of(answer, "the store") if answer.is_error else f"{rows} rows sent and closed"
        self.tell(f"reference {names[0]}: {sentence}")

    def _tell_of_enrichments(self) -> None:
        chosen = counting(self.enrichments)
        for enrichment in self.enrichments:
            counted = chosen[enrichment.spec.type]
            if counted is not enrichment:
                name = enrichment.metadata.name
                self.tell(f"enrichment {name} does nothing: {counted.metadata.name} is of the same type")

    def _look(self, report: StatusReport) -> None:
        for entry in report.reference:
            if entry.state == "closed" and entry.content_hash and entry.content_hash not in self._jobs:
                job = asyncio.create_task(self._profile(entry))
                self._jobs[entry.content_hash] = job
            if entry.state in ("profiled", "failed"):
                tail = f": {entry.message}" if entry.message else ""
                self._once(entry.name, f"reference {entry.name}: {entry.state}, {entry.records} rows{tail}")
        self._trainings.look(report.enrichments)
        self._provisions.look(report.server, self.wish())
        if report.settings_error:
            self._once("settings", f"the change was not taken: {report.settings_error}")
        if report.reason:
            self._once("reason", report.reason)
        if report.drift is not None:
            drift = report.drift
            named = ", ".join(f.name for f in drift.features if f.drifted)
            found = f"{drift.drifted} of {drift.checked} features drifted ({named})" if named else "no drift"
            verdict = found if drift.state == "Ok" else str(drift.state)
            self._once("drift", f"window to {drift.window_end:%Y-%m-%d %H:%M}: {verdict}")

    async def _profile(self, entry: ReferenceReport) -> None:
        """The profile Job, in a process of its own, with the key that a cluster's Job would have."""
        assert entry.content_hash is not None
        arguments = ["--dataset", entry.name, "--content-hash", entry.content_hash]
        ended = await self._children.run(PROFILE, entry.content_hash, arguments)
        if ended.code:
            self.tell(f"reference {entry.name}: the profile Job ended with {ended.code} {ended.last}")
