"""The commands `fairness` and `mitigation`: how they are spelled, and what they do.

What this module must not do: import httpx, pyarrow or pandas before a command runs; compute anything.
"""

import argparse
import json
from collections.abc import Sequence
from typing import Any

from modelwarden.client.fair_telling import ALL, SHOWN, fairness_lines, mitigation_lines
from modelwarden.client.windows import WINDOW, add_window, given

EXIT_OK, EXIT_UNFAIR = 0, 2

FAIRNESS = """\
Compares how a model treats the groups of an attribute: of each group the share that is selected, and of
those with a label how often the model is right, with 95 % intervals. `differs` means more than chance; `too
few rows` that a number would mislead. For an attribute without monitorForBias rows are read.

  modelwarden fairness sex
  modelwarden fairness sex --base m --start 2026-03-01T00:00:00Z --end 2026-04-01T00:00:00Z
  modelwarden fairness age --filter '[{"property": "state", "value": "CA"}]'
"""
MITIGATION = """\
Shows a threshold for each group under which the model would treat groups alike, and what that would change,
on rows that were not used to find it. Needs an Enrichment of the type BiasMitigation. Nothing is applied.

  modelwarden mitigation
  modelwarden mitigation sex --constraint equal_opportunity --json > thresholds.json
"""


def add_to(added: "argparse._SubParsersAction[argparse.ArgumentParser]", cell: dict[str, Any]) -> None:
    """Add both commands to the parser."""
    found = added.add_parser(
        "fairness",
        help="how differently the groups of an attribute are treated",
        description=FAIRNESS,
        **cell,
    )
    found.add_argument(
        "attribute", nargs="?", metavar="ATTRIBUTE", help="default: the only one with monitorForBias"
    )
    found.add_argument(
        "--base",
        dest="base_group",
        metavar="GROUP",
        help="compare with this group (default: the largest)",
    )
    add_window(found)
    found.add_argument("--threshold", metavar="NUMBER", help="default: the model's own")
    found.add_argument("--filter", metavar="JSON", help="only some rows, as in a query")
    found.add_argument("--all", action="store_true", help="all seven rates")
    found.add_argument("--json", action="store_true", help="the whole answer")
    found.add_argument("--check", action="store_true", help="exit with 2 if the four-fifths rule fails")
    found.set_defaults(run=fairness)

    found = added.add_parser(
        "mitigation", help="thresholds that would treat groups alike", description=MITIGATION, **cell
    )
    found.add_argument("attribute", nargs="?", metavar="ATTRIBUTE", help="default: all that were trained")
    found.add_argument(
        "--constraint",
        choices=("demographic_parity", "equal_opportunity", "equalized_odds"),
        help="default: all",
    )
    found.add_argument("--json", action="store_true", help="the whole answer, to be kept")
    found.set_defaults(run=mitigation)


def fairness(parsed: argparse.Namespace) -> int:
    """The groups of an attribute."""
    answer = _asked(parsed, "/fairness", ("attribute", "base_group", *WINDOW, "threshold", "filter"))
    if parsed.json:
        print(json.dumps(answer, indent=2))
    else:
        print("\n".join(fairness_lines(answer, ALL if parsed.all else SHOWN)))
    fails = answer["four_fifths"]["verdict"] == "fails"
    return EXIT_UNFAIR if parsed.check and fails else EXIT_OK


def mitigation(parsed: argparse.Namespace) -> int:
    """Thresholds per group, and what they would change."""
    answer = _asked(parsed, "/enrichments/bias_mitigation/thresholds", ("attribute", "constraint"))
    print(json.dumps(answer, indent=2) if parsed.json else "\n".join(mitigation_lines(answer)))
    return EXIT_OK


def _asked(parsed: argparse.Namespace, path: str, names: Sequence[str]) -> dict[str, Any]:
    from modelwarden.client.commands import cell_of

    with cell_of(parsed) as cell:
        return cell.ask(path, **given(parsed, names))
