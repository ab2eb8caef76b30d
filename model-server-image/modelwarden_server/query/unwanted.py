"""Ids to be forgotten by a thread that alone may touch its index: others ask here, and wait until it has.

    unwanted.ask(keys, wake)     # maintenance, from `Store.on_forget`
    unwanted.attend(drop)        # the index's own thread, between two other things it does

Must not know what is kept by id.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from modelwarden_server.schema.digest import Words

SECONDS = 30.0


class Unwanted:
    """The queue between the two. Its capacity is not bounded: one request is worked on at a time."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._asked: deque[tuple[Words, Future[None]]] = deque()

    def ask(self, keys: Words, wake: Callable[[], None]) -> None:
        """Return when the keys are dropped. Raises what dropping raised, or OSError after some time without
        an answer; then it is to be asked again.
        """
        done: Future[None] = Future()
        self._asked.append((keys, done))
        wake()
        try:
            done.result(self._seconds)
        except TimeoutError:
            done.cancel()
            raise OSError("an index by id is busy: ids cannot be forgotten there yet") from None

    def attend(self, drop: Callable[[Words], None]) -> None:
        """Drop what was asked for. Who asked hears what failed; nothing is raised here."""
        while self._asked:
            keys, done = self._asked.popleft()
            if not done.set_running_or_notify_cancel():
                continue
            try:
                drop(keys)
            except Exception as error:  # noqa: BLE001 - the thread's edge: it is told to who asked
                done.set_exception(error)
            else:
                done.set_result(None)
