"""CEL rules that keep a model's attributes as they are: what is stored already was read by them.

How they are written is a matter of the API server's budget at 1000 attributes, estimated and real, and of
the time of a write: every write of the status evaluates them too. So: no lookup of each in the old list
(quadratic), no mapping of all categories (over the budget at 30 000), no rule for each field (seconds for a
write), no variable bound to an element and no `orValue` of a list (the estimate loses their sizes).
"""

from modelwarden.resources.schema import Rule

# Compared as they are; absent is a value of its own.
_OPTIONAL = ("position", "minRange", "maxRange", "attributeLink", "tokenAttributeLink", "gtClassLink")
_REQUIRED = ("valueType", "stage")
# Absent is the same as false or empty.
_FLAGS = ("categorical", "monitorForBias", "isUnique", "isPositivePredictedAttribute", "implicit")
_LISTS = ("bins", "categories")

_NEW_MODEL = "make a new model instead"
# CEL has no loop with an index before Kubernetes 1.33, so digits make one.
_DIGITS = "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]"
_INDEX = "100 * h + 10 * t + u"
_NEW, _OLD = f"self[{_INDEX}]", f"oldSelf[{_INDEX}]"


def frozen_attributes() -> tuple[Rule, ...]:
    """The rules of the list of attributes: its names, then everything else but labels and sensitivity."""
    return (
        Rule(
            # Of a model that only serves the list may have been stored empty.
            rule="oldSelf.size() == 0 || self.map(a, a.name) == oldSelf.map(a, a.name)",
            message="attributes cannot be added, removed, renamed or reordered once the model exists: "
            + _NEW_MODEL,
        ),
        Rule(
            rule=_each_is_the_same(),
            message="only labels and sensitivity of an attribute can be changed once the model exists: "
            + _NEW_MODEL,
            message_expression=_first_changed() + " + ' of an attribute cannot be changed once the model"
            f" exists (labels and sensitivity can): {_NEW_MODEL}'",
        ),
    )


def _each_is_the_same() -> str:
    fields = " && ".join(
        (
            *(f"{_NEW}.{field} == {_OLD}.{field}" for field in _REQUIRED),
            *(_same_optional(field) for field in _OPTIONAL),
            *(f"(has({_NEW}.{f}) && {_NEW}.{f}) == (has({_OLD}.{f}) && {_OLD}.{f})" for f in _FLAGS),
            _same_list("bins", ""),
            _same_list("categories", ".map(c, c.value)"),
        )
    )
    return (
        f"self == oldSelf || self.size() != oldSelf.size() || {_DIGITS}.all(h, 100 * h >= self.size()"
        f" || {_DIGITS}.all(t, 100 * h + 10 * t >= self.size()"
        f" || {_DIGITS}.all(u, {_INDEX} >= self.size() || {_NEW} == {_OLD} || ({fields}))))"
    )


def _same_optional(field: str) -> str:
    new, old = f"{_NEW}.{field}", f"{_OLD}.{field}"
    return f"has({new}) == has({old}) && (!has({new}) || {new} == {old})"


def _same_list(field: str, part: str) -> str:
    new, old = f"{_NEW}.{field}", f"{_OLD}.{field}"
    some_new, some_old = f"(has({new}) && {new}.size() > 0)", f"(has({old}) && {old}.size() > 0)"
    return f"{some_new} == {some_old} && (!{some_new} || {new} == {old} || {new}{part} == {old}{part})"


def _first_changed() -> str:
    """The name of the first field that differs somewhere; evaluated only when the rule has failed."""
    chain = ""
    for field in (*_REQUIRED, *_OPTIONAL, *_FLAGS, "bins"):
        value = f"a.?{field}" + (".orValue(false)" if field in _FLAGS else "")
        chain += f"self.map(a, {value}) != oldSelf.map(a, {value}) ? '{field}' : "
    return f"({chain}'the values of categories')"
