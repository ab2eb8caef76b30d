"""Explanations of models that are only asked: how many of their rows ours take at the error of shap's
KernelExplainer, how large the error is beside shapiq's best, and LIME beside lime's package.
"""

import statistics
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from benchmarks.environments import python_of
from benchmarks.harness import ROUNDS_OF_SLOW_PEERS, Item, Race, Setting, race, repeat
from benchmarks.ours.explain_black_box import kernel
from benchmarks.peers.explain_black_box_data import fitted, truth, values_of
from benchmarks.results import Bound, Result
from benchmarks.workers import PEERS, BenchError, Threads, Turn, Worker, ours

_MODELS = {
    "gbc": ("gradient boosting, 100 trees of depth 3", 0.25),
    "rf": ("a forest, 100 trees of depth 10", 0.125),
    "mlp": ("a network of 64 and 32 units, 100 rows", 0.25),
}
_LIME = {"linear": "a logistic regression", "gbc": _MODELS["gbc"][0], "rf": _MODELS["rf"][0]}
_LADDER = (80, 100, 120, 160, 200, 250, 300, 400, 500, 700, 1000, 1400, 2000)
_PASSES = {"gbc": 300, "rf": 200, "mlp": 100}
_COALITIONS = 500
_WAYS = ("KernelSHAP", "KernelSHAP-paired", "kADDSHAP-paired", "PermutationSamplingSV")

Values = npt.NDArray[np.float64]
Peer = Callable[..., Worker]


def _measured(setting: Setting) -> list[Result]:
    found = []
    for name in _MODELS:
        found += _shap(name, setting)
    for name in _LIME:
        found.append(_lime(name, setting))
    return found


def _peer(package: str, setting: Setting) -> Peer:
    python = str(python_of(package, setting.tell))
    script = str(PEERS / f"explain_black_box_{package}.py")

    def peer(*variant: str) -> Worker:
        return Worker([python, script, str(setting.scale), *variant], Threads.one())

    return peer


def _shap(name: str, setting: Setting) -> list[Result]:
    what, target = _MODELS[name]
    setting.tell(f"{what}: what is true of its rows")
    predict, _, background, rows = fitted(name, setting.scale)
    true = truth(predict, background, rows, setting.scaled(_PASSES[name], 20))
    theirs = repeat(_peer("shap", setting)(name), replace(setting, rounds=1))[0]
    bound = _error(theirs, true)
    ids = [str(n) for n in range(len(rows))]
    samples = None
    for samples in _LADDER:
        told = kernel(predict, background, samples).explain(rows, ids)
        error = float(np.abs(told.values[:, 1] - true).mean())
        setting.tell(f"{samples} coalitions: error {error:.2g}, the peer's {bound:.2g}")
        if error <= bound:
            break
    else:
        raise BenchError(f"{name}: no number of coalitions brings the peer's error of {bound:.2g}")
    sides = (
        ours("explain_black_box", setting.scale, name, "kernel", str(samples)),
        _peer("shap", setting)(name),
    )
    result = race(*sides, setting, "explanations", ROUNDS_OF_SLOW_PEERS, warm=False)
    said = f"{what}: error {error:.2g} with {samples} coalitions, the peer's {bound:.2g} with 2000"
    rate = result.rate(f"explain-black-box-{name}", said, "explanations", 1)
    share = result.share(
        f"explain-black-box-{name}-rows", "the same: rows that predict is given", "rows", "rows", target
    )
    return [share, replace(rate, target=None, bound=None), _shapiq(name, setting, true)]


def _shapiq(name: str, setting: Setting, true: Values) -> Result:
    """Errors at the same number of coalitions."""
    mine = repeat(ours("explain_black_box", setting.scale, name, "kernel", str(_COALITIONS)), setting, 1)[0]
    peer, errors, version = _peer("shapiq", setting), {}, ""
    for way in _WAYS:
        side = peer(name, way, str(_COALITIONS))
        theirs = repeat(side, setting, 1)[0]
        errors[way], version = _error(theirs, true), side.version
        setting.tell(f"{way}: error {errors[way]:.2g} with {theirs.more['rows']:.0f} rows")
    best = min(errors, key=lambda way: errors[way])
    own = _error(mine, true)
    return Result(
        f"explain-black-box-{name}-shapiq",
        f"{_MODELS[name][0]}: error with {_COALITIONS} coalitions; the peer's best is {best}",
        "mean error", own, errors[best], version, own / errors[best], 1.0, Bound.RATIO_AT_MOST,
    )  # fmt: skip


def _lime(name: str, setting: Setting) -> Result:
    setting.tell(f"LIME of {_LIME[name]}")
    sides = ours("explain_black_box", setting.scale, name, "lime"), _peer("lime", setting)(name)
    result = race(*sides, setting, "explanations", ROUNDS_OF_SLOW_PEERS)
    _check(result)
    return result.rate(f"explain-black-box-lime-{name}", f"LIME of {_LIME[name]}", "explanations", 10)


def _check(result: Race) -> None:
    """Raise BenchError unless both sides mean the same: their values differ as chance has it."""
    mine, theirs = result.ours[-1].more, result.peer[-1].more
    apart = float(np.abs(values_of(mine) - values_of(theirs)).mean())
    if apart > 3 * mine["se"]:
        raise BenchError(f"the sides are {apart:.2g} apart, with standard errors of {mine['se']:.2g}")


def _error(turn: Turn, true: Values) -> float:
    return float(statistics.mean(np.abs(values_of(turn.more) - true).ravel()))


ITEM = Item(
    "explain-black-box",
    how=(
        "models of 30 inputs trained on 5000 rows, 50 background rows; both sides may only ask predict. The"
        " peer is KernelExplainer as it comes, with 2000 samples. What is true of each row is found by"
        " permutations (no side's estimator). Ours gets as many coalitions as it takes to be no further from"
        " that than the peer: `-rows` are the rows that predict was given then, the other figure the time."
        " `-shapiq` is the mean error of both with 500 coalitions, the peer's best of four estimators. LIME:"
        " not discretised, 5000 samples, all inputs; ours is asked for ten rows a request and draws one"
        " sample for 20 requests; that both mean the same is checked in the run against the standard errors."
    ),
    measure=_measured,
    limits="of LIME: adding up the products of 5000 rows' columns for each row that is explained.",
)
