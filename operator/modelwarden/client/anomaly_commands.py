"""`modelwarden anomalies`: how many rows are unlike the reference, why, and which.

What this module must not do: import httpx, pyarrow or pandas before the command runs.
"""

import argparse
import json
from typing import Any

from modelwarden.client.telling import left_aligned
from modelwarden.client.windows import WINDOW, add_window, given

ANOMALIES = """\
Says how many of a window's rows lie beyond the reference's 99th percentile of anomaly scores, how many were
to be expected, the p of that, the attributes that made them so, and names the worst rows.

  modelwarden anomalies                                    # the newest window
  modelwarden anomalies --start 2026-03-01T00:00:00Z --end 2026-03-02T00:00:00Z --limit 50
  modelwarden anomalies --batch 2026-03
  modelwarden anomalies --json
"""
EXIT_OK = 0
_COLUMNS = ("partner_inference_id", "inference_timestamp", "score", "percentile", "attributes")


def add_to(added: "argparse._SubParsersAction[argparse.ArgumentParser]", cell: dict[str, Any]) -> None:
    """Add the command to the parser."""
    anomalies = added.add_parser(
        "anomalies", help="how many rows are unlike the reference, and which", description=ANOMALIES, **cell
    )
    add_window(anomalies)
    anomalies.add_argument("--limit", type=int, default=10, metavar="N", help="rows to name (default: 10)")
    anomalies.add_argument("--json", action="store_true", help="all that is known")
    anomalies.set_defaults(run=anomalies_of)


def anomalies_of(parsed: argparse.Namespace) -> int:
    """Ask and print."""
    from modelwarden.client.commands import cell_of

    with cell_of(parsed) as cell:
        found = cell.ask("/anomalies", **given(parsed, (*WINDOW, "limit")))
    print(json.dumps(found, indent=2) if parsed.json else "\n".join(anomaly_lines(found)))
    return EXIT_OK


def anomaly_lines(found: dict[str, Any]) -> list[str]:
    """An answer in lines: the window, the verdict, the attributes, the worst rows."""
    lines = [f"{_where(found)}: {found['scored']} rows scored"]
    if not found["complete"]:
        lines.append("some rows have no score yet: ask again")
    if found["rate"] is not None and found["limit"] is not None:
        lines.append(_verdict(found))
        lines.append(
            f"mean score {found['mean_score']:.3f}, the reference's {found['reference_mean_score']:.3f}"
        )
    if found["attributes"]:
        told = ", ".join(f"{name} ({rows})" for name, rows in list(found["attributes"].items())[:10])
        lines.append(f"because of {told}")
    if found["worst"]:
        lines += ["", *left_aligned([list(_COLUMNS), *map(_row, found["worst"])])]
    return lines


def _where(found: dict[str, Any]) -> str:
    if found["batch_id"]:
        return f"batch {found['batch_id']}"
    return f"{found['start'] or 'the first row'} to {found['end'] or 'the newest row'}"


def _verdict(found: dict[str, Any]) -> str:
    beyond = f"{found['beyond']} ({found['rate']:.2%}) beyond the reference's 99th percentile"
    expected = f"{found['expected_rate']:.2%} expected"
    if found["withheld"]:
        return f"{beyond}, {expected}; no verdict: {found['withheld']}"
    more = "more than the reference explains" if found["raised"] else "nothing unusual"
    return f"{beyond}, {expected}: {more} (p = {found['p_value']:.2g})"


def _row(row: dict[str, Any]) -> list[str]:
    return [
        row["partner_inference_id"],
        row["inference_timestamp"],
        f"{row['anomaly_score']:.3f}",
        f"{row['anomaly_percentile']:.2f}",
        ", ".join(row["attributes"] or ()),
    ]
