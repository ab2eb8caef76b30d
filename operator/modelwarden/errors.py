"""The five classes of trouble a reconcile can meet, and nothing else.

Each error carries a `reason` (CamelCase, becomes the condition's reason) and a `message` (one sentence for
the user: deterministic, no row values, says what to do next). What happens after an error is decided by its
class alone, in `modelwarden.daemons`; nothing here may know of HTTP, Kubernetes clients or time.
"""


class ReconcileError(Exception):
    """Base: a reason for machines and a message for people."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class InvalidSpec(ReconcileError):  # noqa: N818 - the class is the answer, not an accident
    """What the user asked for cannot be done: Stalled, wait for a new generation."""


class DependencyMissing(ReconcileError):  # noqa: N818 - the class is the answer, not an accident
    """Something this object refers to or needs is not there: wait for it to appear."""


class Transient(ReconcileError):  # noqa: N818 - the class is the answer, not an accident
    """Will pass by itself: retry with exponential back-off, not earlier than `retry_after` seconds."""

    def __init__(self, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(reason, message)
        self.retry_after = retry_after


class Conflict(ReconcileError):  # noqa: N818 - the class is the answer, not an accident
    """Somebody wrote at the same moment: retried at once, never shown in a condition or an event."""

    def __init__(self, message: str) -> None:
        super().__init__("Conflict", message)


class Bug(ReconcileError):  # noqa: N818 - the class is the answer, not an accident
    """Ours to fix: Ready=False with reason InternalError, stack in the log, back-off."""

    def __init__(self, message: str) -> None:
        super().__init__("InternalError", message)
