"""Groups, and thresholds for groups, as lines for a person.

What this module must not do: ask for them, compute any number, or print.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

SHOWN = ("selection_rate", "accuracy", "true_positive_rate", "false_positive_rate")
ALL = (*SHOWN, "true_negative_rate", "false_negative_rate", "positive_predictive_value")
_MEANING = {
    "selection_rate": "selected: of all rows of a group, those that reach the threshold",
    "accuracy": "accuracy: of labelled rows, those that were decided rightly",
    "true_positive_rate": "true positive rate: of those that deserved it, those who were selected",
    "false_positive_rate": "false positive rate: of those that did not deserve it, those who were selected",
    "true_negative_rate": "true negative rate: of those that did not deserve it, those who were not selected",
    "false_negative_rate": "false negative rate: of those that deserved it, those who were not selected",
    "positive_predictive_value": "positive predictive value: of those selected, those who deserved it",
}
_CONSTRAINTS = {
    "demographic_parity": "demographic parity: the same share of each group is selected",
    "equal_opportunity": "equal opportunity: of those that deserve it, the same share of each group",
    "equalized_odds": "equalized odds: the same of those that deserve it, and of those that do not",
}
_WIDTH = 20
_NAME = 24


def fairness_lines(answer: Mapping[str, Any], metrics: Sequence[str] = SHOWN) -> list[str]:
    """An answer to `GET …/fairness`: a table with bars for each metric, then the four-fifths rule."""
    where = f"batch {answer['batch_id']}" if "batch_id" in answer else f"{answer['start']} to {answer['end']}"
    lines = [
        f"{answer['attribute']}: {where}",
        f"{answer['rows']} rows, {answer['labelled']} with a label, counted from {answer['source']}",
        f"selected: a score of {answer['threshold']:g} and more",
    ]
    if not answer["groups"]:
        return [*lines, "no row of this window has a score"]
    before = {group["group"]: group for group in (answer["reference"] or {}).get("groups", [])}
    for metric in metrics:
        lines += ["", _MEANING[metric]]
        lines += [_group_line(group, metric, answer["base_group"], before) for group in answer["groups"]]
    return [*lines, "", four_fifths_line(answer["four_fifths"])]


def four_fifths_line(rule: Mapping[str, Any]) -> str:
    """The rule as a sentence."""
    ratio = rule["ratio"]
    if ratio is None:
        return "four-fifths rule: nothing to say, fewer than two groups have enough rows"
    lowest, highest = _shown(rule["lowest"]), _shown(rule["highest"])
    times = f"{ratio['value']:.2f} times as often ({ratio['low']:.2f} to {ratio['high']:.2f})"
    told = f"{lowest} is selected {times} as {highest}"
    verdict = {
        "fails": "fails",
        "holds": "holds",
        "unclear": "unclear, more rows are needed to tell",
    }.get(str(rule["verdict"]), str(rule["verdict"]))
    return f"four-fifths rule: {verdict}; {told}"


def status_of_groups(report: object) -> list[str]:
    """The part `fairness` of a status: a line for each attribute."""
    found = report.get("attributes", []) if isinstance(report, dict) else []
    lines = []
    for one in found:
        told = f"fairness   {one['attribute']}: four-fifths rule {one['fourFifths']}"
        told += "" if one["ratio"] is None else f" (ratio {one['ratio']:.2f})"
        worst = next((gap for gap in one["gaps"] if gap["significant"]), None)
        if worst is not None:
            told += f", {worst['metric'].replace('_', ' ')} {worst['difference']:.3f} apart"
        lines.append(told)
    return lines


def mitigation_lines(answer: Mapping[str, Any]) -> list[str]:
    """An answer to `GET …/bias_mitigation/thresholds`: by attribute and constraint what would change."""
    reference = answer["reference"]
    lines = [
        f"thresholds per group for {answer['score']}, which is {answer['threshold_before']:g} for all now",
        f"from {reference['rows']} rows of the reference {reference['dataset']}",
        f"artefact {answer['artefact_hash'][:12]}, trained {answer['trained_at'][:16]}",
    ]
    for one in answer["recommended"]:
        lines += ["", f"{one['attribute']}, {_CONSTRAINTS.get(one['constraint'], one['constraint'])}"]
        lines += list(_recommended(one))
    return [*lines, "", *_folded(answer["note"])]


def _group_line(group: Mapping[str, Any], metric: str, base: str | None, before: Mapping[str, Any]) -> str:
    name, rate = _shown(group["group"]), group["rates"][metric]
    if rate["value"] is None:
        return f"  {name:{_NAME}} {'too few rows':{_WIDTH}} {rate['withheld']}"
    told = f"  {name:{_NAME}} {_bar(rate['value'])} {_figure(rate)}"
    known = before.get(group["group"], {}).get("rates", {}).get(metric, {}).get("value")
    told += "" if known is None else f", {known:.3f} in the reference"
    if group["group"] == base:
        return f"{told}; compared with"
    difference = group["differences"].get(metric)
    if difference is None:
        return told
    sure = "differs" if difference["significant"] else "may be chance"
    return f"{told}; {difference['value']:+.3f}, {sure}"


def _bar(share: float) -> str:
    full = round(share * _WIDTH)
    return "█" * full + "░" * (_WIDTH - full)


def _shown(name: object) -> str:
    # A group's name may be any text that a row has: nothing of it may steer the terminal.
    text = "".join(char if char.isprintable() else "?" for char in str(name))
    return text if len(text) <= _NAME else f"{text[: _NAME - 1]}…"


def _recommended(one: Mapping[str, Any]) -> Iterator[str]:
    judged = one["judged"]
    changes = {} if judged is None else {group["group"]: group for group in judged["groups"]}
    for group in one["groups"]:
        limit = "nobody" if group["threshold"] > 1 else f"{group['threshold']:.3f}"
        yield f"  {_shown(group['group']):{_NAME}} {limit:>7}{_change(changes.get(group['group']))}"
    for name, why in one["left_out"].items():
        yield f"  {_shown(name):{_NAME}} keeps what it has: it {why}"
    if judged is None:
        yield "  not judged: no labelled row was kept for that"
        return
    yield f"  on {judged['labelled']} labelled rows that were kept for judging:"
    before, after = judged["gap_before"], judged["gap_after"]
    if before is None or after is None:
        yield "    the gap between groups is not known: too few rows"
    else:
        old, new = (one["metric"].replace("_", " ") for one in (before, after))
        then = "" if old == new else f"in {new} "
        yield f"    gap in {old} {_figure(before['difference'])}, then {then}{_figure(after['difference'])}"
    change, old, new = (judged[f"accuracy_{name}"] for name in ("change", "before", "after"))
    sure = f"{change['value']:+.3f} ({change['low']:+.3f} to {change['high']:+.3f})"
    yield f"    accuracy {old['value']:.3f}, then {new['value']:.3f}: {sure}"


def _change(group: Mapping[str, Any] | None) -> str:
    if group is None:
        return ""
    moved = [(group["to_yes"], "from no to yes"), (group["to_no"], "from yes to no")]
    told = [f"{number} of {group['rows']} rows {how}" for number, how in moved if number]
    return f"  {', '.join(told) or 'nothing would change'}"


def _figure(one: Mapping[str, float]) -> str:
    return f"{one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f})"


def _folded(text: str, width: int = 100) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] += f"{' ' if lines[-1] else ''}{word}"
    return lines
