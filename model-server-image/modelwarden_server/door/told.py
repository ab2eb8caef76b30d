"""What a client is told of an uploaded file: counts of all rows, the first failures by row and attribute."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_FAILURES = 100


@dataclass
class FileAnswer:
    """Filled while the file is read. `ignored`: columns that are no attributes of the model."""

    total: int = 0
    failed: int = 0
    failures: list[dict[str, Any]] = field(default_factory=list)
    ignored: tuple[str, ...] = ()

    def refuse(self, reasons: Mapping[int, str], status: int | Mapping[int, int]) -> None:
        """Rows of the piece that begins at row `total`, by place in it: why they are refused, and the status
        of all or of each.
        """
        self.failed += len(reasons)
        for place in sorted(reasons):
            if len(self.failures) == MAX_FAILURES:
                return
            number = status if isinstance(status, int) else status[place]
            message = f"row {self.total + place + 1}: {reasons[place]}"
            self.failures.append({"message": message, "status": number})

    def body(self) -> dict[str, Any]:
        """The documented answer. `failures_left_out` is there if not every failure is listed."""
        counts = {"success": self.total - self.failed, "failure": self.failed, "total": self.total}
        answer: dict[str, Any] = {"counts": counts, "failures": self.failures}
        if self.failed > len(self.failures):
            answer["failures_left_out"] = self.failed - len(self.failures)
        if self.ignored:
            answer["ignored_columns"] = list(self.ignored)
        return answer
