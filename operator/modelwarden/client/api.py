"""`Cell`: one model's server, from Python. Send inferences and labels, as rows or as files; upload and close
the reference; ask what it holds and what it sees.

What this module must not do: speak to Kubernetes, or do arithmetic on the data: the cell computes, this asks.
"""

import io
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow.parquet as pq

from modelwarden.client.answers import file_report, refused_part
from modelwarden.client.asking import Asking
from modelwarden.client.errors import CellError, ClientError, FileRowsRefusedError, RowsRefusedError
from modelwarden.client.reports import FileReport, SendReport, UploadReport
from modelwarden.client.rows import Rows, chunks, label_chunks
from modelwarden.client.sending import Labelled, RowSender, Sending
from modelwarden.client.uploads import INFERENCES, FileSending, Kind, Source, parts_of, upload_of
from modelwarden.client.wire import Request

FILE_ANSWER_SECONDS = 300.0
"""The least a file's answer is waited for; a second more for each megabyte, as every row is judged first."""


class Cell(Asking):
    """One model's server: all that can be sent to it and asked of it. See `Connection` for its arguments."""

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

    def close_batch(self, batch_id: str, total_record_count: int | None = None) -> dict[str, Any]:
        """Closes a batch for good: it takes no more rows. With a number, the cell refuses if it has not
        counted exactly so many.
        """
        body = _closing(total_record_count)
        return self._object(self._request("PATCH", f"/batches/{quote(batch_id, safe='')}", body))

    def forget(
        self, ids: Sequence[str] = (), *, attribute: str | None = None, value: Any = None
    ) -> dict[str, Any]:
        """Has inferences deleted for good: those of the given ids, or all with a value of an attribute.

        From the answer on their ids are refused; the rows are deleted in the background, and are off the disk
        at most `vacuum_seconds` after that: `forget_request(answer["id"])` tells.
        """
        if bool(ids) == (attribute is not None):
            raise ClientError("say what to forget: ids, or an attribute and its value")
        body: dict[str, Any] = {"partner_inference_ids": list(ids)}
        if attribute is not None:
            body = {"attribute": attribute, "value": value}
        return self._object(self._request("POST", "/forget", body))

    def _reference(self, method: str, dataset: str | None, body: dict[str, Any] | None) -> Request:
        params = {"dataset": dataset} if dataset else None
        return replace(self._request(method, "/reference_data", body), params=params)


def _closing(total_record_count: int | None) -> dict[str, Any]:
    closed: dict[str, Any] = {"status": "uploaded"}
    return closed if total_record_count is None else closed | {"total_record_count": total_record_count}
