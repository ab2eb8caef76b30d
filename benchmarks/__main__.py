"""`make bench`: measure every item, or those that ONLY names; print the table, keep results and page."""

import argparse
import os
import sys
import time

from rich.console import Console
from rich.table import Table

from benchmarks import report, results
from benchmarks.harness import LONG_SECONDS, Item, Setting
from benchmarks.items import ITEMS, chosen
from benchmarks.results import Circumstances, Kept
from benchmarks.workers import BenchError
from testbed.cache import write_atomically


def main() -> int:
    """The exit code: 0 if every figure was had, whether targets are met or not."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", metavar="NAME[,NAME]", help="only these items, or those that begin so")
    parser.add_argument("--rounds", type=int, help="measured rounds of each side (default: the item's own)")
    parser.add_argument(
        "--try", type=float, metavar="SCALE", dest="scale",
        help="try it with this share of the rows and one round; nothing is kept",
    )  # fmt: skip
    given = parser.parse_args()
    console = Console(highlight=False)
    try:
        items = chosen(given.only)
    except ValueError as error:
        parser.error(str(error))
    failed = False
    for item in items:
        kept = _measured(item, _setting(given, console), console)
        failed = failed or kept is None
        if kept and given.scale is None:
            # After each item: a run that is broken off keeps what it has.
            entries = results.keep(kept, [item.name], [i.name for i in ITEMS])
            write_atomically(report.PAGE, report.page(entries, ITEMS))
        if kept:
            _show([k.result for k in kept], console)
    if given.scale is None:
        console.print(f"written to {results.RESULTS} and {report.PAGE}")
    return 1 if failed else 0


def _setting(given: argparse.Namespace, console: Console) -> Setting:
    def tell(sentence: str) -> None:
        console.print(f"  {time.strftime('%H:%M:%S')}  {sentence}", style="dim")

    if given.scale is not None:
        return Setting(tell, given.scale, given.rounds or 1, max(3.0, 60 * given.scale))
    seconds = LONG_SECONDS if os.environ.get("MODELWARDEN_LONG") == "1" else 60.0
    return Setting(tell, rounds=given.rounds, seconds=seconds)


def _measured(item: Item, setting: Setting, console: Console) -> list[Kept] | None:
    """The edge of a run: what one item lacks must not cost the others' figures."""
    console.print(f"[bold]{item.name}[/]")
    circumstances = Circumstances.now()
    try:
        return [Kept(result, circumstances) for result in item.measure(setting)]
    except BenchError as error:
        console.print(f"[red]{item.name}: {error}[/]")
        return None


def _show(found: list[results.Result], console: Console) -> None:
    table = Table(show_header=True)
    for column in ("name", "peer"):
        table.add_column(column)
    for column in ("ours", "peer's", "ratio", "target"):
        table.add_column(column, justify="right")
    for r in found:
        style = {True: "green", False: "yellow", None: ""}[r.met]
        ratio = "" if r.ratio is None else f"{report.number(r.ratio)}x"
        table.add_row(
            r.name, r.peer_version or "", f"{report.number(r.ours)} {r.unit}",
            "" if r.peer is None else report.number(r.peer), ratio,
            "" if r.target is None else f"{r.bound} {report.number(r.target)}", style=style,
        )  # fmt: skip
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
