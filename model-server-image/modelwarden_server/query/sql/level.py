"""One SELECT of a statement: from names to pieces, and from pieces to its text.

    SELECT … AS o0_0, … AS o0_1 FROM         -- the values that are asked for
      (SELECT *, … OVER (…) AS w0_0 FROM     -- what needs all rows of a group before they are folded
        (SELECT *, … AS k0_0 FROM … WHERE …))  -- the keys of the groups; which rows
    GROUP BY k0_0 … HAVING … ORDER BY … LIMIT … OFFSET …

The first number is the level's own, counted from the innermost: no name means two things. Must not know
what a function does.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from modelwarden_server.query.request import QueryError
from modelwarden_server.query.sql.arguments import Arguments
from modelwarden_server.query.sql.catalog import Outputs, Scope, found, outputs_of
from modelwarden_server.query.sql.expression import COMPARABLE, Binder, Expression, Kind
from modelwarden_server.query.sql.functions import called
from modelwarden_server.query.sql.functions.transforms import rounded
from modelwarden_server.query.sql.model import QueriedModel
from modelwarden_server.query.sql.request import EVERYTHING, Alias, Call, Item, Operand, Property, Query
from modelwarden_server.query.sql.values import condition_over
from modelwarden_server.schema.compiled import ARRIVAL_TIME, BATCH, EVENT_TIME

ROLLUP = "rollup"
MAX_OUTPUTS = 2000
_MAX_NESTED = 20


@dataclass(frozen=True)
class Selected:
    """What a level comes to: its text and its columns."""

    sql: str
    names: tuple[str, ...]
    expressions: tuple[Expression, ...]
    depth: int

    @property
    def outputs(self) -> Outputs:
        """The columns as the level above sees them."""
        return outputs_of(self.names, self.expressions, f"o{self.depth}_")


@dataclass
class SelectLevel:
    """One level while it is put together. See `arguments.Level` for what functions use."""

    model: QueriedModel
    binder: Binder
    query: Query
    scope: Scope
    depth: int = 0
    grouped: bool = False
    _keys: list[Expression] = field(default_factory=list)
    _key_of: dict[Property | Alias, str] = field(default_factory=dict)
    _windows: list[str] = field(default_factory=list)
    _calls: dict[str, Call | Property] = field(default_factory=dict)
    _open: list[str] = field(default_factory=list)
    _known: dict[str, Expression] = field(default_factory=dict)

    def compiled(self, source: Callable[[str | None], str]) -> Selected:
        """The whole level over `source`, which is asked last: by then it is known what is read.

        It is told which rows are enough, where that can be said before labels are joined.
        """
        items = self._items()
        self._calls = {item.name: item.what for item in items}
        rollup = self._group(items)
        where, having = self._conditions()
        selected = [self._output(item) for item in items]
        names = [item.name for item in items]
        if rollup is not None:
            names, selected = [*names, ROLLUP], [*selected, rollup]
        self._check_names(names)
        self._check_grouping(names, selected)
        order = self._order(names, selected)
        if self._pages(selected) and self.scope.joins_after(where):
            first = (f" WHERE {' AND '.join(where)}" if where else "") + self._bounds()
            sql = self._text(source(first), selected, [], having) + order
        else:
            sql = self._text(source(None), selected, where, having) + order + self._bounds()
        return Selected(sql, tuple(names), tuple(selected), self.depth)

    def expression(self, asked: Operand) -> Expression:
        """See arguments.Level."""
        match asked:
            case Call():
                return self._called(asked)
            case Alias():
                return self._aliased(asked)
            case Property():
                key = self._key(asked)
                return key if key is not None else found(self.scope, asked.name, asked.path)

    def beside(self, sql: str) -> str:
        """See arguments.Level."""
        over = ", ".join(["PARTITION BY 1", *(self._k(place) for place in range(len(self._keys)))])
        text = sql.replace("{over}", over)
        if text not in self._windows:
            self._windows.append(text)
        return f"w{self.depth}_{self._windows.index(text)}"

    def row_order(self) -> str:
        """See arguments.Level."""
        if self.grouped:
            raise QueryError("neighbor: groups have no order: put them into a subquery")
        terms = [
            f"{self._ordered_by(entry.of).sql} {'DESC' if entry.descending else 'ASC'}"
            for entry in self.query.order_by
        ]
        if not terms:
            times = (self.scope.find(name) for name in (ARRIVAL_TIME, EVENT_TIME))
            terms = [time.sql for time in times if time is not None]
        place = self.scope.order()
        if place is not None:
            terms.append(place)
        return f"ORDER BY {', '.join(terms)}" if terms else ""

    def _items(self) -> list[Item]:
        items: list[Item] = []
        for item in self.query.select:
            if item.name == EVERYTHING and isinstance(item.what, Property):
                items += [Item(name, Property(name, item.path), item.path) for name in self.scope.names()]
            else:
                items.append(item)
        if len(items) > MAX_OUTPUTS:
            raise QueryError(f"{self._at('select')}: selects more than {MAX_OUTPUTS} columns")
        return items

    def _group(self, items: list[Item]) -> Expression | None:
        """Number the keys of the groups; the key of the rollup, if there is one."""
        for place, asked in enumerate(self.query.group_by):
            self._add_key(asked, f"{self._at('group_by')}[{place}]")
        rollup = None
        if self.query.rollup is not None:
            rollup = self._rolled_up(self.query.rollup)
        self.grouped = bool(self._keys) or any(self._folds(item) for item in items)
        return rollup

    def _add_key(self, asked: Property | Alias, path: str) -> None:
        key = self._aliased(asked) if isinstance(asked, Alias) else self.expression(asked)
        if key.aggregate or key.windowed:
            raise QueryError(
                f"{path}: {asked.name[:100]} is no value of a single row: group by it in a subquery"
            )
        if key.kind not in COMPARABLE:
            raise QueryError(
                f"{path}: {asked.name[:100]} is {key.kind.value}, by which rows cannot be grouped"
            )
        name = self._k(len(self._keys))
        self._keys.append(key)
        same = Property(asked.name, "") if isinstance(asked, Property) else Alias(asked.name, "")
        self._key_of[same] = name
        what = self._calls.get(asked.name)
        if isinstance(asked, Alias) and isinstance(what, Property):
            self._key_of.setdefault(Property(what.name, ""), name)
        self._known.pop(asked.name, None)

    def _rolled_up(self, rollup: str) -> Expression:
        path = self._at(ROLLUP)
        if rollup == BATCH:
            key = found(self.scope, BATCH, path)
        else:
            key = rounded(found(self.scope, EVENT_TIME, path), rollup)
        name = self._k(len(self._keys))
        self._keys.append(key)
        return Expression(name, key.kind)

    def _folds(self, item: Item) -> bool:
        return isinstance(item.what, Call) and self._aliased(Alias(item.name, item.path)).aggregate

    def _key(self, asked: Property | Alias) -> Expression | None:
        same = Property(asked.name, "") if isinstance(asked, Property) else Alias(asked.name, "")
        name = self._key_of.get(same)
        if name is None:
            return None
        of = self._keys[int(name.rpartition("_")[2])]
        return Expression(name, of.kind, shape=of.shape)

    def _aliased(self, asked: Alias) -> Expression:
        """A selected column by its name, else a column of what is below."""
        key = self._key(asked)
        if key is not None:
            return key
        call = self._calls.get(asked.name)
        if call is None or (isinstance(call, Property) and call.name == asked.name):
            return found(self.scope, asked.name, asked.path)
        if asked.name in self._open:
            raise QueryError(f"{asked.path}: {asked.name[:100]} refers to itself")
        if asked.name not in self._known:
            self._open.append(asked.name)
            self._known[asked.name] = self.expression(call)
            self._open.pop()
        return self._known[asked.name]

    def _called(self, call: Call) -> Expression:
        if len(self._open) > _MAX_NESTED or call.path.count("nested_function") > _MAX_NESTED:
            raise QueryError(f"{call.path}: functions are nested more than {_MAX_NESTED} deep")
        try:
            return called(Arguments(call, self))
        except QueryError as error:
            text = str(error)
            raise error if text.startswith(call.path) else QueryError(f"{call.path}: {text}") from None

    def _output(self, item: Item) -> Expression:
        if isinstance(item.what, Call):
            return self._aliased(Alias(item.name, item.path))
        key = self._key(Alias(item.name, ""))
        return key if key is not None else self.expression(item.what)

    def _conditions(self) -> tuple[list[str], list[str]]:
        where: list[str] = []
        having: list[str] = []
        for asked in self.query.conditions:
            left = self._filtered(asked.of)
            if left.windowed:
                raise QueryError(f"{asked.path}: neighbours cannot be filtered in one step: use a subquery")
            if left.aggregate:
                left = (
                    self._aliased(Alias(asked.of.name, asked.path))
                    if not isinstance(asked.of, Call)
                    else left
                )
            (having if left.aggregate else where).append(condition_over(left, asked, self.binder).sql)
        return where, having

    def _filtered(self, of: Operand) -> Expression:
        """What a condition is about, as a row has it: keys get their names after rows were chosen."""
        kept, self._key_of = self._key_of, {}
        known, self._known = self._known, {}
        try:
            if isinstance(of, Property) and self.scope.find(of.name) is None and of.name in self._calls:
                of = Alias(of.name, of.path)
            return self.expression(of)
        finally:
            self._key_of, self._known = kept, known

    def _check_names(self, names: list[str]) -> None:
        seen: set[str] = set()
        for name in names:
            if name in seen:
                raise QueryError(
                    f"{self._at('select')}: {name[:100]!r} is selected twice: give each an alias of its own"
                )
            seen.add(name)

    def _check_grouping(self, names: list[str], selected: list[Expression]) -> None:
        if not self.grouped:
            return
        for name, one in zip(names, selected, strict=True):
            if one.loose:
                raise QueryError(
                    f"{self._at('select')}: {name[:100]!r} takes {min(one.loose)[:100]!r} from a single row,"
                    " but rows are folded here: add it to group_by, or take an aggregate of it"
                )
            if one.windowed:
                raise QueryError(f"{self._at('select')}: {name[:100]!r} looks at neighbours: use a subquery")

    def _order(self, names: list[str], selected: list[Expression]) -> str:
        terms = []
        for place, entry in enumerate(self.query.order_by):
            name = entry.of.name
            direction = "DESC" if entry.descending else "ASC"
            one = selected[names.index(name)] if name in names else self._ordered_by(entry.of)
            if one.kind not in COMPARABLE | {Kind.NOTHING}:
                raise QueryError(
                    f"{self._at('order_by')}[{place}]: {name[:100]} is {one.kind.value}, without order"
                )
            if self.grouped and one.loose:
                raise QueryError(
                    f"{self._at('order_by')}[{place}]: {name[:100]} is not among the groups' values"
                )
            term = f"o{self.depth}_{names.index(name)}" if name in names else one.sql
            terms.append(f"{term} {direction} NULLS LAST")
        # Groups come in no order of their own, and pages of an answer must fit together.
        keys = [f"{self._k(place)} ASC NULLS LAST" for place in range(len(self._keys))]
        natural = None if self.grouped else self.scope.order()
        terms += keys if natural is None else [natural]
        return f" ORDER BY {', '.join(terms)}" if terms else ""

    def _ordered_by(self, of: Property | Alias) -> Expression:
        if isinstance(of, Property) and (self.scope.find(of.name) is not None or of.name not in self._calls):
            return self.expression(of)
        return self._aliased(Alias(of.name, of.path))

    def _text(self, source: str, selected: list[Expression], where: list[str], having: list[str]) -> str:
        keys = "".join(f", {key.sql} AS {self._k(place)}" for place, key in enumerate(self._keys))
        rows = f"SELECT *{keys} FROM {source}"
        if where:
            rows += f" WHERE {' AND '.join(where)}"
        if self._windows:
            windows = "".join(f", {sql} AS w{self.depth}_{place}" for place, sql in enumerate(self._windows))
            rows = f"SELECT *{windows} FROM ({rows})"
        outputs = ", ".join(f"{one.sql} AS o{self.depth}_{place}" for place, one in enumerate(selected))
        text = f"SELECT {outputs} FROM ({rows})"
        if self._keys:
            text += f" GROUP BY {', '.join(map(self._k, range(len(self._keys))))}"
        if having:
            text += f" HAVING {' AND '.join(having)}"
        return text

    def _pages(self, selected: list[Expression]) -> bool:
        """Whether the first rows that come are the answer."""
        query = self.query
        folded = self.grouped or self._windows or any(one.windowed for one in selected)
        return not folded and not query.order_by and query.limit is not None and query.sample is None

    def _bounds(self) -> str:
        text = ""
        if self.query.limit is not None:
            text += f" LIMIT {self.binder.bind(self.query.limit)}"
        if self.query.offset:
            text += f" OFFSET {self.binder.bind(self.query.offset)}"
        return text

    def _k(self, place: int) -> str:
        return f"k{self.depth}_{place}"

    def _at(self, key: str) -> str:
        return f"{self.query.path}.{key}" if self.query.path else key
