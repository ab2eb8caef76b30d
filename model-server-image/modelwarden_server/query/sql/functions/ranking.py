"""Scores of ranked lists, per row and then averaged over the rows that have a list and a label.

The label is the list of the relevant items. What the documents leave open:

* precision at k divides by k, also where fewer items were recommended; recall by the relevant items;
* average precision at k divides by the lesser of k and the number of relevant items;
* nDCG has gain 1 for a relevant item and discount log2(place + 1);
* AUC compares the items of the list with each other: pairs of a relevant and another one in the right order;
* a row for which a score would divide by nothing (nothing relevant; for AUC also: nothing but) is left out;
* the reciprocal rank of a list without a relevant item is 0.
"""

from collections.abc import Callable, Mapping
from typing import Final

from modelwarden.resources.attributes import ValueType
from modelwarden_server.query.sql.arguments import Arguments
from modelwarden_server.query.sql.expression import Expression, Kind, aggregated

_MOST = 1000
_ROW = "list_transform({hits}, lambda h, i: {term})"


def _ranked(row: str, *, at_k: bool) -> Callable[[Arguments], Expression]:
    """An average of `row`, a formula over {hits} (1 or 0 a place), {relevant} (how many) and {k}."""

    def function(arguments: Arguments) -> Expression:
        predicted, truth = _lists(arguments)
        k = arguments.bind(arguments.whole("k", 1, _MOST)) if at_k else "NULL"
        items = f"list_transform({predicted.sql}, lambda x: x.item_id)"
        if at_k:
            items = f"list_slice({items}, 1, {k})"
        relevant = f"list_distinct({truth.sql})"
        aggregated("", Kind.NUMBER, predicted, truth)  # refuses aggregates before they get into a column
        hits = arguments.level.beside(
            f"list_transform({items}, lambda x: CAST(list_contains({truth.sql}, x) AS INTEGER))"
        )
        sql = row.replace("{relevant}", f"len({relevant})").replace("{hits}", hits).replace("{k}", k)
        known = f"{predicted.sql} IS NOT NULL AND {truth.sql} IS NOT NULL"
        return aggregated(f"avg(CASE WHEN {known} THEN {sql} END)", Kind.NUMBER, predicted, truth)

    return function


def _lists(arguments: Arguments) -> tuple[Expression, Expression]:
    model = arguments.level.model
    ranked = [a.name for a in model.predictions if a.value_type is ValueType.RANKED_LIST]
    name, predicted = arguments.property(
        "predicted_property", ranked[0] if len(ranked) == 1 else None, {Kind.RANKED}
    )
    linked = model.truth_of(name)
    _, truth = arguments.property(
        "ground_truth_property", None if linked is None else linked.name, {Kind.TEXTS}
    )
    return predicted, truth


def _sum(term: str) -> str:
    """The sum over the places of the list; `h` is 1 for a relevant item, `i` its place from 1."""
    return "coalesce(list_sum(" + _ROW.replace("{term}", term) + "), 0)"


_BEFORE = "list_sum(list_slice({hits}, 1, i))"
_IDEAL = "list_sum(list_transform(range(1, least({k}, {relevant}) + 1), lambda i: 1 / log2(i + 1)))"
_HITS = "coalesce(list_sum({hits}), 0)"
_OTHERS = f"(len({{hits}}) - {_HITS})"
# Each relevant item is above the others that come after it: all others but those before it.
_ABOVE = _sum(f"h * ({_OTHERS} - (i - {_BEFORE}))")

RANKING: Final[Mapping[str, Callable[[Arguments], Expression]]] = {
    "precisionAtK": _ranked(f"{_HITS} / {{k}}", at_k=True),
    "recallAtK": _ranked(f"{_HITS} / nullif({{relevant}}, 0)", at_k=True),
    "mapAtK": _ranked(f"{_sum(f'h * {_BEFORE} / i')} / nullif(least({{k}}, {{relevant}}), 0)", at_k=True),
    "nDCGAtK": _ranked(f"{_sum('h / log2(i + 1)')} / {_IDEAL}", at_k=True),
    "rankedListAUC": _ranked(f"{_ABOVE} / nullif({_HITS} * {_OTHERS}, 0)", at_k=False),
    "meanReciprocalRank": _ranked("coalesce(1 / nullif(list_position({hits}, 1), 0), 0)", at_k=False),
}
