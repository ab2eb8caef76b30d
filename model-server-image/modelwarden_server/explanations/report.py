"""What the status says of explanations: whether they come, how many, and what matters most. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from modelwarden.resources.cell import ExplainabilitySettings
from modelwarden.resources.report import EnrichmentReport, ExplanationReport, waits_for
from modelwarden.resources.server import CodeReport, PodReport, ServerPlan
from modelwarden_server.explanations.feed import Tally
from modelwarden_server.explanations.space import Importance

KIND = "explainability"
TYPE = "Explainability"
MOST_NAMED = 10


@dataclass(frozen=True)
class Server:
    """What is known of the model's server: its plan, None while there is none, and its pods."""

    plan: ServerPlan | None = None
    pods: Sequence[PodReport] = ()

    @property
    def explaining(self) -> list[CodeReport]:
        """What the pods say of the code that explains, those that run the plan's code first."""
        explain = None if self.plan is None else self.plan.explain
        if self.plan is None or explain is None:
            return []
        wanted = {code.code_hash for code in self.plan.codes if code.role == explain.code}
        found = [code for pod in self.pods for code in pod.codes if code.role == explain.code]
        return sorted(found, key=lambda code: code.code_hash not in wanted)


def enrichment_report(
    settings: ExplainabilitySettings, server: Server, *, fits: bool = True
) -> EnrichmentReport:
    """Explainability among the enrichments. Nothing is ever due: files and packages are the server's."""

    def told(state: str, reason: str, message: str, missing: tuple[str, ...] = ()) -> EnrichmentReport:
        return EnrichmentReport.model_validate(
            {
                "kind": KIND,
                "type": TYPE,
                "state": state,
                "reason": reason,
                "message": message[:1000],
                "missing": missing,
            }
        )

    if not settings.enabled:
        return told("Disabled", "TurnedOff", "no Enrichment asks for explanations")
    if not fits:
        why = "predictions of this model are not explained: it needs PIPELINE_INPUT and PREDICTED_VALUE"
        return told("Disabled", "NotForThisModel", f"{why} attributes, and predictions that are numbers")
    plan = server.plan
    if plan is None or plan.explain is None:
        missing = () if plan is None else plan.waiting_for
        return told("Pending", "Waiting", waits_for(missing), missing)
    known = server.explaining
    if not known:
        return told("Training", "Starting", "no pod of the model's server has told of its code yet")
    ready = [code for code in known if code.state == "Ready"]
    if ready:
        path = f" by {ready[0].path}" if ready[0].path else ""
        why = f": {ready[0].why}" if ready[0].why else ""
        of = "" if len(ready) == len(known) else f" by {len(ready)} of {len(known)} pods"
        return told("Ready", "Explaining", f"rows are explained{of}{path}{why}")
    first = known[0]
    if first.state in ("Failed", "Restarting"):
        return told("Failed", f"Code{first.state}", first.message or "the user's code cannot be loaded")
    return told("Training", "Loading", first.message or "the user's code is being loaded")


@dataclass(frozen=True)
class Progress:
    """What the tables say."""

    tally: Tally
    late: int = 0
    newest: int | None = None
    """Arrival of the newest explained row, microseconds since 1970."""
    problem: str | None = None
    importance: Importance | None = None
    """Of the newest window."""
    agreement: float | None = None


def explanation_report(progress: Progress, server: Server) -> ExplanationReport:
    """What became of the rows that were chosen."""
    tally = progress.tally
    ready = [code for code in server.explaining if code.state == "Ready"]
    newest = None if progress.newest is None else datetime.fromtimestamp(progress.newest / 1e6, UTC)
    return ExplanationReport(
        chosen=tally.chosen,
        explained=tally.explained,
        waiting=tally.waiting,
        failed=tally.failed,
        skipped=tally.skipped,
        late=progress.late,
        newest=newest,
        path=ready[0].path if ready else None,
        problem=progress.problem,
        top=tuple(top_of(progress.importance)) if progress.importance is not None else (),
        agreement=progress.agreement,
    )


def top_of(importance: Importance, most: int = MOST_NAMED) -> list[tuple[str, float]]:
    """Inputs with their importance, averaged over outputs, highest first."""
    means = importance.values.mean(axis=0).tolist()
    ranked = sorted(zip(importance.inputs, means, strict=True), key=lambda one: (-one[1], one[0]))
    return ranked[:most]
