"""The functions that a query may call, by their documented names."""

from collections.abc import Callable, Mapping
from typing import Final

from modelwarden_server.query.request import QueryError
from modelwarden_server.query.sql.arguments import Arguments
from modelwarden_server.query.sql.expression import Expression
from modelwarden_server.query.sql.functions.aggregates import AGGREGATES
from modelwarden_server.query.sql.functions.classification import CLASSIFICATION
from modelwarden_server.query.sql.functions.distributions import DISTRIBUTIONS
from modelwarden_server.query.sql.functions.importance import IMPORTANCE
from modelwarden_server.query.sql.functions.lists import LISTS
from modelwarden_server.query.sql.functions.ranking import RANKING
from modelwarden_server.query.sql.functions.regression import REGRESSION
from modelwarden_server.query.sql.functions.transforms import TRANSFORMS

Function = Callable[[Arguments], Expression]
FUNCTIONS: Final[Mapping[str, Function]] = {
    **AGGREGATES,
    **DISTRIBUTIONS,
    **TRANSFORMS,
    **LISTS,
    **REGRESSION,
    **CLASSIFICATION,
    **RANKING,
    **IMPORTANCE,
}
LATER: Final = frozenset({"meanAveragePrecision"})


def called(arguments: Arguments) -> Expression:
    """The piece that a call comes to. Raises QueryError."""
    function = FUNCTIONS.get(arguments.function)
    if function is None:
        known = "is not supported by this version" if arguments.function in LATER else "is not known"
        raise QueryError(f"{arguments.path}: the function {arguments.function[:100]!r} {known}")
    expression = function(arguments)
    arguments.finish()
    return expression
