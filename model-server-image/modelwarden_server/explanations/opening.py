"""The feed of a cell, put together from its tables. Must not decide anything."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pyarrow as pa

from modelwarden.resources.attributes import OutputType
from modelwarden.resources.cell import CellIdentity
from modelwarden_server.derived.counts import TableCounts
from modelwarden_server.derived.scoring import RowScorer, ScorePace
from modelwarden_server.derived.table import DerivedTable, Uncounted
from modelwarden_server.explanations.feed import Bounds, Feed
from modelwarden_server.explanations.filling import QueuedInputs, chosen_by
from modelwarden_server.explanations.names import inputs_of, outputs_of
from modelwarden_server.explanations.pictures import USUAL_BYTES, image_columns
from modelwarden_server.explanations.space import BITS, REGRESSION_BITS, ImportanceSpace
from modelwarden_server.explanations.table import EXPLANATIONS, queue_schema
from modelwarden_server.explanations.tasks import TaskBoard
from modelwarden_server.schema.compiled import ID
from modelwarden_server.store.delta import AppendTable
from modelwarden_server.store.upkeep import KeepRules

_TEXT: Final = 256
_VALUE: Final = 8


@dataclass(frozen=True)
class Choice:
    """Which rows are to be explained, as the settings say now."""

    turned_on: Callable[[], bool]
    share: Callable[[], float]


@dataclass(frozen=True)
class Surroundings:
    """What a feed is given beside the tables: clocks, retention, and whom it has look again."""

    rules: Callable[[], KeepRules]
    clock: Callable[[], float]
    monotonic: Callable[[], float]
    hurry: Callable[[], None]
    pace: ScorePace = field(default_factory=ScorePace)
    bounds: Bounds = field(default_factory=Bounds)


@dataclass(frozen=True)
class Places:
    """The table of inferences, and where the folder of another table is."""

    inferences: AppendTable
    folder: Callable[[str], Path]


def space_of(identity: CellIdentity) -> ImportanceSpace:
    """What is counted of a model's explanations."""
    bits = REGRESSION_BITS if identity.output_type is OutputType.REGRESSION else BITS
    return ImportanceSpace(inputs_of(identity), outputs_of(identity), bits)


def open_feed(
    places: Places, identity: CellIdentity, choice: Choice, around: Surroundings
) -> tuple[Feed, TableCounts]:
    """The feed of a table of inferences, not started, and the counts of its explanations. Raises
    TableDamagedError, ValueError.
    """
    inputs = inputs_of(identity)
    source, folder = places.inferences, places.folder
    fields = [source.schema.field(name) for name in inputs]
    queue = AppendTable.open(folder("explanation_queue"), queue_schema(fields), frozenset({ID}))
    table = AppendTable.open(folder("explanations"), EXPLANATIONS, frozenset({ID}))
    counts = TableCounts(folder("explanation_counts"), table, space_of(identity), identity.is_batch)
    scorer = RowScorer(
        source,
        queue,
        Uncounted(queue),
        choice.turned_on,
        around.pace,
        rules=around.rules,
        clock=around.clock,
        hurry=around.hurry,
        chosen=chosen_by(choice.share),
    )
    results = DerivedTable(source, table, counts, around.rules, around.clock, around.pace.grace)
    board = TaskBoard(around.monotonic, bytes_a_row(fields, identity), scorer.wake)
    feed = Feed(scorer, results, board, inputs, choice.turned_on, around.bounds)
    scorer.use(QueuedInputs(inputs))
    return feed, counts


def bytes_a_row(inputs: list[pa.Field], identity: CellIdentity) -> int:
    """What a row and its explanation take in memory: values and errors of each output."""
    outputs = len(outputs_of(identity))
    asked = sum(_VALUE if pa.types.is_primitive(field.type) else _TEXT for field in inputs)
    return (
        asked + 2 * _VALUE * len(inputs) * max(outputs, 1) + 256 + USUAL_BYTES * len(image_columns(identity))
    )
