"""Which parts of the system a process runs, and how they are put together.

The only place that knows all rooms. Must not hold logic of its own.
"""

from dataclasses import dataclass

from starlette.types import ASGIApp

from modelwarden_server.auth import Authenticated
from modelwarden_server.cell import Cell
from modelwarden_server.door.admission import Admission
from modelwarden_server.door.batches import BatchRoom
from modelwarden_server.door.files import FileRoom
from modelwarden_server.door.forget import ForgetRoom
from modelwarden_server.door.health import HealthRoom
from modelwarden_server.door.images import ImageRoom
from modelwarden_server.door.inferences import InferenceRoom
from modelwarden_server.door.labels import LabelRoom
from modelwarden_server.door.references import ReferenceRoom
from modelwarden_server.enrichments.anomaly import AnomalyKind
from modelwarden_server.enrichments.bias import BiasKind
from modelwarden_server.enrichments.hotspot_room import HotspotRoom
from modelwarden_server.enrichments.hotspots import Hotspots
from modelwarden_server.enrichments.kind import TrainedKind
from modelwarden_server.enrichments.loss import LossKind
from modelwarden_server.enrichments.room import EnrichmentRoom
from modelwarden_server.explanations.report import Server
from modelwarden_server.explanations.room import ExplanationRoom, Pods
from modelwarden_server.httpserver import Address
from modelwarden_server.provision.room import ProvisionRoom
from modelwarden_server.query.performance.fair_room import FairnessRoom, Given
from modelwarden_server.query.performance.room import Neighbours, PerformanceRoom
from modelwarden_server.query.room import AnswerRoom
from modelwarden_server.serve import serve
from modelwarden_server.serving.room import PredictionRoom
from modelwarden_server.web import Refusal, application


@dataclass(frozen=True)
class Rooms:
    """The rooms of a store whose requests must not be dropped when the process ends."""

    admission: Admission
    inferences: InferenceRoom
    files: FileRoom
    references: ReferenceRoom
    answers: AnswerRoom
    enrichments: EnrichmentRoom
    provision: ProvisionRoom
    predictions: PredictionRoom
    explanations: ExplanationRoom

    @property
    def busy(self) -> int:
        """Requests being worked on."""
        rooms = (self.admission, self.files, self.references, self.answers, self.enrichments)
        return sum(room.busy for room in (*rooms, self.provision, self.predictions, self.explanations))


def furnish(cell: Cell) -> Rooms:
    """Put all rooms of a store into the cell."""
    admission, answers = Admission(cell), AnswerRoom(cell)
    labels = LabelRoom(cell, admission)
    inferences = InferenceRoom(cell, admission, labels)
    images = ImageRoom(cell)
    references = ReferenceRoom(cell, answers.reference_changed, images)
    answers.compare_with(references)

    async def settle() -> None:
        await inferences.settle()
        await files.settle()

    batches = BatchRoom(cell, settle, lambda: references.datasets().all())
    answers.judge_batches(batches.closed)
    files = FileRoom(cell, images, labels, batches.shut)
    inferences.shut = batches.shut
    forget = ForgetRoom(cell, images.images)
    # Labels before whoever hands labels to them.
    cell.rooms += [HealthRoom(cell), labels, files, images, batches, inferences, references, answers, forget]
    # Each kind in the order in which the status names it; rooms of their own are attached before.
    anomaly = AnomalyKind(cell, answers.rows_between)
    answers.questions.scores = anomaly.files
    loss = LossKind(cell)
    bias, hotspots = BiasKind(cell), Hotspots()
    kinds: list[TrainedKind] = [anomaly, loss, bias, hotspots]
    enrichments = EnrichmentRoom(cell, references, kinds, answers.loaded_profile)
    performance = PerformanceRoom(cell, Neighbours(references, answers, batches.closed, loss))
    answers.questions.outcomes = performance.sums
    fairness = FairnessRoom(cell, Given(answers.door, performance.sums, batches.closed))
    cell.rooms += [anomaly, loss, bias, HotspotRoom(cell, hotspots, batches.closed), performance, fairness]
    provision = ProvisionRoom(cell, references)
    explanations = explained(cell, provision)
    answers.questions.explanations = explanations.files
    enrichments.more = lambda: (explanations.enrichment(),)
    provision.explanations = explanations.report
    predictions = PredictionRoom(cell, inferences)
    provision.predictions = lambda: predictions.kept
    cell.rooms += [enrichments, provision, predictions, explanations]
    servers = (provision, predictions, explanations)
    return Rooms(admission, inferences, files, references, answers, enrichments, *servers)


def explained(cell: Cell, provision: ProvisionRoom) -> ExplanationRoom:
    """The room of explanations, told of the model's server by the room that provides for it."""

    def server() -> Server:
        try:
            return Server(provision.plan(), provision.pods())
        except (Refusal, OSError):  # the cell is recovering, or its disk fails, which others tell
            return Server()

    return ExplanationRoom(cell, Pods(server, lambda sha256: provision.stock().files.path(sha256)))


def store_app(cell: Cell) -> ASGIApp:
    """The HTTP application of a furnished cell."""
    routes = [route for room in cell.rooms for route in room.routes()]
    return Authenticated(application(routes), lambda: cell.settings.key)


async def run_cell(cell: Cell, address: Address, grace: float) -> int:
    """Furnish the cell and serve it until the process is told to end; the exit code."""
    rooms = furnish(cell)
    return await serve(cell, store_app(cell), address, lambda: rooms.busy, grace)
