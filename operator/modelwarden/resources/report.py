"""What a cell says of itself at `/status`, read by the operator and by people.

Unknown fields are left out when it is read: operator and cell may differ in version during an upgrade.
Every field but the model's id has a default for the same reason.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from pydantic import ConfigDict, Field

from modelwarden.resources.schema import ResourceModel
from modelwarden.resources.server import PodReport, Role

Phase = Literal["Recovering", "Ready", "Draining", "Failed"]
ReferenceState = Literal["open", "closed", "profiled", "failed"]
DriftState = Literal["Ok", "InsufficientData", "NoReference"]
EnrichmentState = Literal["Disabled", "Pending", "Training", "Ready", "Failed"]


class Report(ResourceModel):
    """Base of the parts of a report: tolerant of unknown fields."""

    model_config = ConfigDict(extra="ignore")


class LabelReport(Report):
    """What became of the labels: acknowledged = stored + on their way from the log to the table.

    `waiting` are those of the stored whose inference has not been seen. Since the start of the process:
    `repeated` came again with the same data and were not stored again, `sampled_out` were left out with
    their inference.
    """

    acknowledged: int = 0
    stored: int = 0
    waiting: int = 0
    repeated: int = 0
    sampled_out: int = 0


class RowReport(Report):
    """What became of the rows: acknowledged = stored + waiting + rejected_later + sampled_out.

    Rows that were removed since, for their age or on request, stay counted as stored. Ids that came twice
    since the start of the process: `repeated` with the same data (a success, stored once), `conflicts` with
    other data (refused, and counted there too).
    """

    acknowledged: int = 0
    stored: int = 0
    rejected_later: int = 0
    sampled_out: int = 0
    refused: int = 0
    repeated: int = 0
    conflicts: int = 0
    last_hour: int = 0
    waiting: int = 0
    labels: LabelReport = LabelReport()


class LogReport(Report):
    """The log: bytes and segments on the disk, records that the writer has not yet written."""

    bytes: int = 0
    segments: int = 0
    uuid: str = ""
    unwritten: int = 0


class TableReport(Report):
    """One table: version of its Delta log, rows and files in it."""

    version: int = -1
    rows: int = 0
    files: int = 0


class ReferenceReport(Report):
    """One reference dataset of the cell."""

    name: str
    state: ReferenceState = "open"
    records: int = 0
    partner_record_count: int | None = None
    content_hash: str | None = None
    profile_hash: str | None = None
    message: str | None = None
    source_hash: str | None = None
    loaded: bool = False
    created_at: datetime
    closed_at: datetime | None = None


class BatchReport(Report):
    """The batches of a batch model: how many still take rows, how many are closed."""

    open: int = 0
    closed: int = 0


class FeatureDrift(Report):
    """One attribute's drift in the window."""

    name: str
    stage: str
    score: float
    threshold: float
    p_value: float | None = None
    n: int
    drifted: bool
    surplus: float | None = None
    """Share of the rows that stand where the reference has next to none, if that is why it is flagged."""
    persistent: bool = True
    """Whether an earlier window says the same; only then the model as a whole is judged by it."""


class PairDrift(Report):
    """What became of the dependence of two attributes: 0 the same, 1 all different."""

    one: str
    other: str
    change: float
    p_value: float
    broken: bool
    persistent: bool = True


class DriftReport(Report):
    """The verdict on the newest complete window. Without a verdict (`state` other than Ok) no feature is
    flagged."""

    window_start: datetime
    window_end: datetime
    batch_id: str | None = None
    """Of a batch model the window is the batch closed last: from its first row to its end."""
    rows: int
    metric: str
    state: DriftState
    features: tuple[FeatureDrift, ...] = ()
    drifted: int = 0
    checked: int = 0
    pairs: tuple[PairDrift, ...] = ()
    broken: int = 0
    """Pairs whose dependence is no longer the reference's."""
    judged: int = 1
    """Of the newest three windows, those with enough rows for a verdict."""


class ValueQuality(Report):
    """One kind of bad value of one attribute: its rows, and the shares in the window and the reference."""

    attribute: str
    question: Literal["missing", "outOfRange", "unseenCategory"]
    rows: int
    share: float
    reference_share: float
    p_value: float | None = None
    raised: bool
    persistent: bool = True


