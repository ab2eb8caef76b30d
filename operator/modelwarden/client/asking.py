"""What a cell is asked: rows and aggregates, one inference, drift, data quality, batches, requests to forget.

What this module must not do: change anything at the cell, or compute anything: the cell does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pandas as pd

from modelwarden.client.answers import drift_frame, enrichments_frame, quality_frame, query_frame
from modelwarden.client.connection import Connection
from modelwarden.client.errors import CellError, ClientError
from modelwarden.client.questions import DriftScope, drift_question
from modelwarden.client.reports import Inference

PROPERTIES_A_QUERY = 100
"""The query API takes this many properties at once; more are asked for in several queries."""


class Asking(Connection):
    """A cell, as far as it is asked."""

    def query(self, body: Mapping[str, Any]) -> pd.DataFrame:
        """Asks a question in the documented query language (docs/queries.md): a row a row of the answer.

        `attrs` of the frame say what else the cell says: `computed_from` ("rows" or "partials"), and
        `rows_left_out` if there are more rows than one answer holds (give it a `limit` and an `offset`).
        """
        return query_frame(self._object(self._request("POST", "/inferences/query", dict(body))))

    def inference(self, partner_inference_id: str) -> Inference:
        """One inference with its labels. Raises CellError (status 404) if there is none of this id."""
        found = self._object(
            self._request("GET", f"/inferences/query/{quote(partner_inference_id, safe='')}")
        )
        (row,) = found["query_result"]
        return Inference(row, tuple(found.get("ground_truth_history", ())))

    def drift(
        self,
        features: Sequence[str],
        *,
        metric: str = "PSI",
        num_bins: int = 10,
        rollup: str | None = None,
        scope: DriftScope | None = None,
    ) -> pd.DataFrame:
        """Drift of each feature against the reference, one column a feature.

        Args:
            features: names of attributes; any number.
            metric: PSI, or another that the cell knows.
            num_bins: bins of a continuous feature, from the reference's quantiles.
            rollup: `hour`, `day`, `month` or `year`: a row a window, indexed by its start; `batch_id`: a row
                a batch. None: one row.
            scope: only some inferences, or groups of them; None: all.

        Returns:
            Scores; a missing one: there was nothing to compare. They count every row acknowledged before.
        """
        if not features:
            raise ClientError("name at least one feature")
        query = drift_question(scope or DriftScope()) | {"num_bins": num_bins, "metric": metric}
        if rollup:
            query["rollup"] = rollup
        frames = []
        for start in range(0, len(features), PROPERTIES_A_QUERY):
            query["properties"] = list(features[start : start + PROPERTIES_A_QUERY])
            answer = self._object(self._request("POST", "/inferences/query/data_drift", query))
            frames.append(drift_frame(answer, query["properties"], rollup))
        return pd.concat(frames, axis=1)

    def data_quality(
        self, features: Sequence[str], *, rollup: str | None = None, scope: DriftScope | None = None
    ) -> pd.DataFrame:
        """Missing values, values out of range, and categories that the reference never had.

        Args:
            features: names of attributes, at most a hundred.
            rollup: as for `drift`.
            scope: as for `drift`.

        Returns:
            A row a window (or group), feature and kind of bad value (`question`): `rows` and their `share`,
            the reference's share, `p_value`, and `raised` if it is more than chance.
        """
        query = drift_question(scope or DriftScope()) | {"properties": list(features)}
        query |= {"rollup": rollup} if rollup else {}
        answer = self._object(self._request("POST", "/inferences/query/data_quality", query))
        return quality_frame(answer, features, rollup)

    def enrichments(self) -> pd.DataFrame:
        """What is computed on top of the model's rows: a row a kind, with its `type` (None: nobody declares
        it), `state` (Disabled, Pending, Training, Ready, Failed), `since` (when what is in use was trained)
        and a `message` that says why and what is missing.
        """
        return enrichments_frame(self.status())

    def ask(self, path: str, **params: str) -> dict[str, Any]:
        """What the cell answers to a GET under the model's own path, as it is (docs/api.md): for all that has
        no method here. `ask("/anomalies", start="2026-03-01T00:00:00Z")`.
        """
        request = replace(self._request("GET", path), params=params or None)
        return self._object(request)

    def explanation(self, partner_inference_id: str, **params: str) -> dict[str, Any]:
        """Why the model said that of a stored inference, as it is answered (docs/api.md): `algorithm`,
        `n_samples`, `sort`, `page`, `page_size`.
        """
        return self.ask(f"/inferences/{quote(partner_inference_id, safe='')}/explanation", **params)

    def what_if(self, inputs: Mapping[str, Any], **params: str) -> dict[str, Any]:
        """What the model would say, and why, of a row that never was: every input by its name. `algorithm`,
        `n_samples`.
        """
        given = [{"attribute_name": name, "attribute_value": value} for name, value in inputs.items()]
        request = self._request("POST", "/what_if", {"model_pipeline_input": given})
        return self._object(replace(request, params=params or None))

    def batch(self, batch_id: str) -> dict[str, Any]:
        """The state of a batch: rows counted, open or uploaded."""
        return self._object(self._request("GET", f"/batches/{quote(batch_id, safe='')}"))

    def datasets(self) -> list[dict[str, Any]]:
        """All reference datasets and batches."""
        answer = self._answer(self._request("GET", "/datasets"))
        if not isinstance(answer, list):
            raise CellError("GET /datasets: the answer is no JSON list: is this a cell?", 200)
        return answer

    def forget_request(self, request_id: str) -> dict[str, Any]:
        """What became of a request to forget: its state, the rows removed, what is out of reach."""
        return self._object(self._request("GET", f"/forget/{quote(request_id, safe='')}"))
