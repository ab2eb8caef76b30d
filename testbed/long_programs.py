"""Runs programs that take minutes, showing by the lines they print how far they are."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import SetupError
from testbed.progress import Step


@dataclass(frozen=True)
class Shown:
    """A step whose progress is a program's output: so many lines are expected, in all."""

    step: Step
    expected: int

    def run(
        self,
        command: Sequence[str],
        *,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """The last line the program prints. Raises SetupError with its last words if it fails."""
        lines: list[str] = []
        with subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                self.step.advance(min(len(lines), self.expected), self.expected, line.strip())
        if process.returncode:
            shown = " ".join(word for word in command if not word.startswith("-"))
            raise SetupError(f"`{shown}` failed:\n" + "".join(lines[-15:]))
        return lines[-1].strip() if lines else ""
