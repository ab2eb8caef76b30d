"""How well a model does, as lines for a person.

What this module must not do: ask, compute any number, or print.
"""

from collections.abc import Iterator, Mapping
from typing import Any

_NAME = 22


def performance_lines(answer: Mapping[str, Any]) -> list[str]:
    """An answer to `GET …/performance`: a table for each window, and for each group of it."""
    head = f"{answer['task']} model, counted from {answer['source']}"
    if answer["threshold"] is not None:
        head += f", positive from {answer['threshold']:g}"
    lines = [head]
    if not answer["query_result"]:
        return [*lines, "no row of this window is there"]
    for window in answer["query_result"]:
        lines += ["", _title(answer, window), *_table(window)]
        for group in window.get("groups", ()):
            lines += ["", f"{answer['attribute']} = {group['group']}: {_rows(group)}", *_table(group)]
    return lines


def _title(answer: Mapping[str, Any], window: Mapping[str, Any]) -> str:
    if "batch_id" in window:
        where = f"batch {window['batch_id']}"
    else:
        where = " to ".join(str(window[end]) for end in ("start", "end") if window.get(end)) or "all rows"
    who = f", segment {answer['segment']}" if answer["segment"] else ""
    return f"{where}{who}: {_rows(window)}"


def _rows(told: Mapping[str, Any]) -> str:
    if not told["rows"]:
        return "no rows"
    if told["coverage"] is None:
        return f"{told['rows']} rows"
    share = f"{100 * told['coverage']:.0f} %"
    late = ", provisional" if told["provisional"] else ""
    return f"{told['rows']} rows, {told['labelled']} with a label ({share}{late})"


def _table(told: Mapping[str, Any]) -> Iterator[str]:
    estimated = (told.get("estimated") or {}).get("metrics", {})
    yield f"  {'':{_NAME}}{'value':>8}  {'95 %':^17}  {'reference':>9}  {'n':>8}  estimate"
    for name, metric in told["metrics"].items():
        guess = estimated.get(name, {})
        yield (
            f"  {name.replace('_', ' '):{_NAME}}{_number(metric['value']):>8}  {_interval(metric):^17}"
            f"  {_number(metric.get('baseline')):>9}  {metric['n']:>8}  {_estimate(guess)}"
            f"{metric.get('withheld') or ''}"
        ).rstrip()
    withheld = (told.get("estimated") or {}).get("withheld")
    if withheld:
        yield f"  no estimate: {withheld}"


def _estimate(metric: Mapping[str, Any]) -> str:
    if metric.get("value") is None:
        return ""
    return f"{_number(metric['value'])} ({_interval(metric)})  "


def _interval(metric: Mapping[str, Any]) -> str:
    if metric.get("lower") is None or metric.get("upper") is None:
        return ""
    return f"{_number(metric['lower'])} to {_number(metric['upper'])}"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.4g}"
