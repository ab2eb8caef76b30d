"""LIME for texts: which tokens of a text speak for an output. Must not know what a model does with texts.

As lime's package without bag of words: a token is its place, what is left out is replaced by a word that no
model knows, distances are the cosine's, kernel width 0.25.
"""

import re
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from modelwarden_server.explain.black_box import BlackBox
from modelwarden_server.explain.explanation import Explainer, Floats, Path, Predict, Rows
from modelwarden_server.explain.missing import Bits
from modelwarden_server.explain.parted import Parted, told_parts
from modelwarden_server.explain.perturbed import Perturbation, perturbed, uniform_sizes
from modelwarden_server.explain.tiles import TILE, spans

UNKNOWN: Final = "UNKWORDZ"
MOST_TOKENS: Final = 400
"""Longer texts: neighbours are joined until there are no more parts than this."""
_WIDTH: Final = 0.25
_MOST_CHARACTERS: Final = 32 * 2**20
"""Of texts in one call of predict."""


def text_explainer(box: BlackBox, delimiter: str = r"\W+", samples: int = 2000, place: int = 0) -> Explainer:
    """LIME of rows (n, d) with a text at `place`, split at `delimiter` (a regular expression), each token by
    its position (no bag of words); the other inputs are held, their values are 0.

    values at `place`: the sum of the tokens'; `parts` of a row is the JSON of a list with {"token",
    "position", "explanation_value": [k numbers], "error": [k]} for each token.
    """
    return Parted(box, _Tokens(re.compile(delimiter), delimiter), place, samples)


@dataclass(frozen=True)
class Split:
    """A text as tokens and what stands between: text = gaps[0] + tokens[0] + gaps[1] + … + gaps[n]."""

    tokens: tuple[str, ...]
    gaps: tuple[str, ...]

    def with_only(self, kept: Bits) -> str:
        """The text in which the other tokens are replaced. kept (n,)."""
        words = [token if there else UNKNOWN for token, there in zip(self.tokens, kept.tolist(), strict=True)]
        return self.gaps[0] + "".join(word + gap for word, gap in zip(words, self.gaps[1:], strict=True))


def split(text: str, delimiter: re.Pattern[str], most: int = MOST_TOKENS) -> Split:
    """At most `most` tokens of a text; the separators are kept."""
    tokens: list[str] = []
    gaps, at = [""], 0
    for between in delimiter.finditer(text):
        if between.start() > at:
            tokens.append(text[at : between.start()])
            gaps.append("")
        gaps[-1] += text[max(at, between.start()) : between.end()]
        at = between.end()
    if at < len(text):
        tokens.append(text[at:])
        gaps.append("")
    if len(tokens) <= most:
        return Split(tuple(tokens), tuple(gaps))
    size = -(-len(tokens) // most)
    joined, between_joined = [], [gaps[0]]
    for start in range(0, len(tokens), size):
        end = min(start + size, len(tokens))
        inner = [
            word + gap for word, gap in zip(tokens[start:end], [*gaps[start + 1 : end], ""], strict=True)
        ]
        joined.append("".join(inner))
        between_joined.append(gaps[end])
    return Split(tuple(joined), tuple(between_joined))


@dataclass(frozen=True)
class _Tokens:
    delimiter: re.Pattern[str]
    said: str
    path: Path = "lime-text"
    at_once: int = 256

    @property
    def how(self) -> str:
        """See Parting."""
        return f"tokens between {self.said} were left out by their places, and a linear model fitted"

    def readable(self, value: Any) -> bool:
        """See Parting."""
        return isinstance(value, str)

    def ready(self, value: Any) -> Any:
        """See Parting."""
        if not self.readable(value):
            raise ValueError("the input is no text")
        return value

    def explained(
        self, predict: Predict, row: Rows, place: int, samples: int, random: np.random.Generator
    ) -> tuple[Perturbation | None, Any]:
        """See Parting."""
        text = split(row[place], self.delimiter)
        if not text.tokens:
            return None, []
        names = [{"token": token, "position": at} for at, token in enumerate(text.tokens)]
        most = max(1, min(TILE, _MOST_CHARACTERS // (len(row[place]) + len(UNKNOWN) * len(names))))

        def ask(masks: Bits) -> Floats:
            found = []
            for span in spans(len(masks), most):
                mixed = np.empty((span.stop - span.start, len(row)), dtype=object)
                mixed[:] = row
                mixed[:, place] = [text.with_only(kept) for kept in masks[span]]
                found.append(predict(mixed))
            return np.concatenate(found)

        result = perturbed(uniform_sizes(samples, len(names), random), ask, _WIDTH)
        return result, told_parts(result.fit, names)
