"""What people send: the files of user code, and wishes for enrichments in the documented form.

    PATCH /api/v3/models/{id}/enrichments                    form or JSON: config of all or some
    PATCH /api/v3/models/{id}/enrichments/{name}             JSON; explainability: form, with files
    PUT   /api/v3/models/{id}/serving/files                  the zip, as it is
    PUT   /api/v3/models/{id}/serving/requirements           the list, as it is

Parts of a form: `user_project.zip`, `user_requirements_file.txt`, `explainer.pkl`, and `config`, a JSON
text. Files are kept here. A setting is not: an Enrichment is declared, so that Git and the cluster know it; a
wish that differs from what is declared is answered with the object to apply. Must not look into files.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from modelwarden.resources.cell import CellIdentity, CellSettings, EnrichmentSettings
from modelwarden.resources.documented_enrichments import (
    TYPES,
    DocumentedError,
    Target,
    Wished,
    as_yaml,
    changed,
    enrichment_object,
    read_wish,
)
from modelwarden.resources.enrichment import ExplainabilityConfig
from modelwarden.resources.server import UPLOAD, AssetSlot
from modelwarden_server.door.bodies import drain, read_body
from modelwarden_server.door.multipart import (
    FormLimits,
    FormReceiver,
    MultipartError,
    ReceivedFile,
    TooLargeError,
    receive,
)
from modelwarden_server.provision.assets import NAMES
from modelwarden_server.provision.checks import most_bytes
from modelwarden_server.provision.intake import Intake
from modelwarden_server.provision.stock import Stock
from modelwarden_server.web import Refusal, check_model, json_answer

EXPLAIN_SLOTS: Final[tuple[AssetSlot, ...]] = ("explain-project", "explain-requirements", "explain-explainer")
SLOT_OF_PART: Final[Mapping[str, AssetSlot]] = {NAMES[slot]: slot for slot in EXPLAIN_SLOTS}
_SOURCE_OF: Final[Mapping[AssetSlot, str]] = {
    "explain-project": "project",
    "explain-requirements": "requirements",
    "explain-explainer": "explainer",
}
_FORM: Final = "multipart/form-data"
_FORM_BYTES: Final = 1 << 20


@dataclass
class AssetDoors:
    """`stock` refuses (503) as long as there is none."""

    identity: CellIdentity
    stock: Callable[[], Stock]
    intake: Intake

    def routes(self) -> list[Route]:
        """The routes of these doors."""
        model = "/api/v3/models/{id}"
        return [
            Route(f"{model}/enrichments", self.patch, methods=["PATCH"]),
            Route(f"{model}/enrichments/{{name}}", self.patch, methods=["PATCH"]),
            Route(f"{model}/serving/files", self.put_files, methods=["PUT"]),
            Route(f"{model}/serving/requirements", self.put_requirements, methods=["PUT"]),
        ]

    async def patch(self, request: Request) -> Response:
        """202 "ok" if files were kept and the wish is what is declared already; else 501 with the object to
        apply (files are kept all the same).
        """
        check_model(request, self.identity)
        name: str | None = request.path_params.get("name")
        if name is not None and name not in TYPES:
            raise Refusal(404, f"there is no enrichment {name}: ask for {', '.join(TYPES)}")
        body, kept = await self._taken(request, name)
        try:
            wishes = _wishes(body, name)
            todo = self._todo(wishes, kept)
        except DocumentedError as error:
            raise Refusal(400, str(error)) from None
        if todo:
            raise Refusal(501, _sentence(todo, kept))
        return json_answer("ok", 202)

    async def put_files(self, request: Request) -> Response:
        """The files of the flow: 200 with their hash."""
        return await self._put(request, "serve-files")

    async def put_requirements(self, request: Request) -> Response:
        """The packages of the flow: 200 with the hash of their list."""
        return await self._put(request, "serve-requirements")

    async def _put(self, request: Request, slot: AssetSlot) -> Response:
        check_model(request, self.identity)
        self._admit((slot,))
        asset = await self.intake.raw(request, slot, UPLOAD, lambda: self._admit((slot,)))
        return json_answer({"sha256": asset.sha256, "bytes": asset.bytes})

    async def _taken(self, request: Request, name: str | None) -> tuple[object, tuple[AssetSlot, ...]]:
        """The wish as plain JSON (None: there is none), and the files that were kept."""
        if not request.headers.get("content-type", "").startswith(_FORM):
            return _json(await read_body(request, 64 << 10), "the body"), ()
        if name not in (None, "explainability"):
            raise Refusal(400, f"{name} takes no files: send JSON")
        receiver, files = await self._received(request)
        try:
            slots = [SLOT_OF_PART[file.part] for file in files]
            if len(set(slots)) < len(slots):
                raise Refusal(400, "send each file once")
            self._admit(slots)
            config = receiver.fields.get("config")
            body = None if config is None else _json(config, "the part config")
            for slot, file in zip(slots, files, strict=True):
                await self.intake.keep(slot, UPLOAD, file.content)
        finally:
            for file in files:
                file.content.close()
        return body, tuple(slots)

    async def _received(self, request: Request) -> tuple[FormReceiver, list[ReceivedFile]]:
        self.stock()
        most = sum(most_bytes(slot) for slot in EXPLAIN_SLOTS)
        limits = FormLimits(
            body_bytes=most + _FORM_BYTES,
            files=len(EXPLAIN_SLOTS),
            file_bytes=max(most_bytes(slot) for slot in EXPLAIN_SLOTS),
            fewest=0,
            advice="and the limit is fixed: leave out what the code does not need",
        )
        self.intake.inside += 1
        try:
            kind = request.headers.get("content-type", "")
            receiver = FormReceiver(kind, self.intake.uploads, tuple(SLOT_OF_PART), limits)
            return receiver, await receive(receiver, request.stream(), most)
        except TooLargeError as error:
            raise Refusal(413, str(error)) from None
        except MultipartError as error:
            await drain(request.stream(), most)
            raise Refusal(400, str(error)) from None
        except TimeoutError:
            raise Refusal(408, "the files did not arrive in time: send them again") from None
        except ClientDisconnect:
            raise Refusal(400, "the upload broke off: send it again") from None
        except OSError as error:
            raise Refusal(503, f"the files could not be stored: {error}", retry_after=10) from None
        finally:
            self.intake.inside -= 1

    def _admit(self, slots: Sequence[AssetSlot]) -> None:
        """Refuse (409) files that are declared to come from elsewhere."""
        declared = self.stock().settings().server.assets
        for slot in slots:
            if declared.get(slot, UPLOAD) != UPLOAD:
                raise Refusal(
                    409,
                    f"{NAMES[slot]} is declared to come from another source: nothing can be uploaded for it"
                    " unless its source is declared as upload: {}",
                )

    def _todo(self, wishes: Mapping[str, Wished], kept: Sequence[AssetSlot]) -> list[dict[str, Any]]:
        """The objects that must be applied for the wishes to hold, and for the kept files to be used."""
        settings = self.stock().settings()
        todo = []
        for name, wished in wishes.items():
            if name != "explainability" and not _holds(name, wished, settings.enrichments):
                target = Target(self.identity.namespace, self.identity.name)
                todo.append(enrichment_object(target, name, bool(wished.enabled)))
        if "explainability" in wishes or kept:
            todo += self._todo_explained(wishes.get("explainability", Wished(None, {})), kept, settings)
        return todo

    def _todo_explained(
        self, wished: Wished, kept: Sequence[AssetSlot], settings: CellSettings
    ) -> list[dict[str, Any]]:
        explained = settings.enrichments.explainability
        enabled = explained.enabled if wished.enabled is None else wished.enabled
        declared = explained.declared or ExplainabilityConfig()
        wanted = changed(declared, wished.config)
        undeclared = [slot for slot in kept if slot not in settings.server.assets]
        if (wanted, enabled) == (declared, explained.enabled) and not undeclared:
            return []
        if not enabled and not explained.enabled and not kept:
            return []  # off as it was
        config = wanted.model_dump(mode="json", by_alias=True, exclude_unset=True)
        if enabled:
            config |= {_SOURCE_OF[slot]: {"upload": {}} for slot in undeclared}
        target = Target(self.identity.namespace, self.identity.name, explained.object_name)
        return [enrichment_object(target, "explainability", enabled or bool(kept), config)]


def _wishes(body: object, name: str | None) -> dict[str, Wished]:
    """What is wished of which enrichment, by its documented name. Raises DocumentedError."""
    if body is None:
        return {}
    if name is not None:
        return {name: read_wish(body, name)}
    if not isinstance(body, dict) or not body:
        raise DocumentedError('send an object like {"hotspots": {"enabled": true}}')
    if unknown := sorted(set(body) - set(TYPES)):
        raise DocumentedError(f"{unknown[0]} is no enrichment: send {', '.join(TYPES)}")
    return {each: read_wish(wish, each) for each, wish in body.items()}


def _holds(name: str, wished: Wished, settings: EnrichmentSettings) -> bool:
    """Whether what is wished of an enrichment without documented settings is so already."""
    if wished.config:
        raise DocumentedError(f"{name}.config: it has no keys, declare an Enrichment to set what it has")
    now = {
        "anomaly_detection": settings.anomaly_detection.enabled,
        "bias_mitigation": settings.bias_mitigation.enabled,
        "hotspots": settings.hotspots.enabled,
    }
    return wished.enabled in (None, now[name])


def _json(content: bytes, what: str) -> object:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise Refusal(400, f'{what} is not JSON: send {{"enabled": true, "config": {{}}}}') from None


def _sentence(todo: Sequence[Mapping[str, Any]], kept: Sequence[AssetSlot]) -> str:
    files = f"{', '.join(NAMES[slot] for slot in kept)} kept; but " if kept else ""
    objects = "\n---\n".join(as_yaml(each) for each in todo)
    return (
        f"{files}a cell does not change its enrichments: apply an Enrichment instead, with"
        f" kubectl apply -f - and\n{objects}\n"
    )