class RepeatQuality(Report):
    """Rows whose content is that of another row of the window, beyond what the reference does: a share."""

    share: float
    raised: bool


class VolumeQuality(Report):
    """Rows of the window, and the bounds that the windows before it set; none while there are too few."""

    rows: int
    least: float | None = None
    most: float | None = None
    raised: bool


class LagQuality(Report):
    """Upper bounds, in seconds, of how long rows took to arrive; `usual` that of 99 % of the rows before."""

    median_seconds: float | None = None
    p95_seconds: float | None = None
    usual_seconds: float | None = None
    late_share: float | None = None
    raised: bool


class DataQualityReport(Report):
    """What is to be said of the rows of the newest window. `values` has what is raised and what occurs."""

    window_start: datetime
    window_end: datetime
    batch_id: str | None = None
    rows: int
    values: tuple[ValueQuality, ...] = ()
    repeats: RepeatQuality | None = None
    volume: VolumeQuality
    lag: LagQuality
    raised: int = 0
    """How many findings there are."""


class LabelledWindow(Report):
    """How many inferences of a window, by event time, have a label now. `share` is None without rows."""

    start: datetime
    end: datetime
    rows: int
    labelled: int
    share: float | None = None


class CoverageReport(Report):
    """How far labels have come: in the newest window, and in the one that is as old as labels usually take
    (`monitoring.labelDelay`; None if that is not declared). Told once there is a reference with labels."""

    newest: LabelledWindow
    mature: LabelledWindow | None = None


class MetricValue(Report):
    """One metric of one window, with an interval of 95 %. `value` is None where it is withheld, and
    `withheld` says why.
    """

    metric: str
    value: float | None = None
    lower: float | None = None
    upper: float | None = None
    baseline: float | None = None
    """The reference's."""
    n: int = 0
    """Labelled rows behind it, or of an estimate all rows."""
    worse: bool = False
    """Worse than the baseline by more than chance and by more than is worth telling."""
    p_value: float | None = None
    withheld: str | None = None


class PopulationPerformance(Report):
    """A group of an attribute, or a declared segment, in which the model does worse than it did there."""

    attribute: str | None = None
    group: str | None = None
    segment: str | None = None
    metric: MetricValue


class EstimatedPerformance(Report):
    """What the scores alone say, calibrated on the reference. `trusted` estimates may raise the alarm;
    `withheld` says why there is none.
    """

    metrics: tuple[MetricValue, ...] = ()
    trusted: bool = False
    withheld: str | None = None
    missed: int = 0
    """Of `checked` earlier windows that have labels now, those whose labels it missed."""
    checked: int = 0
    window_start: datetime | None = None
    window_end: datetime | None = None


class PerformanceReport(Report):
    """How well the model does. The window is the newest one that labels can say something of, else the
    newest one, estimated; of a batch model, a batch. The first metric is the one to show.

    `worse` means that the model got worse, by labels or by a trusted estimate, in this window and in one of
    the two before (where they could be judged); `reason` is a sentence.
    """

    window_start: datetime | None = None
    window_end: datetime | None = None
    batch: str | None = None
    rows: int = 0
    labelled: int = 0
    coverage: float | None = None
    provisional: bool = True
    """Labels may still come."""
    metrics: tuple[MetricValue, ...] = ()
    estimated: EstimatedPerformance | None = None
    populations: tuple[PopulationPerformance, ...] = ()
    worse: bool = False
    by: Literal["labels", "estimate"] | None = None
    """What the verdict is from; None without a verdict."""
    judged: int = 0
    """Of this window and the two before, those that could be judged."""
    reason: str = ""


class GroupGap(Report):
    """The two groups of an attribute that are furthest apart in a metric, and how far: the difference of
    their rates, with an interval that holds for all pairs of groups at once.

    Groups are named where the model declares them (categories, bins); values that only the data tell are not.
    """

    metric: str
    lowest: str | None = None
    highest: str | None = None
    difference: float
    low: float
    high: float
    ratio: float | None = None
    significant: bool


