"""`modelwarden why` and `modelwarden importance`: why the model said that, and what matters to it.

What this module must not do: import httpx, pyarrow or pandas before the command runs.
"""

import argparse
import json
from typing import Any

from modelwarden.client.telling import left_aligned
from modelwarden.client.windows import WINDOW, add_window, given

WHY = """\
Says how much each input moved a prediction away from what the model says on average: of a stored inference,
or with --what-if of a row that never was (every input is needed).

  modelwarden why r-17
  modelwarden why r-17 --algorithm lime --samples 5000
  modelwarden why --what-if age=41 income=20.5 state='"MA"'
  modelwarden why r-17 --json
"""
IMPORTANCE = """\
Says which inputs matter most to the model: mean absolute values over the explained rows of a window, and
whether that is the order in which they matter for the reference.

  modelwarden importance                                   # the newest window
  modelwarden importance --start 2026-03-01T00:00:00Z --end 2026-03-02T00:00:00Z
  modelwarden importance --batch 2026-03
"""
EXIT_OK = 0


def add_to(added: "argparse._SubParsersAction[argparse.ArgumentParser]", cell: dict[str, Any]) -> None:
    """Add the commands to the parser."""
    why = added.add_parser("why", help="why the model said that", description=WHY, **cell)
    why.add_argument("id", nargs="?", metavar="ID", help="partner_inference_id of a stored inference")
    why.add_argument("--what-if", nargs="+", metavar="NAME=VALUE", help="inputs, values as JSON or text")
    why.add_argument("--algorithm", choices=("shap", "lime"), help="default: the Enrichment's")
    why.add_argument(
        "--samples",
        dest="n_samples",
        type=int,
        metavar="N",
        help="rows to perturb, another number than usual",
    )
    why.add_argument("--json", action="store_true", help="all that is known")
    why.set_defaults(run=why_of)
    importance = added.add_parser(
        "importance", help="what matters to the model", description=IMPORTANCE, **cell
    )
    add_window(importance)
    importance.add_argument("--json", action="store_true", help="all that is known")
    importance.set_defaults(run=importance_of)


def why_of(parsed: argparse.Namespace) -> int:
    """Ask and print."""
    from modelwarden.client.commands import cell_of
    from modelwarden.client.errors import ClientError

    if (parsed.id is None) == (parsed.what_if is None):
        raise ClientError("name an inference, or a row with --what-if: one of the two")
    params = given(parsed, ("algorithm", "n_samples"))
    with cell_of(parsed) as cell:
        if parsed.what_if is not None:
            found = cell.what_if(inputs_of(parsed.what_if), **params)
        else:
            found = cell.explanation(parsed.id, **params)
    print(json.dumps(found, indent=2) if parsed.json else "\n".join(why_lines(found)))
    return EXIT_OK


def importance_of(parsed: argparse.Namespace) -> int:
    """Ask and print."""
    from modelwarden.client.commands import cell_of

    with cell_of(parsed) as cell:
        found = cell.ask("/explanations/importance", **given(parsed, WINDOW))
    print(json.dumps(found, indent=2) if parsed.json else "\n".join(importance_lines(found)))
    return EXIT_OK


def inputs_of(entries: list[str]) -> dict[str, Any]:
    """Inputs from NAME=VALUE: what is no JSON is a text. Raises ClientError."""
    from modelwarden.client.errors import ClientError

    found: dict[str, Any] = {}
    for entry in entries:
        name, equals, text = entry.partition("=")
        if not equals or not name:
            raise ClientError(f"--what-if takes NAME=VALUE, not {entry[:100]!r}")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found


def why_lines(found: dict[str, Any]) -> list[str]:
    """An explanation in lines: how it was made, then each output's inputs, what moved it most first."""
    lines = [f"by {found['path']}, in units of {found['units']}: {found['why']}"]
    predicted = {one["predicted_attribute_name"]: one["value"] for one in found["prediction"]}
    predicted |= {one["attribute_name"]: one["attribute_value"] for one in found.get("predicted_values", [])}
    expected = {one["predicted_attribute_name"]: one["expected_value"] for one in found["expected_value"]}
    for output in found["explanation"]:
        name = output["predicted_attribute_name"]
        lines += ["", f"{name} = {_number(predicted.get(name))}, on average {_number(expected.get(name))}"]
        scores = sorted(output["importance_scores"], key=_size, reverse=True)
        rows = [[one["attribute_name"], _signed(one["explanation_value"]), _error(one)] for one in scores]
        lines += left_aligned([["input", "value", "± error"], *rows])
    return lines


def importance_lines(found: dict[str, Any]) -> list[str]:
    """What matters in lines: the window, the verdict on its order, each output's inputs."""
    where = f"batch {found['batch_id']}" if found["batch_id"] else f"{found['start']} to {found['end']}"
    lines = [f"{where}: {found['explained']} rows explained, {found['failed']} could not be"]
    if found["agreement"] is not None:
        verdict = "another order than" if found["drifted"] else "the order of"
        lines.append(f"inputs matter in {verdict} the reference (agreement {found['agreement']:.3f})")
    reference = found["reference_importance"] or {}
    for output in found["global_importance"]:
        lines += ["", f"{output['predicted_attribute_name']} ({found['algorithm']}, {found['units']})"]
        rows = [
            [one["attribute_name"], _number(one["importance"]), _number(reference.get(one["attribute_name"]))]
            for one in output["importance"]
        ]
        lines += left_aligned([["input", "mean |value|", "reference"], *rows])
    return lines


def _size(score: dict[str, Any]) -> float:
    value = score["explanation_value"]
    return -1.0 if value is None else abs(float(value))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _signed(value: float | None) -> str:
    return "missing" if value is None else f"{value:+.4g}"


def _error(score: dict[str, Any]) -> str:
    return _number(score["standard_error"]) if "standard_error" in score else "exact"
