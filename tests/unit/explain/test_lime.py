"""LIME of tables, texts and images: against scikit-learn's ridge on rows drawn here, and by hand."""

import io
import json
import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from sklearn.linear_model import Ridge

from modelwarden_server.explain.background import Background
from modelwarden_server.explain.black_box import BlackBox
from modelwarden_server.explain.choose import Subject, choose
from modelwarden_server.explain.explanation import Explanations
from modelwarden_server.explain.image import image_explainer
from modelwarden_server.explain.lime import lime_explainer
from modelwarden_server.explain.sample_space import Table
from modelwarden_server.explain.segments import segments
from modelwarden_server.explain.stability import agreement
from modelwarden_server.explain.text import UNKNOWN, split, text_explainer

Floats = npt.NDArray[np.float64]
Cells = npt.NDArray[Any]


def box(model: Any, rows: Cells, seed: int = 0) -> BlackBox:
    return BlackBox(
        model, Background(rows, np.full(len(rows), 1 / len(rows)), "some"), "probability", "asked", seed
    )


def curved(x: Cells) -> Floats:
    p = 1 / (1 + np.exp(-(x[:, 0] - 0.1 * x[:, 1] ** 2 + 0.02 * x[:, 2])))
    return np.stack([p, 1 - p], axis=1).astype(np.float64)


def by_scikit_learn(model: Any, reference: Floats, row: Floats, seed: int, number: int = 40_000) -> Floats:
    """The same local model as documented, from a sample of its own for this row."""
    z = np.random.default_rng(seed).normal(size=(number, len(row)))
    mean, scale = reference.mean(axis=0), reference.std(axis=0)
    distance = ((z - (row - mean) / scale) ** 2).sum(axis=1)
    weights = np.sqrt(np.exp(-distance / (0.75**2 * len(row))))
    return np.asarray(Ridge(alpha=1).fit(z, model(mean + scale * z), sample_weight=weights).coef_)


def test_values_are_those_of_a_ridge_on_another_sample_within_their_errors() -> None:
    rng = np.random.default_rng(1)
    reference = rng.normal(3, [1, 2, 9, 1], (500, 4))
    rows = reference[:6]
    told = lime_explainer(box(curved, reference[:20]), Table(reference), 6000).explain(rows, list("abcdef"))
    assert told.errors is not None
    for n, row in enumerate(rows):
        apart = np.abs(told.values[n] - by_scikit_learn(curved, reference, row, seed=n))
        assert (apart <= 4 * told.errors[n] + 1e-3).all()
    assert told.errors.mean() < 0.1 * np.abs(told.values).mean()
    assert np.allclose(told.values[:, 0], -told.values[:, 1], atol=1e-5)


def test_a_linear_model_has_its_slopes_in_standard_deviations() -> None:
    rng = np.random.default_rng(2)
    reference = rng.normal(0, [1.0, 5.0, 0.1], (300, 3))
    told = lime_explainer(
        box(lambda x: (x @ [2.0, 1.0, 0.0])[:, None], reference[:9]), Table(reference)
    ).explain(reference[:2], ["a", "b"])
    deviations = reference.std(axis=0)
    assert np.allclose(told.values[:, 0], [2 * deviations[0], deviations[1], 0], rtol=0.01, atol=0.01)
    assert told.fit is not None
    assert (told.fit > 0.999).all()
    assert told.stability is not None
    assert (told.stability == 1).all()


def test_outputs_that_are_large_and_vary_little_lose_nothing() -> None:
    rng = np.random.default_rng(8)
    reference = rng.normal(size=(300, 3))

    def model(x: Cells) -> Floats:
        return np.asarray((1e9 + x[:, :1]).astype(np.float64))

    told = lime_explainer(box(model, reference[:9]), Table(reference)).explain(reference[:2], ["a", "b"])
    assert np.allclose(told.values[:, 0], [reference[:, 0].std(), 0, 0], atol=0.01)
    assert told.fit is not None
    assert (told.fit > 0.999).all()


def colours(x: Cells) -> Floats:
    red = np.array([value == "red" for value in x[:, 0]], dtype=np.float64)
    return (0.5 * red + 0.1 * x[:, 1].astype(np.float64))[:, None]


def test_a_category_has_the_effect_of_having_the_rows_own() -> None:
    rng = np.random.default_rng(3)
    reference = np.empty((400, 2), dtype=object)
    reference[:, 0] = rng.choice(["red", "blue", "green"], 400).tolist()
    reference[:, 1] = rng.normal(0, 1, 400).tolist()
    rows = np.array([["red", 0.0], ["blue", 0.0], ["never seen", 0.0], [None, 0.3]], dtype=object)
    told = lime_explainer(box(colours, reference[:5]), Table(reference)).explain(rows, list("abcd"))
    assert told.values[0, 0] == pytest.approx([0.5, 0.1], abs=0.02)
    assert told.values[1, 0, 0] == pytest.approx(-0.25, abs=0.05)
    assert np.isfinite(told.values[2]).all()
    assert np.isnan(told.values[3, 0, 0])
    assert told.values[3, 0, 1] == pytest.approx(0.1, abs=0.05)


