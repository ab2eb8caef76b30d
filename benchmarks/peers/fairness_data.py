"""The rows that both sides judge for fairness: a score, a label and one of six groups. numpy only."""

import numpy as np

ROWS = 1_000_000
GROUPS = ("a", "b", "c", "d", "e", "f")
SHARES = (0.35, 0.25, 0.2, 0.1, 0.07, 0.03)
THRESHOLD = 0.5
RATES = (
    "selection_rate", "accuracy", "true_positive_rate", "true_negative_rate", "false_positive_rate",
    "false_negative_rate",
)  # fmt: skip
WORST = (
    "demographic_parity_difference", "demographic_parity_ratio", "equal_opportunity_difference",
    "equalized_odds_difference", "equalized_odds_ratio",
)  # fmt: skip


def rows(scale: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, labels and groups, the same at every call."""
    number = max(1000, round(ROWS * scale))
    rng = np.random.default_rng(7)
    place = rng.choice(len(GROUPS), number, p=SHARES)
    label = (rng.random(number) < 0.3 + 0.02 * place).astype(np.int64)
    score = np.clip(rng.normal(0.35 + 0.25 * label - 0.02 * place, 0.15), 0, 1)
    return score, label, np.array(GROUPS, dtype=object)[place]


def figures(rates: dict[str, dict[str, float]], worst: dict[str, float]) -> dict[str, float]:
    """Every number of a round by a name, for comparing sides: `rates` by metric and group."""
    found = {f"{metric}_{group}": rates[metric][group] for metric in RATES for group in GROUPS}
    return found | {name: worst[name] for name in WORST}