class AttributeFairness(Report):
    """One attribute: the four-fifths rule on selection rates, and the gaps, significant and large ones first.

    `ratio` is the lowest selection rate over the highest. The rule fails, or holds, only when the interval
    says so; else it is unclear. `groups` could be compared, `withheld` have too few rows.
    """

    attribute: str
    four_fifths: Literal["holds", "fails", "unclear", "withheld"] = "withheld"
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    groups: int = 0
    withheld: int = 0
    gaps: tuple[GroupGap, ...] = ()


class FairnessReport(Report):
    """How alike the model treats the groups of attributes with monitorForBias, at its own threshold.

    Selection is of the window, which ends with the newest rows; what needs labels is of the `labelled`
    window, which is older where `monitoring.labelDelay` says that labels take their time. Or of a batch.
    """

    window_start: datetime | None = None
    window_end: datetime | None = None
    labelled_start: datetime | None = None
    labelled_end: datetime | None = None
    batch: str | None = None
    rows: int = 0
    labelled: int = 0
    threshold: float = 0.5
    attributes: tuple[AttributeFairness, ...] = ()


class AnomalyReport(Report):
    """How unlike the reference the rows of the newest window (by event time) are.

    `beyond` of the `scored` rows lie beyond the reference's 99th percentile: a `rate`, of which `expected` is
    to be expected of rows like the reference's. `p_value`: of an exact one-sided test. `mean_score` is the
    multivariate drift, `reference_mean_score` what it is without.
    """

    window_start: datetime | None = None
    window_end: datetime | None = None
    state: DriftState = "Ok"
    scored: int = 0
    beyond: int = 0
    rate: float | None = None
    expected: float | None = None
    p_value: float | None = None
    raised: bool = False
    """More rows are anomalous than the reference explains: significant, and half as many again."""
    persistent: bool = False
    """One of the two windows before says the same, or neither can say anything."""
    limit: float | None = None
    """The score at the 99th percentile."""
    mean_score: float | None = None
    reference_mean_score: float | None = None
    attributes: dict[str, int] = Field(default_factory=dict)
    """Rows beyond, by attributes that made them so; the ten most frequent."""
    waiting: int = 0
    """Rows that have no score yet."""
    problem: str | None = None
    """Why scores are behind, if they are."""


class MaintenanceReport(Report):
    """What was done to the tables beside writing them, since the process started. `retired` and `forgotten`
    count rows of the table of inferences since it was made; `rows.stored` counts them too.
    """

    compactions: int = 0
    files_merged: int = 0
    last_compaction: datetime | None = None
    last_retirement: datetime | None = None
    retired: int = 0
    forgotten: int = 0
    problem: str | None = None


class ForgetReport(Report):
    """Requests to forget: how many there were, and how many are not done yet."""

    requests: int = 0
    pending: int = 0


class EnrichmentReport(Report):
    """One thing that is trained for the cell. Hashes of inputs name trainings: the same inputs, the same
    hash.

    `due`: a Job is to train `wanted`; it is not, or not yet. What is `installed` stays in use until then.
    """

    kind: str
    """anomaly, loss, bias or hotspots."""
    type: str | None = None
    """The type of Enrichment that it belongs to; None if nobody declares it."""
    state: EnrichmentState
    reason: str = ""
    message: str = ""
    missing: tuple[str, ...] = ()
    """What it waits for, each as a sentence's object ("a closed reference dataset")."""
    due: bool = False
    wanted: str | None = None
    installed: str | None = None
    artefact_hash: str | None = None
    trained_at: datetime | None = None


def waits_for(missing: Sequence[str]) -> str:
    """What is missing, in a sentence: "waits for a, b and c"."""
    *first, last = missing or ("what it needs",)
    return f"waits for {', '.join(first)} and {last}" if first else f"waits for {last}"


