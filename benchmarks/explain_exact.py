"""Explanations of models that can be read: ours from their arrays, shap's KernelExplainer as it comes, and
shap's own exact ways.
"""

from dataclasses import replace

from benchmarks.environments import python_of
from benchmarks.harness import ROUNDS_OF_SLOW_PEERS, Item, Race, Setting, race
from benchmarks.results import Result
from benchmarks.workers import PEERS, BenchError, Threads, Worker, ours

_CLOSE = 1e-7
_MODELS = {
    "linear": ("a logistic regression, in the margin", 50),
    "gbc": ("gradient boosting, 100 trees of depth 3, in probability", 100),
    "rf": ("a forest, 100 trees of depth 10, in probability", 15),
}


def _measured(setting: Setting) -> list[Result]:
    python = str(python_of("shap", setting.tell))

    def peer(name: str, way: str) -> Worker:
        script = str(PEERS / "explain_exact_shap.py")
        return Worker([python, script, str(setting.scale), name, way], Threads.one())

    found = []
    for name, (what, target) in _MODELS.items():
        setting.tell(what)
        mine = ours("explain_exact", setting.scale, name)
        usual = ROUNDS_OF_SLOW_PEERS
        kernel = race(mine, peer(name, "kernel"), setting, "explanations", usual)
        exact = race(mine, peer(name, "exact"), setting, "explanations", usual)
        _check(exact)
        found.append(kernel.rate(f"explain-exact-{name}", f"SHAP values of {what}", "explanations", target))
        own = exact.rate(f"explain-exact-{name}-own", "the same; the peer's own exact way", "explanations", 1)
        found.append(replace(own, target=None, bound=None))
    return found


def _check(result: Race) -> None:
    """Raise BenchError unless both sides say the same values."""
    mine, theirs = result.ours[-1].more, result.peer[-1].more
    worst = max(abs(value - theirs[name]) for name, value in mine.items())
    if worst > _CLOSE:
        raise BenchError(f"the sides disagree by {worst:.2g}")


ITEM = Item(
    "explain-exact",
    how=(
        "models of 30 inputs trained on 5000 rows, 50 background rows. The peer is KernelExplainer as it"
        " comes, with 2000 samples; of the linear model it is given the margin, so that both say the same."
        " Ours reads the fitted model as arrays, verifies it against predict beforehand, and explains 100"
        " rows a request, for which each row is given to predict twice: to be encoded, and to be compared."
        " That ours equal LinearExplainer's and TreeExplainer's (interventional, in probability) to 1e-7 is"
        " checked for ten rows in the run; `-own` is the race against these, which ask no predict."
    ),
    measure=_measured,
    limits=(
        "of a linear model: predict. Of a forest: finding the leaves that some background row does not rule"
        " out, and adding up what each player of them gets."
    ),
)
