"""When a request is tried again, how long it waits, and what it says in the end."""

from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelwarden.client.errors import CellError
from modelwarden.client.wire import Clock, Patience, Request, Wire

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
ROWS = Request("POST", "/rows", repeatable=True, content=b"[]")
FILES = Request("POST", "/files", repeatable=False, content=b"PAR1")


class Time:
    """A clock that moves only when somebody sleeps."""

    def __init__(self, jitter: float = 1.0) -> None:
        self.slept: list[float] = []
        self.clock = Clock(
            now=lambda: sum(self.slept), sleep=self.slept.append, jitter=lambda: jitter, wall=lambda: NOON
        )


Step = Callable[[httpx.Request], httpx.Response]


def answers(status: int, **more: object) -> Step:
    return lambda _: httpx.Response(status, **more)  # type: ignore[arg-type]


def breaks(kind: type[httpx.TransportError]) -> Step:
    def step(request: httpx.Request) -> httpx.Response:
        raise kind("broken", request=request)

    return step


def wire(time: Time, *steps: Step, patience: Patience | None = None) -> tuple[Wire, list[httpx.Request]]:
    """A wire whose n-th request meets the n-th step; the last step answers for ever."""
    asked: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return steps[min(len(asked), len(steps)) - 1](request)

    http = httpx.Client(base_url="http://cell", transport=httpx.MockTransport(handle))
    return Wire(http, patience or Patience(), time.clock), asked


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_cell_is_asked_again_after_the_time_it_names(status: int) -> None:
    time = Time()
    line, asked = wire(time, answers(status, headers={"Retry-After": "7"}), answers(207))
    assert line.ask(ROWS).status_code == 207
    assert time.slept == [7.0]
    assert [request.content for request in asked] == [b"[]", b"[]"]


def test_a_busy_cell_may_name_a_date() -> None:
    time = Time()
    line, _ = wire(time, answers(503, headers={"Retry-After": "Sat, 21 Nov 2026 12:00:30 GMT"}), answers(207))
    line.ask(ROWS)
    assert time.slept == [30.0]


@pytest.mark.parametrize("value", ["soon", "-3", ""])
def test_a_retry_after_that_means_nothing_falls_back_to_our_own_pauses(value: str) -> None:
    time = Time()
    line, _ = wire(time, answers(503, headers={"Retry-After": value}), answers(207))
    line.ask(ROWS)
    assert time.slept == [Patience().first_pause]


def test_pauses_double_up_to_the_longest() -> None:
    time = Time()
    patience = Patience(total_seconds=60, first_pause=1, longest_pause=5)
    line, _ = wire(time, *[answers(503)] * 6, answers(207), patience=patience)
    line.ask(ROWS)
    assert time.slept == [1, 2, 4, 5, 5, 5]


@given(jitter=st.floats(0, 1, exclude_max=True), tries=st.integers(1, 40))
def test_every_pause_is_between_half_and_all_of_its_length(jitter: float, tries: int) -> None:
    time = Time(jitter)
    patience = Patience(total_seconds=1e9, first_pause=0.5, longest_pause=8)
    line, _ = wire(time, *[answers(429)] * tries, answers(207), patience=patience)
    line.ask(ROWS)
    for number, pause in enumerate(time.slept):
        longest = min(8, 0.5 * 2**number)
        assert longest / 2 <= pause <= longest


def test_patience_ends_and_the_error_is_the_cells_own() -> None:
    time = Time()
    line, asked = wire(
        time,
        answers(503, json={"error": "the disk is full"}),
        patience=Patience(total_seconds=10, first_pause=1),
    )
    with pytest.raises(CellError, match="the disk is full") as raised:
        line.ask(ROWS)
    assert raised.value.status == 503
    assert sum(time.slept) <= 10
    assert len(asked) > 2


def test_a_cell_that_asks_for_more_time_than_there_is_is_not_waited_for() -> None:
    time = Time()
    line, asked = wire(time, answers(503, headers={"Retry-After": "3600"}))
    with pytest.raises(CellError):
        line.ask(ROWS)
    assert (time.slept, len(asked)) == ([], 1)


@pytest.mark.parametrize("status", [400, 401, 404, 409, 413, 500])
def test_an_answer_that_will_not_change_is_not_asked_for_again(status: int) -> None:
    time = Time()
    line, asked = wire(time, answers(status, json={"error": "no"}))
    with pytest.raises(CellError) as raised:
        line.ask(ROWS)
    assert (raised.value.status, len(asked)) == (status, 1)


@pytest.mark.parametrize(
    "step", [breaks(httpx.ReadError), breaks(httpx.ReadTimeout), answers(502), answers(504)]
)
def test_rows_with_ids_are_sent_again_when_nobody_knows_whether_they_arrived(step: Step) -> None:
    line, asked = wire(Time(), step, answers(207))
    assert line.ask(ROWS).status_code == 207
    assert len(asked) == 2


@pytest.mark.parametrize(
    "step", [breaks(httpx.ReadError), breaks(httpx.ReadTimeout), answers(502), answers(504)]
)
def test_reference_rows_are_never_sent_twice(step: Step) -> None:
    line, asked = wire(Time(), step, answers(207))
    with pytest.raises(CellError):
        line.ask(FILES)
    assert len(asked) == 1


@pytest.mark.parametrize("step", [breaks(httpx.ConnectError), breaks(httpx.ConnectTimeout), answers(503)])
def test_reference_rows_that_certainly_did_not_arrive_are_sent_again(step: Step) -> None:
    line, asked = wire(Time(), step, answers(207))
    assert line.ask(FILES).status_code == 207
    assert len(asked) == 2


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"error": 3}', b""])
def test_an_error_without_a_reason_is_still_told_with_its_status(body: bytes) -> None:
    line, _ = wire(Time(), answers(400, content=body))
    with pytest.raises(CellError, match="400"):
        line.ask(ROWS)
