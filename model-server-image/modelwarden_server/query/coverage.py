"""How many inferences of a window have a label: from partials, so it costs nothing to ask often.

Labels are counted as soon as there is a reference that has labels; before that nobody knows, and nothing is
told.
"""

from datetime import UTC, datetime, timedelta

from modelwarden.resources.cell import MonitoringSettings
from modelwarden.resources.report import CoverageReport, LabelledWindow
from modelwarden_server.analysis.code_space import ROWS
from modelwarden_server.analysis.partials import SLICE_SECONDS
from modelwarden_server.query.generation import Generation

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def coverage(generation: Generation | None, settings: MonitoringSettings) -> CoverageReport | None:
    """Of the newest window, and of the one that ended when labels that come now usually belong to it."""
    newest = None if generation is None else generation.newest_slice()
    if generation is None or newest is None or generation.labelling is None:
        return None
    length = settings.window_seconds // SLICE_SECONDS
    delay = settings.label_delay_seconds
    return CoverageReport(
        newest=_window(generation, newest + 1, length),
        mature=None if delay is None else _window(generation, newest + 1 - delay // SLICE_SECONDS, length),
    )


def _window(generation: Generation, end: int, length: int) -> LabelledWindow:
    totals = generation.window(end - length, end)
    rows, labelled = int(totals[ROWS]), int(totals[generation.space.labelled])
    return LabelledWindow(
        start=_EPOCH + timedelta(seconds=(end - length) * SLICE_SECONDS),
        end=_EPOCH + timedelta(seconds=end * SLICE_SECONDS),
        rows=rows,
        labelled=labelled,
        share=labelled / rows if rows else None,
    )
