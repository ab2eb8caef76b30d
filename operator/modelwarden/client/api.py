"""`Cell`: one model's server, from Python. Send inferences and labels, as rows or as files; upload and close
the reference; ask what it holds and what it sees.

What this module must not do: speak to Kubernetes, or do arithmetic on the data: the cell computes, this asks.
"""

import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
import pandas as pd
import pyarrow.parquet as pq

from modelwarden.client.answers import drift_frame, file_report, query_frame, refused_part
from modelwarden.client.errors import CellError, ClientError, FileRowsRefusedError, RowsRefusedError
from modelwarden.client.questions import DriftScope, drift_question
from modelwarden.client.reports import FileReport, Inference, SendReport, UploadReport
from modelwarden.client.rows import Rows, chunks, label_chunks
from modelwarden.client.sending import Labelled, RowSender, Sending
from modelwarden.client.uploads import INFERENCES, FileSending, Kind, Source, parts_of, upload_of
from modelwarden.client.wire import Clock, Patience, Request, Wire, http_client

PROPERTIES_A_QUERY = 100
"""The query API takes this many properties at once; more are asked for in several queries."""
FILE_ANSWER_SECONDS = 300.0
"""The least a file's answer is waited for; a second more for each megabyte, as every row is judged first."""


class Cell:
    """One model's server.

    Args:
        url: where it listens, for example `http://localhost:8080`.
        key: its key: the field `key` of the Secret `<model>-key`.
        model_id: the model's id (a UUID); asked of the cell when left out.
        patience: how long a request is tried again when the cell says that it is busy.
        http: an httpx client of your own (proxies, certificates, tests); its base_url and headers are used
            as they are.
    """

    def __init__(
        self,
        url: str,
        key: str,
        model_id: str | None = None,
        *,
        patience: Patience | None = None,
        http: httpx.Client | None = None,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ClientError(f"the url must begin with http:// or https://, not {url!r}")
        if not key.strip():
            raise ClientError("the key is empty: it is the field `key` of the Secret <model>-key")
        self._wire = Wire(http or http_client(url, key.strip()), patience or Patience(), Clock())
        self._model_id = model_id

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives the connections back."""
        self._wire.close()

    @property
    def model_id(self) -> str:
        """The model's id; asked of the cell once if it was not given."""
        if self._model_id is None:
            self._model_id = str(self.status()["modelId"])
        return self._model_id

    def status(self) -> dict[str, Any]:
        """What the cell says of itself: rows and labels taken in, stored and waiting, references, batches,
        the newest window's drift.
        """
        return self._object(Request("GET", "/status", repeatable=True))

    def send(
        self, rows: Rows, *, ground_truth: Collection[str] = (), sending: Sending | None = None
    ) -> SendReport:
        """Sends inferences and waits until each is durable at the cell (or refused).

        Args:
            rows: a DataFrame, an Arrow table, or dictionaries; flat or nested (see
                `modelwarden.client.rows`).
            ground_truth: which columns are labels.

        Raises:
            ClientError: a row that cannot be sent; nothing after it has been.
            RowsRefusedError: some rows were refused (all others are stored); not with
            `raise_on_refused=False`.
            SendInterruptedError: the cell could not be reached or had no room for too long.
        """
        sending = sending or Sending()
        sender = RowSender(self._object, "POST", self._path("/inferences"), sending)
        return sender.send(chunks(rows, sending.rows_per_request, ground_truth))

    def send_labels(
        self, rows: Rows, *, ground_truth: Collection[str] = (), sending: Sending | None = None
    ) -> SendReport:
        """Sends labels of inferences sent before, or later; waits until each is durable at the cell.

        A label sent again with another value replaces the first one in every number; the first stays in the
        table. Rows that hold no label are not sent (`not_sent` counts them).

        Args:
            rows: as for `send`, with `partner_inference_id`, `ground_truth_timestamp` and the labels.
            ground_truth: which columns are labels; none named: all columns but ids and times.

        Raises:
            As `send`.
        """
        sending = sending or Sending()
        labelled = Labelled()
        sender = RowSender(
            self._object, "PATCH", self._path("/ground_truth"), replace(sending, raise_on_refused=False)
        )
        pieces = label_chunks(rows, sending.rows_per_request, ground_truth)
        report = replace(sender.send(labelled.of(pieces)), not_sent=labelled.not_sent)
        if report.refused and sending.raise_on_refused:
            raise RowsRefusedError(report)
        return report

    def send_file(
        self,
        source: Source,
        *,
        kind: Kind = INFERENCES,
        batch_id: str | None = None,
        images: str | Path | None = None,
        sending: FileSending | None = None,
    ) -> FileReport:
        """Sends a file of inferences or of labels; returns when all its good rows are durable.

        Args:
            source: a parquet or JSON file (a list or lines), sent as it is; or a frame or Arrow table.
            kind: `inference_data` or `ground_truth_data`.
            batch_id: the batch of rows that name none themselves.
            images: a zip of the images that rows name, or the folder they are in.

        Raises:
            ClientError: a file that cannot be read, a frame without ids or times.
            FileRowsRefusedError: some rows were refused (all others are stored); not with
            `raise_on_refused=False`.
            CellError: the file as a whole was not taken; sending it again is safe, ids count once.
        """
        sending = sending or FileSending()
        fields = {"batch_id": batch_id} if batch_id else {}
        try:
            with upload_of(source, kind, images, fields, sending) as upload:
                size = sum(path.stat().st_size for path in upload.parts.values())
                request = Request(
                    "POST",
                    self._path("/inferences/file"),
                    repeatable=True,
                    upload=upload,
                    answer_seconds=FILE_ANSWER_SECONDS + size / 1e6,
                )
                report = file_report(self._object(request))
        except OSError as reason:
            raise ClientError(f"the file cannot be read: {reason}") from reason
        if report.refused and sending.raise_on_refused:
            raise FileRowsRefusedError(report)
        return report

    def upload_reference(
        self, source: Source, *, dataset: str | None = None, rows_per_part: int = 50_000
    ) -> UploadReport:
        """Uploads reference rows (a frame, a table, a parquet file) in parts; close afterwards with the
        number it returns.

        Raises:
            CellError: the cell refused a part, or the line broke. Reference rows have no ids, so nothing is
            sent twice: look at `reference()` before going on.
        """
        path, params = self._path("/reference_data"), {"dataset": dataset} if dataset else None
        report = UploadReport()
        for number, part in enumerate(parts_of(source, rows_per_part)):
            body = io.BytesIO()
            pq.write_table(part, body)
            file = {"reference_data": (f"part-{number}.parquet", body.getvalue(), "application/octet-stream")}
            answer = self._object(Request("POST", path, repeatable=False, params=params, files=file))
            counts = answer.get("counts", {})
            if counts.get("failure") or counts.get("success") != part.num_rows:
                raise CellError(refused_part(number, part.num_rows, answer), 207)
            report = UploadReport(report.rows + part.num_rows, report.parts + 1)
        return report

    def close_reference(self, total_record_count: int, *, dataset: str | None = None) -> dict[str, Any]:
        """Closes the reference for good. The cell refuses if it has not counted exactly
        `total_record_count` rows.
        """
        return self._object(self._reference("PATCH", dataset, _closing(total_record_count)))

    def reference(self, *, dataset: str | None = None) -> dict[str, Any]:
        """The state of a reference: rows counted, status."""
        return self._object(self._reference("GET", dataset, None))

    def batch(self, batch_id: str) -> dict[str, Any]:
        """The state of a batch: rows counted, open or uploaded."""
        return self._object(self._request("GET", f"/batches/{quote(batch_id, safe='')}"))

    def close_batch(self, batch_id: str, total_record_count: int | None = None) -> dict[str, Any]:
        """Closes a batch for good: it takes no more rows. With a number, the cell refuses if it has not
        counted exactly so many.
        """
        body = _closing(total_record_count)
        return self._object(self._request("PATCH", f"/batches/{quote(batch_id, safe='')}", body))

    def datasets(self) -> list[dict[str, Any]]:
        """All reference datasets and batches."""
        answer = self._answer(self._request("GET", "/datasets"))
        if not isinstance(answer, list):
            raise CellError("GET /datasets: the answer is no JSON list: is this a cell?", 200)
        return answer

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
            Scores; a missing one: there was nothing to compare. `attrs["rows_still_waiting"]` of the
            frame is True if rows acknowledged before were not counted yet: ask again.
        """
        if not features:
            raise ClientError("name at least one feature")
        query = drift_question(scope or DriftScope()) | {"num_bins": num_bins, "metric": metric}
        if rollup:
            query["rollup"] = rollup
        frames, waiting = [], False
        for start in range(0, len(features), PROPERTIES_A_QUERY):
            query["properties"] = list(features[start : start + PROPERTIES_A_QUERY])
            answer = self._object(self._request("POST", "/inferences/query/data_drift", query))
            waiting |= bool(answer.get("rows_still_waiting", False))
            frames.append(drift_frame(answer, query["properties"], rollup))
        whole = pd.concat(frames, axis=1)
        whole.attrs["rows_still_waiting"] = waiting
        return whole

    def _path(self, rest: str) -> str:
        return f"/api/v3/models/{self.model_id}{rest}"

    def _request(self, method: str, path: str, body: Any = None) -> Request:
        return Request(method, self._path(path), repeatable=True, json=body)

    def _reference(self, method: str, dataset: str | None, body: dict[str, Any] | None) -> Request:
        params = {"dataset": dataset} if dataset else None
        return replace(self._request(method, "/reference_data", body), params=params)

    def _answer(self, request: Request) -> Any:
        answer = self._wire.ask(request)
        try:
            return answer.json()
        except ValueError:
            return None

    def _object(self, request: Request) -> dict[str, Any]:
        body = self._answer(request)
        if not isinstance(body, dict):
            where = f"{request.method} {request.path}"
            raise CellError(f"{where}: the answer is no JSON object: is this a cell?", 200)
        return body


def _closing(total_record_count: int | None) -> dict[str, Any]:
    closed: dict[str, Any] = {"status": "uploaded"}
    return closed if total_record_count is None else closed | {"total_record_count": total_record_count}
