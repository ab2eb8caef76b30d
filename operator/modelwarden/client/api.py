"""`Cell`: one model's server, from Python. Send inferences, upload and close the reference, ask about drift
and status.

What this module must not do: speak to Kubernetes, or do arithmetic on the data: the cell computes, this asks.
"""

import io
import ssl
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from modelwarden.client.errors import CellError, ClientError, RowsRefusedError, SendInterruptedError
from modelwarden.client.reports import RefusedRow, SendReport, UploadReport
from modelwarden.client.rows import ID, TIME, Rows, chunks, encode
from modelwarden.client.wire import Clock, Patience, Request, Wire

PROPERTIES_A_QUERY = 100
"""The query API takes this many properties at once; more are asked for in several queries."""


@dataclass(frozen=True)
class Sending:
    """How to send: rows in a request, requests under way at once, whether a refused row raises, who hears
    of each answer.
    """

    rows_per_request: int = 1000
    in_flight: int = 2
    raise_on_refused: bool = True
    on_answer: Callable[[SendReport], None] | None = None


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
        self._wire = Wire(http or _http(url, key.strip()), patience or Patience(), Clock())
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
        """What the cell says of itself: rows taken in, stored and waiting, references, the newest window's
        drift.
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
        report = SendReport()
        path = f"/api/v3/models/{self.model_id}/inferences"
        under_way: deque[Future[SendReport]] = deque()
        with ThreadPoolExecutor(sending.in_flight, thread_name_prefix="send") as pool:
            try:
                for chunk in chunks(rows, sending.rows_per_request, ground_truth):
                    if len(under_way) >= 2 * sending.in_flight:
                        report += _heard(under_way.popleft(), sending)
                    under_way.append(pool.submit(self._send_chunk, path, chunk))
                while under_way:
                    report += _heard(under_way.popleft(), sending)
            except CellError as fault:
                report = _what_else_arrived(report, under_way)
                raise SendInterruptedError(report, fault) from fault
        if report.refused and sending.raise_on_refused:
            raise RowsRefusedError(report)
        return report

    def upload_reference(
        self,
        source: pd.DataFrame | pa.Table | str | Path,
        *,
        dataset: str | None = None,
        rows_per_part: int = 50_000,
    ) -> UploadReport:
        """Uploads reference rows (a frame, a table, a parquet file) in parts; close afterwards with the
        number it returns.

        Raises:
            CellError: the cell refused a part, or the line broke. Reference rows have no ids, so nothing is
            sent twice: look at `reference()` before going on.
        """
        path = f"/api/v3/models/{self.model_id}/reference_data"
        params = {"dataset": dataset} if dataset else None
        report = UploadReport()
        for number, part in enumerate(_parts(source, rows_per_part)):
            body = io.BytesIO()
            pq.write_table(part, body)
            file = {"reference_data": (f"part-{number}.parquet", body.getvalue(), "application/octet-stream")}
            answer = self._object(Request("POST", path, repeatable=False, params=params, files=file))
            counts = answer.get("counts", {})
            if counts.get("failure") or counts.get("success") != part.num_rows:
                raise CellError(_refused_part(number, part.num_rows, answer), 207)
            report = UploadReport(report.rows + part.num_rows, report.parts + 1)
        return report

    def close_reference(self, total_record_count: int, *, dataset: str | None = None) -> dict[str, Any]:
        """Closes the reference for good. The cell refuses if it has not counted exactly
        `total_record_count` rows.
        """
        body = {"status": "uploaded", "total_record_count": total_record_count}
        return self._object(self._reference("PATCH", dataset, body))

    def reference(self, *, dataset: str | None = None) -> dict[str, Any]:
        """The state of a reference: rows counted, status."""
        return self._object(self._reference("GET", dataset, None))

    def drift(
        self,
        features: Sequence[str],
        *,
        metric: str = "PSI",
        num_bins: int = 10,
        rollup: str | None = None,
        between: tuple[datetime | None, datetime | None] = (None, None),
    ) -> pd.DataFrame:
        """Drift of each feature against the reference, one column a feature.

        Args:
            features: names of attributes; any number.
            metric: PSI, or another that the cell knows.
            num_bins: bins of a continuous feature, from the reference's quantiles.
            rollup: `hour`, `day`, `month` or `year`: a row a window, indexed by its start. None: one row.
            between: only inferences from the first time (included) to the second (excluded); None is open.

        Returns:
            Scores; a missing one: there was nothing to compare. `attrs["rows_still_waiting"]` of the
            frame is True if rows acknowledged before were not counted yet: ask again.
        """
        narrowing = [
            {"property": TIME, "comparator": comparator, "value": _with_zone(moment).isoformat()}
            for comparator, moment in zip(("gte", "lt"), between, strict=True)
            if moment is not None
        ]
        frames, answers = [], []
        for start in range(0, len(features), PROPERTIES_A_QUERY):
            query: dict[str, Any] = {
                "properties": list(features[start : start + PROPERTIES_A_QUERY]),
                "num_bins": num_bins,
                "metric": metric,
                "base": {"source": "reference"},
                "target": {"source": "inference", "filter": narrowing},
            }
            if rollup:
                query["rollup"] = rollup
            path = f"/api/v3/models/{self.model_id}/inferences/query/data_drift"
            answers.append(self._object(Request("POST", path, repeatable=True, json=query)))
            frames.append(_drift_frame(answers[-1], query))
        if not frames:
            raise ClientError("name at least one feature")
        whole = pd.concat(frames, axis=1)
        whole.attrs["rows_still_waiting"] = any(answer.get("rows_still_waiting", False) for answer in answers)
        return whole

    def _send_chunk(self, path: str, chunk: list[dict[str, Any]]) -> SendReport:
        request = Request("POST", path, repeatable=True, content=encode(chunk))
        try:
            answer = self._object(request)
        except CellError as fault:
            if fault.status != 413 or len(chunk) == 1:
                raise
            half = len(chunk) // 2
            return self._send_chunk(path, chunk[:half]) + self._send_chunk(path, chunk[half:])
        return _report(chunk, answer)

    def _reference(self, method: str, dataset: str | None, body: dict[str, Any] | None) -> Request:
        path = f"/api/v3/models/{self.model_id}/reference_data"
        return Request(
            method, path, repeatable=True, params={"dataset": dataset} if dataset else None, json=body
        )

    def _object(self, request: Request) -> dict[str, Any]:
        answer = self._wire.ask(request)
        try:
            body = answer.json()
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise CellError(
                f"{request.method} {request.path}: the answer is no JSON object: is this a cell?",
                answer.status_code,
            )
        return body


def _http(url: str, key: str) -> httpx.Client:
    # Long reads: an answer means "on disk", and a busy disk may take its time. Never without a limit.
    timeout = httpx.Timeout(connect=10, read=120, write=60, pool=60)
    return httpx.Client(
        base_url=url,
        headers={"Authorization": f"Bearer {key}"},
        timeout=timeout,
        verify=ssl.create_default_context(),
    )


def _heard(future: Future[SendReport], sending: Sending) -> SendReport:
    report = future.result()
    if sending.on_answer is not None:
        sending.on_answer(report)
    return report


def _what_else_arrived(report: SendReport, under_way: deque[Future[SendReport]]) -> SendReport:
    for future in under_way:
        future.cancel()
    for future in under_way:
        if not future.cancelled() and future.exception() is None:
            report += future.result()
    return report


def _report(chunk: list[dict[str, Any]], answer: dict[str, Any]) -> SendReport:
    results = answer.get("results")
    if not isinstance(results, list) or len(results) != len(chunk):
        raise CellError(f"the cell answered for {len(results or [])} rows, {len(chunk)} were sent", 207)
    refused = tuple(
        RefusedRow(str(row[ID]), int(result["status"]), str(result["message"]))
        for row, result in zip(chunk, results, strict=True)
        if int(result["status"]) >= 300
    )
    return SendReport(sent=len(chunk), acknowledged=len(chunk) - len(refused), refused=refused)


def _parts(source: pd.DataFrame | pa.Table | str | Path, size: int) -> Iterator[pa.Table]:
    if isinstance(source, str | Path):
        with pq.ParquetFile(source) as file:
            for batch in file.iter_batches(batch_size=size):
                yield pa.Table.from_batches([batch])
        return
    table = pa.Table.from_pandas(source, preserve_index=False) if isinstance(source, pd.DataFrame) else source
    for start in range(0, table.num_rows, size):
        yield table.slice(start, size)


def _refused_part(number: int, rows: int, answer: dict[str, Any]) -> str:
    counts = answer.get("counts", {})
    failures = answer.get("failures") or [{}]
    return (
        f"part {number} of the reference: {counts.get('failure', '?')} of {rows} rows were refused, "
        f"{counts.get('success', '?')} taken; the first reason: {failures[0].get('message', 'none given')}"
    )


def _drift_frame(answer: dict[str, Any], query: dict[str, Any]) -> pd.DataFrame:
    frame = pd.DataFrame(answer["query_result"])
    if "rollup" in frame.columns:
        frame["rollup"] = pd.to_datetime(frame["rollup"], utc=True)
        frame = frame.rename(columns={"rollup": "window"}).set_index("window").sort_index()
    return frame.reindex(columns=query["properties"]).astype("float64")


def _with_zone(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ClientError("the times in `between` need a time zone, for example UTC")
    return moment
