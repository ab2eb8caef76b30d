"""Rows in requests of a size that a cell takes, several under way at once, each until the cell has it.

What this module must not do: know how rows are made, or what they mean.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from modelwarden.client.errors import CellError, RowsRefusedError, SendInterruptedError
from modelwarden.client.reports import RefusedRow, SendReport
from modelwarden.client.rows import ID, TRUTH, Chunk, encode
from modelwarden.client.wire import Request


@dataclass(frozen=True)
class Sending:
    """How to send: rows in a request, requests under way at once, whether a refused row raises, who hears
    of each answer.
    """

    rows_per_request: int = 1000
    in_flight: int = 2
    raise_on_refused: bool = True
    on_answer: Callable[[SendReport], None] | None = None


Ask = Callable[[Request], dict[str, Any]]
"""Sends a request and gives the JSON object of the answer; raises CellError."""


@dataclass(frozen=True)
class RowSender:
    """Sends chunks of rows to one path."""

    ask: Ask
    method: str
    path: str
    sending: Sending

    def send(self, pieces: Iterator[Chunk]) -> SendReport:
        """All chunks; of two rows with the same id the later one arrives later.

        Raises:
            RowsRefusedError, SendInterruptedError; ClientError of the chunks.
        """
        report = SendReport()
        under_way: deque[tuple[frozenset[str], Future[SendReport]]] = deque()
        with ThreadPoolExecutor(self.sending.in_flight, thread_name_prefix="send") as pool:
            try:
                for chunk in pieces:
                    ids = frozenset(row[ID] for row in chunk)
                    while len(under_way) >= 2 * self.sending.in_flight or any(
                        not ids.isdisjoint(others) for others, _ in under_way
                    ):
                        report += self._heard(under_way.popleft()[1])
                    under_way.append((ids, pool.submit(self._chunk, chunk)))
                while under_way:
                    report += self._heard(under_way.popleft()[1])
            except CellError as fault:
                report = _what_else_arrived(report, [future for _, future in under_way])
                raise SendInterruptedError(report, fault) from fault
        if report.refused and self.sending.raise_on_refused:
            raise RowsRefusedError(report)
        return report

    def _heard(self, future: Future[SendReport]) -> SendReport:
        report = future.result()
        if self.sending.on_answer is not None:
            self.sending.on_answer(report)
        return report

    def _chunk(self, chunk: Chunk) -> SendReport:
        request = Request(self.method, self.path, repeatable=True, content=encode(chunk))
        try:
            answer = self.ask(request)
        except CellError as fault:
            if fault.status != 413 or len(chunk) == 1:
                raise
            half = len(chunk) // 2
            return self._chunk(chunk[:half]) + self._chunk(chunk[half:])
        return _report(chunk, answer)


@dataclass
class Labelled:
    """Of chunks of labels, those rows that hold one; counts the others."""

    not_sent: int = 0

    def of(self, pieces: Iterator[Chunk]) -> Iterator[Chunk]:
        """The chunks without the rows that have nothing to send."""
        for chunk in pieces:
            kept = [row for row in chunk if TRUTH in row]
            self.not_sent += len(chunk) - len(kept)
            if kept:
                yield kept


def _what_else_arrived(report: SendReport, under_way: list[Future[SendReport]]) -> SendReport:
    for future in under_way:
        future.cancel()
    for future in under_way:
        if not future.cancelled() and future.exception() is None:
            report += future.result()
    return report


def _report(chunk: Chunk, answer: dict[str, Any]) -> SendReport:
    results = answer.get("results")
    if not isinstance(results, list) or len(results) != len(chunk):
        raise CellError(f"the cell answered for {len(results or [])} rows, {len(chunk)} were sent", 207)
    refused = tuple(
        RefusedRow(str(row[ID]), int(result["status"]), str(result["message"]))
        for row, result in zip(chunk, results, strict=True)
        if int(result["status"]) >= 300
    )
    return SendReport(sent=len(chunk), acknowledged=len(chunk) - len(refused), refused=refused)
