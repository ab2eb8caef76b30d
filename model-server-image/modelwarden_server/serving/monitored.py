"""Predictions taken in as inferences, through the same code as the door for rows: what became of each.

The prediction's id is the inference's: its label comes later under it. Must not keep predictions.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from modelwarden.resources.attributes import Sensitivity
from modelwarden.resources.cell import CellIdentity, CellSettings
from modelwarden_server.door.inferences import InferenceRoom
from modelwarden_server.door.sampling import sampled
from modelwarden_server.schema.compiled import EVENT_TIME, ID
from modelwarden_server.schema.digest import id_keys
from modelwarden_server.serving.mapping import RowMap, UnmappedError
from modelwarden_server.serving.predictions import Fate, Run

NO_ATTRIBUTES = "the model has no attributes: it is not monitored"
FAILED = "the prediction failed"
UNPAIRED = "the results are not one for each data point"
SAMPLED_OUT = "left out by sampling (ingest.sampling)"


class Monitored:
    """Takes the predictions of one model in."""

    def __init__(
        self, identity: CellIdentity, inferences: InferenceRoom, settings: Callable[[], CellSettings]
    ) -> None:
        self._identity, self._inferences, self._settings = identity, inferences, settings

    async def take(self, run: Run) -> list[Fate]:
        """What became of each prediction of a run; its rows are durable. Raises Refusal (503)."""
        settings = self._settings()
        # Where values are to be hashed or dropped, nothing is kept that holds them as they came.
        plain = all(rule is Sensitivity.KEEP for rule in settings.sensitivity.values())
        row_map = RowMap.of(self._identity, settings.serving)
        why = _unmonitored(run, row_map)
        if why is not None:
            return [Fate(why, plain)] * len(run.head.prediction_ids)
        assert run.results is not None
        fates: list[Fate] = []
        rows: list[dict[str, Any]] = []
        places: list[int] = []
        started = run.head.started.isoformat()
        kept = sampled(id_keys(run.head.prediction_ids), settings.ingest.sampling.share)
        triples = zip(run.head.prediction_ids, run.points, run.results, strict=True)
        for place, (prediction_id, point, item) in enumerate(triples):
            try:
                values = row_map.row(point, item)
            except UnmappedError as error:
                fates.append(Fate(str(error), plain))
                continue
            out = not kept[place]
            fates.append(Fate(SAMPLED_OUT if out else None, plain and not out))
            rows.append({ID: prediction_id, EVENT_TIME: started, "inference_data": values})
            places.append(place)
        if rows:
            refused = await self._inferences.take(bytearray(msgspec.json.encode(rows)))
            for row, reason in refused.items():
                # What the door says may quote a value; before the colon it names the attribute.
                told = reason if plain else f"{reason.partition(':')[0]}: was refused"
                fates[places[row]] = Fate(told, plain)
        return fates


def _unmonitored(run: Run, row_map: RowMap) -> str | None:
    """Why none of a run is taken in; None if it may be."""
    if not row_map.monitors:
        return NO_ATTRIBUTES
    if run.results is None:
        return FAILED
    return None if run.paired else UNPAIRED
