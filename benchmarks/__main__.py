"""`make bench`: measure every case, print the table, keep the JSON."""

import argparse
import tempfile
from pathlib import Path

from rich.console import Console

from benchmarks import append, drift, parse
from benchmarks.harness import keep, measure, show


def main() -> None:
    """Measure what is named on the command line, or everything."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", help="measure only the cases whose name contains this")
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds of each way (default 5)")
    args = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory(prefix="modelwarden-bench-") as folder:
        cases = [*parse.cases(), *append.cases(Path(folder)), *drift.cases()]
        chosen = [case for case in cases if not args.only or args.only in case.name]
        measurements = []
        for case in chosen:
            console.print(f"measuring {case.name} against {case.peer_name} …")
            measurements.append(measure(case, args.rounds))
    show(measurements, console)
    console.print(f"written to {keep(measurements)}")


if __name__ == "__main__":
    main()
