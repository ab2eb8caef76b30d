"""`modelwarden hotspots`: where the model is worse than elsewhere, a rule a line.

What this module must not do: import httpx, pyarrow or pandas before the command runs.
"""

import argparse
import json
from typing import Any

from modelwarden.client.telling import left_aligned

HOTSPOTS = """\
Lists regions where the model is worse than elsewhere, the one that costs the most first: the rule, the rows
that were measured and their share, the metric there with its 95 % interval and of all other rows, the
adjusted p, and in how many windows it was seen. They were found on one half of a window's rows and measured
on the other.

  modelwarden hotspots                          # the newest window or batch, where it is worse than the rest
  modelwarden hotspots --threshold 0.7          # where accuracy is under 0.7
  modelwarden hotspots --metric recall --batch 2026-03
  modelwarden hotspots --json | jq '.[0].filter'   # the conditions of a query for the rows of the worst
"""
EXIT_OK = 0
_COLUMNS = ("rule", "n", "share", "value", "interval", "rest", "p", "windows")


def add_to(added: "argparse._SubParsersAction[argparse.ArgumentParser]", cell: dict[str, Any]) -> None:
    """Add the command to the parser."""
    hotspots = added.add_parser(
        "hotspots", help="where the model is worse than elsewhere", description=HOTSPOTS, **cell
    )
    hotspots.add_argument("--metric", help="default: accuracy; of a regression absolute_error")
    hotspots.add_argument("--threshold", type=float, metavar="N", help="default: worse than all other rows")
    where = hotspots.add_mutually_exclusive_group()
    where.add_argument("--batch", metavar="ID", help="of this batch")
    where.add_argument("--date", metavar="DAY", help="of the newest window with this day, like 2026-03-31")
    where.add_argument("--reference", metavar="NAME", help="of this reference dataset")
    hotspots.add_argument("--json", action="store_true", help="all that is known of each")
    hotspots.set_defaults(run=hotspots_of)


def hotspots_of(parsed: argparse.Namespace) -> int:
    """Ask and print."""
    params = {
        "metric": parsed.metric,
        "threshold": "rest" if parsed.threshold is None else str(parsed.threshold),
        "batch_id": parsed.batch,
        "date": parsed.date,
        "ref_set_id": parsed.reference,
    }
    from modelwarden.client.commands import cell_of

    with cell_of(parsed) as cell:
        found = cell.ask("/enrichments/hotspots/find", **{k: v for k, v in params.items() if v is not None})
    if parsed.json:
        print(json.dumps(found["data"], indent=2))
    else:
        print("\n".join(hotspot_lines(found)))
    return EXIT_OK


def hotspot_lines(found: dict[str, Any]) -> list[str]:
    """An answer as a table below a line that says of what."""
    where = (
        f"batch {found['batch_id']}"
        if found["batch_id"]
        else found["ref_set_id"] or (f"{found['window_start']} to {found['window_end']}")
    )
    overall = "" if found["overall"] is None else f", {found['metric']} {found['overall']:.3f}"
    lines = [f"{where}: {found['rows']} rows, {found['labelled']} of {found['searched']} labelled{overall}"]
    if found["note"]:
        return [*lines, f"not searched: {found['note']}"]
    if not found["data"]:
        return [*lines, "no region is worse for certain"]
    rows = [_row(node) for node in found["data"]]
    return [*lines, *left_aligned([list(_COLUMNS), *rows])]


def _row(node: dict[str, Any]) -> list[str]:
    low, high = node["interval"]
    return [
        node["rule"],
        str(node["n"]),
        f"{node['share']:.1%}",
        f"{node['value']:.3f}",
        f"{low:.3f} to {high:.3f}",
        f"{node['rest']['value']:.3f}",
        f"{node['p_adjusted']:.1g}",
        str(node["windows"]),
    ]