def test_numbers_that_are_categories_by_declaration_are_drawn_as_they_come() -> None:
    seen: set[float] = set()

    def model(x: Cells) -> Floats:
        seen.update(x[:, 0].tolist())
        return np.asarray((x[:, 0] == 7).astype(np.float64)[:, None])

    reference = np.array([[3.0, 0.5], [7.0, 0.1], [7.0, 0.9], [3.0, 0.2]])
    told = lime_explainer(box(model, reference), Table(reference, (0,))).explain(reference[1:2], ["a"])
    assert seen == {3.0, 7.0}
    assert told.values[0, 0, 0] == pytest.approx(1, abs=0.01)


def test_the_model_is_asked_for_the_sample_once_and_then_for_the_rows_alone() -> None:
    asked = []

    def model(x: Cells) -> Floats:
        asked.append(len(x))
        return curved(x)

    reference = np.random.default_rng(4).normal(size=(50, 3))
    explainer = lime_explainer(box(model, reference[:10]), Table(reference), 600)
    first = explainer.explain(reference[:2], ["a", "b"])
    assert sum(asked) == 600 + 2 + 10
    asked.clear()
    again = explainer.explain(reference[:2], ["a", "b"])
    assert asked == [2]
    assert np.array_equal(first.values, again.values)
    assert first.model_rows.sum() == 602
    assert again.model_rows.sum() == 2


def test_unlike_seeds_agree_on_what_matters_and_not_on_noise() -> None:
    assert agreement(np.array([[9.0, 8, 1, 0], [8, 9, 0, 1], [9, 9, 1, 1]]), top=2) == 1
    assert agreement(np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]), top=1) == 0
    rng = np.random.default_rng(5)
    reference = rng.normal(size=(200, 12))
    noise = lime_explainer(box(lambda x: np.sin(1e6 * x[:, :1]), reference[:5]), Table(reference), 600)
    told = noise.explain(reference[:5], list("abcde"))
    assert told.stability is not None
    assert told.stability.mean() < 0.9


@pytest.mark.parametrize(
    ("delimiter", "text", "tokens"),
    [
        (r"\W+", "So, it works!", ("So", "it", "works")),
        (r"\s+", "  So, it\nworks!", ("So,", "it", "works!")),
        (",", "a,b,,c", ("a", "b", "c")),
        (",+", ",,a,b,,c", ("a", "b", "c")),
        (r"\|", "x|y|", ("x", "y")),
        (r"\W+", "  ", ()),
        (r"\W+", "", ()),
    ],
)
def test_a_text_is_cut_at_its_delimiter_and_can_be_put_together(
    delimiter: str, text: str, tokens: tuple[str, ...]
) -> None:
    cut = split(text, re.compile(delimiter))
    assert cut.tokens == tokens
    assert cut.with_only(np.ones(len(tokens), dtype=np.bool_)) == text
    if tokens:
        gone = cut.with_only(np.zeros(len(tokens), dtype=np.bool_))
        assert gone.count(UNKNOWN) == len(tokens)


def test_long_texts_are_explained_in_as_many_parts_as_there_may_be() -> None:
    text = " ".join(f"w{n}" for n in range(1003)) + "."
    cut = split(text, re.compile(r"\W+"), most=100)
    assert len(cut.tokens) <= 100
    assert cut.with_only(np.ones(len(cut.tokens), dtype=np.bool_)) == text


def moods(x: Cells) -> Floats:
    score = [0.5 + 0.3 * ("good" in text.split()) - 0.4 * ("bad" in text.split()) for text in x[:, 0]]
    return np.array([[p, 1 - p] for p in score])


def explained_texts(*texts: str | None, delimiter: str = r"\s+") -> Explanations:
    rows = np.array([[text] for text in texts], dtype=object)
    reference = np.array([["good day"], ["a bad day"]], dtype=object)
    return text_explainer(box(moods, reference), delimiter, 1000).explain(
        rows, [str(n) for n in range(len(rows))]
    )


def test_tokens_have_what_they_do_to_each_output() -> None:
    told = explained_texts("a good film with a bad end", None, "")
    assert told.path == "lime-text"
    assert told.parts is not None
    tokens = json.loads(told.parts[0] or "")
    assert [(one["token"], one["position"]) for one in tokens][:3] == [("a", 0), ("good", 1), ("film", 2)]
    values = np.array([one["explanation_value"] for one in tokens])
    by_hand = np.zeros(7)
    by_hand[[1, 5]] = [0.3, -0.4]
    assert np.allclose(values[:, 0], by_hand, atol=0.03)
    assert np.allclose(values.sum(axis=0), told.values[0, :, 0])
    assert told.parts[1] is None
    assert np.isnan(told.values[1]).all()
    assert told.parts[2] == "[]"
    assert (told.values[2] == 0).all()
    assert told.expected == pytest.approx([0.45, 0.55])


def test_a_text_has_the_same_values_for_the_same_id() -> None:
    first, second = explained_texts("good old times", "x"), explained_texts("good old times")
    assert np.array_equal(first.values[0], second.values[0])


