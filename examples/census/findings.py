"""What the demo tells at its end of how the model does, each in a line that a person understands: who is
unlike the people it knows, how right it is and was thought to be, whom it treats differently, where it fails,
what matters to it and why it said what it said of one person.

What this module must not do: ask anybody anything, or compute a number; it is given the cell's answers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Answer = Mapping[str, Any]
MOST_NAMED = 3
MOST_LABELS = 0.95


@dataclass(frozen=True)
class Names:
    """What attributes and their codes are called by people."""

    attributes: Mapping[str, str]
    codes: Mapping[str, Mapping[str, str]]

    def attribute(self, name: str) -> str:
        """AGEP is Age in years."""
        return self.attributes.get(name, name)

    def group(self, attribute: str, code: str) -> str:
        """SEX 2 is Female."""
        return self.codes.get(attribute, {}).get(code, code)


@dataclass(frozen=True)
class Reasons:
    """What was explained: what matters by month, and one person with the reasons for what was said."""

    importance: Mapping[str, Answer]
    """The first month, and the one with the strangest people."""
    person: Answer
    why: Answer
    explained: int
    """Rows that have an explanation."""


@dataclass(frozen=True)
class Findings:
    """What the cell answered: anomalies by month, performance by month, groups by attribute, regions where
    the model is worse.
    """

    anomalies: Mapping[str, Answer]
    """By month, 2016-01 first."""
    performance: Sequence[Answer]
    """A window a month, the first one first."""
    fairness: Sequence[Answer]
    hotspots: Answer
    reasons: Reasons | None = None


def labelled_month(performance: Sequence[Answer]) -> Answer:
    """The newest month that has most of its labels."""
    return next(one for one in reversed(performance) if one["coverage"] > MOST_LABELS)


def lines(found: Findings, names: Names) -> list[str]:
    """All of it, a line each."""
    month = _month(labelled_month(found.performance))
    return [
        anomaly_line(found.anomalies),
        label_line(found.performance),
        estimate_line(found.performance),
        *(group_line(one, month, names) for one in found.fairness),
        slice_line(found.hotspots, names),
        *([] if found.reasons is None else reason_lines(found.reasons, names)),
    ]


def strangest_month(by_month: Mapping[str, Answer]) -> str:
    """The month with the largest share of people who are unlike those of the reference."""
    return max(by_month, key=lambda month: (by_month[month]["rate"], month))


def reason_lines(found: Reasons, names: Names) -> list[str]:
    """What matters globally, then and when it collapsed, and why for one person."""
    by_month = "; ".join(_importance(month, one, names) for month, one in found.importance.items())
    told = f"What matters ({found.explained:,} people explained; mean change of the log-odds): {by_month}."
    return [told, why_line(found, names)]


def _importance(month: str, answer: Answer, names: Names) -> str:
    if not answer["global_importance"]:
        return f"{month}: nobody is explained"
    ranked = answer["global_importance"][0]["importance"][:MOST_NAMED]
    named = ", ".join(f"{names.attribute(one['attribute_name'])} {one['importance']:.2f}" for one in ranked)
    agreed = answer["agreement"]
    beside = "" if agreed is None else f" (agrees with the reference: {agreed:.2f} of 1)"
    return f"{month}: {named}{beside}"


def why_line(found: Reasons, names: Names) -> str:
    """Why the model said that of the strangest person of all, the strongest reasons first."""
    explanation = found.why["explanation"][0]
    said = found.person[explanation["predicted_attribute_name"]]
    ranked = sorted(explanation["importance_scores"], key=lambda one: -abs(one["explanation_value"]))
    reasons = ", ".join(
        f"{names.attribute(name)} {names.group(name, str(found.person[name]))} {value:+.2f}"
        for name, value in ((o["attribute_name"], o["explanation_value"]) for o in ranked[:MOST_NAMED])
    )
    expected = found.why["expected_value"][0]["expected_value"]
    return (
        f"Why it said {said:.0%} of the strangest person: {reasons}; from {expected:+.2f} for anybody, "
        f"in log-odds ({found.why['path']}: exact)."
    )


def anomaly_line(by_month: Mapping[str, Answer]) -> str:
    """How many people are unlike those of the reference, and when there were far more than usual."""
    expected = next(iter(by_month.values()))["expected_rate"]
    raised = {month: one for month, one in by_month.items() if one["raised"]}
    calm = [one["rate"] for month, one in by_month.items() if month not in raised]
    told = f"Unlike the people it knows (as one in a hundred of them is): {expected:.1%} are to be expected"
    if not raised:
        return f"{told}; at most {max(calm):.1%} were in any month."
    worst = sorted(raised, key=lambda month: -raised[month]["rate"])[:MOST_NAMED]
    named = ", ".join(f"{raised[month]['rate']:.1%} in {month}" for month in worst)
    more = f" and {len(raised) - len(worst)} months more" if len(raised) > len(worst) else ""
    others = f", at most {max(calm):.1%} in the others" if calm else ""
    return f"{told}; there were {named}{more}{others}."


def label_line(performance: Sequence[Answer]) -> str:
    """How right it really was, in the months whose labels have come."""
    known = [one for one in performance if one["metrics"]["auc"]["value"] is not None]
    if not known:
        return "How right it was: no label has come yet."
    worst, best = min(known, key=_auc), max(known, key=_auc)
    covered = sum(one["labelled"] for one in performance) / sum(one["rows"] for one in performance)
    baseline = worst["metrics"]["auc"].get("baseline")
    beside = "" if baseline is None else f"; {baseline:.3f} in the reference"
    return (
        f"How right it was, by labels (AUC{beside}): from {_auc(worst):.3f} in {_month(worst)} to "
        f"{_auc(best):.3f} in {_month(best)}; {covered:.0%} of people have a label by now."
    )


def estimate_line(performance: Sequence[Answer]) -> str:
    """How right it is thought to be in the newest month, and what was thought of the worst month."""
    newest = performance[-1]
    told = "How right it is thought to be, without labels (AUC): "
    known = [one for one in performance if one["metrics"]["auc"]["value"] is not None]
    told += f"{_estimated(newest)} in {_month(newest)}, of whom {newest['coverage']:.0%} have a label"
    if not known:
        return told + "."
    worst = min(known, key=_auc)
    return f"{told}; {_estimated(worst)} in {_month(worst)}, where labels say {_auc(worst):.3f}."


def _estimated(window: Answer) -> str:
    estimated = window["estimated"] or {"withheld": "there is no estimate"}
    if estimated.get("withheld"):
        return f"no trusted estimate ({estimated['withheld']})"
    auc = estimated["metrics"]["auc"]
    return f"{auc['value']:.3f} ({auc['lower']:.3f} to {auc['upper']:.3f})"


def _auc(window: Answer) -> float:
    value: float = window["metrics"]["auc"]["value"]
    return value


def _month(window: Answer) -> str:
    return str(window["start"])[:7]


def group_line(answer: Answer, month: str, names: Names) -> str:
    """Of the people with a job, how many the model finds: the group for whom it does best, and worst."""
    attribute = answer["attribute"]
    spread = answer["spread"].get("true_positive_rate") or {}
    rates = {one["group"]: one["rates"]["true_positive_rate"] for one in answer["groups"]}
    low, high = spread.get("lowest"), spread.get("highest")
    label = names.attribute(attribute)
    if low is None or high is None:
        return f"Groups by {label}: too few labels in {month} to compare them."
    sure = "more than chance" if spread["significant"] else "which may be chance"
    return (
        f"Groups by {label} ({month}): of people with a job it finds "
        f"{rates[low]['value']:.0%} of {names.group(attribute, low)} and "
        f"{rates[high]['value']:.0%} of {names.group(attribute, high)}, {sure}; "
        f"four-fifths rule on who is said to have one: {answer['four_fifths']['verdict']}."
    )


def slice_line(answer: Answer, names: Names) -> str:
    """The people for whom the model is worst."""
    where = f"{answer['window_start'][:10]} to {answer['window_end'][:10]}"
    if not answer["data"]:
        return f"Worst slice ({where}): none in which it is right of fewer than {answer['threshold']:.0%}."
    worst = answer["data"][0]
    many = "the only such slice" if len(answer["data"]) == 1 else f"{len(answer['data'])} such slices"
    meant = ", ".join(
        f"{name}: {label}" for name, label in names.attributes.items() if name in worst["rule"].split()
    )
    return (
        f"Worst slice ({where}): where {worst['rule']}{f' ({meant})' if meant else ''} it is right of "
        f"{worst['value']:.0%} of people, of {worst['rest']['value']:.0%} of all others "
        f"({worst['rows']:,} people; {many})."
    )