class HotspotReport(Report):
    """Where the model is worse than elsewhere, in the newest window (or batch) that was searched.

    `rows` of it, `labelled` of those that were searched; `overall`: the metric of all rows. `worst` says the
    rule of the worst region in words, with its metric, that of all other rows, and its rows.
    """

    window_start: datetime | None = None
    window_end: datetime | None = None
    batch_id: str | None = None
    rows: int
    labelled: int
    metric: str
    threshold: float | None = None
    overall: float | None = None
    count: int = 0
    worst: str | None = None
    worst_value: float | None = None
    worst_rest: float | None = None
    worst_rows: int | None = None
    new_insights: int = 0
    """Insights of all windows that nobody has taken note of."""
    note: str = ""
    """Why nothing was searched, if so."""


class AssetReport(Report):
    """One file of the user's. `due`: a Job is to fetch it from its source."""

    slot: str
    source_hash: str
    state: Literal["Missing", "Present", "Failed"] = "Missing"
    due: bool = False
    message: str = ""
    sha256: str | None = None
    bytes: int = 0


class EnvironmentReport(Report):
    """The packages of one set of requirements. `due`: a Job is to install them."""

    hash: str
    """Of the requirements and the Python version: names the Job."""
    roles: tuple[Role, ...] = ()
    state: Literal["Due", "Ready", "Failed"] = "Due"
    due: bool = False
    python_version: str | None = None
    message: str = ""
    """Of a failure the last lines of the installer."""
    sha256: str | None = None
    bytes: int = 0


class ExplanationReport(Report):
    """What became of the rows that were to be explained: chosen = explained + waiting + failed + skipped."""

    chosen: int = 0
    explained: int = 0
    waiting: int = 0
    failed: int = 0
    """Rows for which there is no explanation although it was tried; counted in the table with the reason."""
    skipped: int = 0
    """Rows passed over because more waited than may wait."""
    late: int = 0
    """Rows of results that came when nobody waited for them any more, thrown away; since the start."""
    newest: datetime | None = None
    """Arrival of the newest explained row."""
    path: str | None = None
    problem: str | None = None
    top: tuple[tuple[str, float], ...] = ()
    """Global importance of the newest window: attribute and mean absolute value, highest first, ten."""
    agreement: float | None = None
    """Attribution drift: rank agreement (nDCG) of that window with the reference."""


class ServerReport(Report):
    """What the store knows of the model's server."""

    plan_hash: str = ""
    waiting_for: tuple[str, ...] = ()
    assets: tuple[AssetReport, ...] = ()
    environments: tuple[EnvironmentReport, ...] = ()
    pods: tuple[PodReport, ...] = ()
    """Those heard of in the last half minute."""
    explanations: ExplanationReport | None = None
    predictions: int = 0
    """Raw predictions kept, of a model that is served."""


class StatusReport(Report):
    """The whole of `/status`."""

    model_id: str
    version: str = ""
    started_at: datetime | None = None
    settings_generation: int = 0
    settings_hash: str | None = None
    """The first hex digits of the SHA-256 of the settings in force, as they were given. None: not known."""
    settings_error: str | None = None
    ready: bool = False
    phase: Phase = "Recovering"
    reason: str | None = None
    rows: RowReport = RowReport()
    log: LogReport = LogReport()
    tables: dict[str, TableReport] = Field(default_factory=dict)
    newest_inference: datetime | None = None
    newest_arrival: datetime | None = None
    reference: tuple[ReferenceReport, ...] = ()
    active_reference: str | None = None
    drift: DriftReport | None = None
    data_quality: DataQualityReport | None = None
    coverage: CoverageReport | None = None
    performance: PerformanceReport | None = None
    fairness: FairnessReport | None = None
    anomaly: AnomalyReport | None = None
    batches: BatchReport | None = None
    maintenance: MaintenanceReport | None = None
    forget: ForgetReport | None = None
    enrichments: tuple[EnrichmentReport, ...] = ()
    hotspots: HotspotReport | None = None
    server: ServerReport | None = None
    """None: the model has no server, neither explained nor served."""

    def to_json(self) -> bytes:
        """The report as camelCase JSON."""
        return self.model_dump_json(by_alias=True).encode()

    @classmethod
    def from_json(cls, body: bytes | str) -> "StatusReport":
        """Reads a report of any version. Raises pydantic's ValidationError (a ValueError) if it is none."""
        return cls.model_validate_json(body)
