"""The command `performance`: how it is spelled, and what it does.

What this module must not do: import httpx, pyarrow or pandas before it runs; compute anything.
"""

import argparse
import json
from typing import Any

from modelwarden.client.performance_telling import performance_lines
from modelwarden.client.windows import WINDOW, add_window, given

EXIT_OK, EXIT_WORSE = 0, 2

PERFORMANCE = """\
Tells how well a model does by the labels that are there: each metric with its 95 % interval, the reference's
value, the number of labelled rows behind it, and what is estimated where labels are missing. `provisional`
means that labels may still come.

  modelwarden performance
  modelwarden performance --start 2026-03-01T00:00:00Z --end 2026-04-01T00:00:00Z --rollup day
  modelwarden performance --attribute sex --threshold 0.37
  modelwarden performance --filter '[{"property": "state", "comparator": "eq", "value": "CA"}]'
  modelwarden performance --check        # exit with 2 if the verdict of the status is that it got worse
"""
_ASKED = (*WINDOW, "rollup", "threshold", "class", "attribute", "segment", "filter", "k")


def add_to(added: "argparse._SubParsersAction[argparse.ArgumentParser]", cell: dict[str, Any]) -> None:
    """Add the command to the parser."""
    found = added.add_parser(
        "performance",
        help="how well the model does, by labels and estimated",
        description=PERFORMANCE,
        **cell,
    )
    add_window(found)
    found.add_argument(
        "--rollup", choices=("hour", "day", "month", "year", "batch_id"), help="a line a period"
    )
    found.add_argument("--threshold", metavar="NUMBER", help="default: the model's own")
    found.add_argument("--class", metavar="ATTRIBUTE", help="one class against the rest")
    found.add_argument("--attribute", metavar="ATTRIBUTE", help="its groups beside everybody")
    found.add_argument("--segment", metavar="NAME", help="a declared segment")
    found.add_argument("--filter", metavar="JSON", help="only some rows, as in a query")
    found.add_argument("--k", metavar="NUMBER", help="of ranked lists: places that count (default 10)")
    found.add_argument("--json", action="store_true", help="the whole answer")
    found.add_argument("--check", action="store_true", help="exit with 2 if the model got worse")
    found.set_defaults(run=performance)


def performance(parsed: argparse.Namespace) -> int:
    """Metrics of windows, groups and segments."""
    from modelwarden.client.commands import cell_of

    with cell_of(parsed) as cell:
        answer = cell.ask("/performance", **given(parsed, _ASKED))
        verdict = cell.status().get("performance") if parsed.check else None
    print(json.dumps(answer, indent=2) if parsed.json else "\n".join(performance_lines(answer)))
    if verdict is None:
        return EXIT_OK
    print(verdict["reason"])
    return EXIT_WORSE if verdict["worse"] else EXIT_OK
