"""Performance of ranked lists, tokens and several labels where sums do not hold it: a filter, odd times, k
beyond what is counted. Rows are read, by the functions of the query API. Must not know HTTP.

Of ranked lists precision, recall, MAP and nDCG at k, and MRR; of tokens the mean likelihood of the likeliest
token, its stability (the mean of each row's standard deviation) and the length of the sequence; of several
labels the rates of each. Values have no interval.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from modelwarden.resources.attributes import OutputType, ValueType
from modelwarden_server.query.performance.question import PerformanceQuestion
from modelwarden_server.query.request import QueryError
from modelwarden_server.query.scan import Deadline
from modelwarden_server.query.sql.answer import Page, QuerySources, answered
from modelwarden_server.query.sql.engine import Engine
from modelwarden_server.query.sql.model import QueriedModel
from modelwarden_server.query.sql.request import parse_query
from modelwarden_server.schema.compiled import BATCH, EVENT_TIME

Item = dict[str, Any]
Told = dict[str, Any]
_MOST_LABELS: Final = 20
_AT_K: Final = {"precision": "precisionAtK", "recall": "recallAtK", "map": "mapAtK", "ndcg": "nDCGAtK"}
_RATES: Final = {
    "accuracy": "accuracyRate",
    "precision": "precision",
    "recall": "recall",
    "f1": "f1",
    "auc": "auc",
}
KINDS: Final = frozenset({OutputType.RANKED_LIST, OutputType.TOKEN_SEQUENCE, OutputType.MULTILABEL})


@dataclass(frozen=True)
class RowsAsked:
    """A question and the rows that tell its answer."""

    question: PerformanceQuestion
    output_type: OutputType
    sources: QuerySources
    deadline: Deadline
    engine: Engine


def answered_by_query(asked: RowsAsked) -> Told:
    """The answer as plain JSON. Raises QueryError, QueryTooLargeError, OSError."""
    question, model = asked.question, asked.sources.model
    if question.attribute is not None or question.segment is not None:
        raise QueryError(
            "attribute, segment: only sums tell these of such a model, for whole slices and a counted k and"
            " threshold: ask for those, or use filter"
        )
    metrics = list(_metrics(asked.output_type, question, model))
    if not metrics:
        raise QueryError("this model has no prediction that a metric could be computed of")
    truths = [truth.name for truth in model.truths if not truth.implicit]
    items = [*metrics, {"function": "count", "alias": "rows"}]
    if truths:
        known = {"property": truths[0], "comparator": "NotNull"}
        items.append({"function": "countIf", "parameters": known, "alias": "labelled"})
    body: dict[str, Any] = {"select": items, "filter": list(_conditions(question))}
    by_batch = question.rollup == "batch_id"
    if by_batch:
        body["select"].append({"property": BATCH})
        body["group_by"] = [{"property": BATCH}]
    elif question.rollup is not None:
        body["rollup"] = question.rollup
    query = parse_query(msgspec.json.encode(body))
    found = msgspec.json.decode(answered(query, Page(), asked.sources, asked.deadline, asked.engine))
    return {
        "task": asked.output_type.value.lower(),
        "classes": [a.name for a in model.predictions if not a.implicit],
        "class": question.class_,
        "threshold": None,
        "segment": None,
        "attribute": None,
        "k": question.k if asked.output_type is OutputType.RANKED_LIST else None,
        "source": "rows",
        "query_result": [
            _window(row, question, [m["alias"] for m in metrics]) for row in found["query_result"]
        ],
    }


def _metrics(kind: OutputType, question: PerformanceQuestion, model: QueriedModel) -> Iterator[Item]:
    declared = [a for a in model.predictions if not a.implicit]
    if kind is OutputType.RANKED_LIST:
        for name, function in _AT_K.items():
            yield {"function": function, "alias": f"{name}_at_{question.k}", "parameters": {"k": question.k}}
        yield {"function": "meanReciprocalRank", "alias": "mrr"}
    elif kind is OutputType.TOKEN_SEQUENCE:
        named = {kind: a.name for a in reversed(declared) for kind in [a.value_type]}
        yield from _of_tokens(named)
    else:
        chosen = [a.name for a in declared if question.class_ in (None, a.name)][:_MOST_LABELS]
        if not chosen:
            raise QueryError("class: must be one of the predicted attributes")
        for label in chosen:
            for name, function in _RATES.items():
                more = {} if question.threshold is None else {"threshold": question.threshold}
                parameters = {"predicted_property": label} | more
                yield {"function": function, "alias": f"{name}[{label}]", "parameters": parameters}


def _of_tokens(named: Mapping[ValueType, str]) -> Iterator[Item]:
    """Of the first attribute with likelihoods; without one, of the first with tokens."""
    likelihoods, tokens = named.get(ValueType.TOKEN_LIKELIHOODS), named.get(ValueType.TOKENS)
    if likelihoods is not None:
        each = {"mean_likelihood": "arrayAvg", "likelihood_deviation": "arrayStdDev"}
        for alias, function in each.items():
            yield _mean(alias, function, f"{likelihoods}_likelihoods")
        yield _mean("sequence_length", "arrayLength", f"{likelihoods}_likelihoods")
    elif tokens is not None:
        yield _mean("sequence_length", "arrayLength", tokens)


def _mean(alias: str, function: str, of: str) -> Item:
    nested = {"function": function, "parameters": {"property": of}}
    return {"function": "avg", "alias": alias, "parameters": {"property": {"nested_function": nested}}}


def _conditions(question: PerformanceQuestion) -> Iterator[Item]:
    for condition in question.filter:
        yield {"property": condition.property, "comparator": condition.comparator, "value": condition.value}
    for comparator, at in (("gte", question.start), ("lt", question.end)):
        if at is not None:
            text = at.isoformat().replace("+00:00", "Z")
            yield {"property": EVENT_TIME, "comparator": comparator, "value": text}
    if question.batch is not None:
        yield {"property": BATCH, "comparator": "eq", "value": question.batch}


def _window(row: Mapping[str, Any], question: PerformanceQuestion, names: list[str]) -> Told:
    rows, labelled = int(row["rows"]), row.get("labelled")
    told: Told
    if question.rollup == "batch_id" or question.batch is not None:
        told = {"batch_id": question.batch or row.get(BATCH)}
    elif question.rollup is not None:
        told = {"start": row["rollup"]}
    else:
        ends = {"start": question.start, "end": question.end}
        told = {
            name: None if at is None else at.isoformat().replace("+00:00", "Z") for name, at in ends.items()
        }
    return told | {
        "rows": rows,
        "labelled": labelled,
        "coverage": labelled / rows if rows and labelled is not None else None,
        "provisional": labelled is not None and labelled < rows,
        "metrics": {
            name: {
                "value": row[name],
                "lower": None,
                "upper": None,
                "n": rows if labelled is None else labelled,
            }
            for name in names
        },
        "estimated": None,
    }