def texture(x: Cells) -> Floats:
    """How rough the upper left quarter is: nothing is left of that in a segment of one colour."""
    found = []
    for image in x[:, 0]:
        height, width = image.shape[:2]
        quarter = image[: height // 2, : width // 2].astype(np.float64)
        found.append([float(np.abs(np.diff(quarter, axis=1)).mean()) / 100])
    return np.array(found)


def picture() -> npt.NDArray[np.uint8]:
    rng = np.random.default_rng(6)
    image = rng.integers(0, 100, (64, 48, 3)).astype(np.uint8)
    image[:20, :16] = 250 - image[:20, :16] // 2
    return image


def rows_of(*cells: Any) -> Cells:
    rows = np.empty((len(cells), 1), dtype=object)
    for n, cell in enumerate(cells):
        rows[n, 0] = cell
    return rows


def test_segments_follow_colours_and_cover_the_image() -> None:
    image = picture()
    mask = segments(image, 40)
    assert mask.shape == (64, 48)
    assert 20 <= mask.max() + 1 <= 60
    bright, dark = set(mask[:20, :16].ravel()), set(mask[24:, 20:].ravel())
    assert not bright & dark
    assert segments(np.zeros((1, 1)), 40).tolist() == [[0]]


def test_the_segments_that_matter_are_those_that_the_model_looks_at() -> None:
    file = io.BytesIO()
    Image.fromarray(picture()).save(file, "PNG")
    rows = rows_of(picture(), file.getvalue())
    black = rows_of(np.zeros((64, 48, 3), np.uint8))
    told = image_explainer(box(texture, black), 1000).explain(rows, ["a", "a"])
    assert told.path == "lime-image"
    assert told.parts is not None
    assert told.parts[0] == told.parts[1]
    parts = json.loads(told.parts[0] or "")
    assert (parts["width"], parts["height"]) == (48, 64)
    mask = np.repeat(*np.array(parts["mask"]).T).reshape(64, 48)
    values = np.array([one["explanation_value"][0] for one in parts["regions"]])
    looked_at = np.zeros(mask.shape, dtype=np.bool_)
    looked_at[:32, :24] = True
    inside = [n for n in range(len(values)) if looked_at[mask == n].all()]
    outside = [n for n in range(len(values)) if not looked_at[mask == n].any()]
    assert inside
    assert values[inside].min() > 3 * np.abs(values[outside]).max()
    assert told.values[0, 0, 0] == pytest.approx(values.sum())


def test_images_are_read_by_the_users_own_reader_and_may_be_of_several_sizes() -> None:
    shapes = set()

    def model(x: Cells) -> Floats:
        shapes.update(np.stack(list(x[:, 0])).shape[1:])  # as a stack of one size
        return np.array([[float(image.mean())] for image in x[:, 0]])

    def load(content: bytes) -> Floats:
        return np.full((len(content), 6), 0.5)

    named = rows_of("8f3a.png")
    explainer = image_explainer(box(model, named), 200, load=load)
    told = explainer.explain(rows_of(b"four", b"sixsix", None), ["a", "b", "c"])
    assert shapes == {4, 6}
    assert told.predictions[:2, 0] == pytest.approx(0.5)
    assert np.isnan(told.values[2]).all()
    # The background has names and no images.
    assert told.expected.tolist() == [0.0]
    assert "not known" in told.why


@pytest.mark.parametrize("cell", [b"no image", "name.png", np.zeros(3), 4.5])
def test_what_is_no_image_is_refused(cell: Any) -> None:
    explainer = image_explainer(box(texture, rows_of(picture())), 200)
    with pytest.raises(ValueError, match="no image"):
        explainer.explain(rows_of(cell), ["a"])


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(ValueError, match="no text"):
        text_explainer(box(moods, rows_of("a"))).explain(rows_of(4.0), ["a"])


@pytest.mark.parametrize(("kind", "path"), [("NLP", "lime-text"), ("IMAGE", "lime-image")])
def test_texts_and_images_are_explained_by_lime_and_it_is_said(kind: Any, path: str) -> None:
    model, cell = (moods, "a good day") if kind == "NLP" else (texture, picture())
    rows = rows_of(cell)
    about = Background(rows, np.ones(1), "one row")
    chosen = choose(Subject(model, rows, about, "probability", kind, samples=240), None, "not read")
    told = chosen.shap.explain(rows, ["a"])
    assert told.path == path
    assert "LIME, whatever was asked for" in told.why


def test_a_model_that_cannot_be_read_is_asked_and_the_reason_stands_in_the_result() -> None:
    rows = np.random.default_rng(7).normal(size=(30, 3))
    about = Background(rows[:5], np.full(5, 0.2), "5 rows")
    subject = Subject(curved, rows, about, "probability")
    asked = choose(subject, None, "The project has no estimator that we know.")
    told = asked.shap.explain(rows[:1], ["a"])
    assert told.path == "enumeration"
    assert told.why.startswith("The project has no estimator that we know; ")
    exact = choose(subject, asked.lime, "")
    assert exact.shap is asked.lime
    assert exact.lime.explain(rows[:1], ["a"]).path == "lime"
