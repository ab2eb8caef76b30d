"""The models that the documented client registers, one for each kind of output, as MonitoredModel specs.

Used against the pure resolution and against a real API server: what one takes the other must take too.
"""

from typing import Any

Spec = dict[str, Any]
Attribute = dict[str, Any]


def attribute(name: str, value_type: str, stage: str, position: int, **more: Any) -> Attribute:
    """One attribute with every boolean written out, as the client sends it."""
    return {
        "name": name,
        "valueType": value_type,
        "stage": stage,
        "position": position,
        "categorical": False,
        "monitorForBias": False,
        "isUnique": False,
        "isPositivePredictedAttribute": False,
        "implicit": False,
    } | more


def categories(*values: str) -> dict[str, Any]:
    """The keys of a categorical attribute with these values."""
    return {"categorical": True, "categories": [{"value": value} for value in values]}


def prediction(name: str, position: int, **more: Any) -> Attribute:
    """A probability."""
    return attribute(name, "FLOAT", "PREDICTED_VALUE", position, minRange=0, maxRange=1, **more)


def truth(name: str, position: int, **more: Any) -> Attribute:
    """The 0/1 ground truth of one class."""
    return attribute(name, "INTEGER", "GROUND_TRUTH", position, **categories("0", "1"), **more)


def class_column(name: str, value_type: str, *values: str) -> Attribute:
    """A column that holds the class itself."""
    return attribute(name, value_type, "GROUND_TRUTH_CLASS", 0, **categories(*values))


INPUTS = [
    attribute(
        "age",
        "INTEGER",
        "PIPELINE_INPUT",
        0,
        minRange=18,
        maxRange=79,
        monitorForBias=True,
        bins=[
            {"continuousEnd": 30},
            {"continuousStart": 30, "continuousEnd": 60},
            {"continuousStart": 60},
        ],
    ),
    attribute("fare", "FLOAT", "PIPELINE_INPUT", 1, minRange=2.25, maxRange=191.7, isUnique=True),
    attribute("sex", "STRING", "PIPELINE_INPUT", 2, monitorForBias=True, **categories("f", "m")),
    attribute("region", "STRING", "NON_INPUT_DATA", 0, **categories("n", "s")),
]


def _model(output_type: str, *outputs: Attribute, inputs: list[Attribute] | None = None, **more: Any) -> Spec:
    listed = [*(INPUTS if inputs is None else inputs), *outputs]
    return {"inputType": "TABULAR", "outputType": output_type, "attributes": listed} | more


SEED: Spec = {
    "displayName": "Credit Risk",
    "partnerModelId": "CreditRiskModel_FG_20230523115857",
    "description": "Credit Risk Model Created Through REST API",
    "inputType": "TABULAR",
    "outputType": "MULTICLASS",
    "tags": ["Tabular", "Classification", "Credit"],
    "isBatch": True,
    "versionLabel": "Credit Risk v1",
    "attributes": [
        attribute("LIMIT_BAL", "INTEGER", "PIPELINE_INPUT", 0, minRange=10000, maxRange=1000000),
        attribute(
            "AGE",
            "INTEGER",
            "PIPELINE_INPUT",
            1,
            monitorForBias=True,
            minRange=21,
            maxRange=79,
            bins=[
                {"continuousStart": 0, "continuousEnd": 35},
                {"continuousStart": 35, "continuousEnd": 55},
                {"continuousStart": 55, "continuousEnd": 100},
            ],
        ),
        attribute(
            "SEX",
            "INTEGER",
            "PIPELINE_INPUT",
            2,
            monitorForBias=True,
            categorical=True,
            categories=[{"value": "1", "label": "Male"}, {"value": "2", "label": "Female"}],
        ),
        attribute("UNIT_CODE", "STRING", "PIPELINE_INPUT", 3, **categories("DW00", "A800", "M 00")),
        # Counted through from the inputs, where the client starts at 0 again.
        attribute("RISK_AMT", "FLOAT", "NON_INPUT_DATA", 4, minRange=10152.23, maxRange=999990.0),
        prediction("prediction_1", 1, isPositivePredictedAttribute=True, attributeLink="ground_truth_1"),
        truth("ground_truth_1", 1, attributeLink="prediction_1"),
    ],
}

STORIES: dict[str, Spec] = {
    "the seed": SEED,
    "two classes, one column, class column": _model(
        "MULTICLASS",
        class_column("gt", "INTEGER", "1", "0"),
        prediction("pred", 1, isPositivePredictedAttribute=True, gtClassLink="1"),
    ),
    "many classes, class column": _model(
        "MULTICLASS",
        class_column("species", "STRING", "cat", "dog", "red panda"),
        prediction("p_cat", 0, gtClassLink="cat"),
        prediction("p_dog", 1, gtClassLink="dog"),
        prediction("p_panda", 2, gtClassLink="red panda"),
    ),
    "many classes, class column without categories": _model(
        "MULTICLASS",
        attribute("species", "STRING", "GROUND_TRUTH_CLASS", 0, categorical=True, isUnique=True),
        prediction("p_cat", 0, gtClassLink="cat"),
        prediction("p_dog", 1, gtClassLink="dog"),
        prediction("p_panda", 2, gtClassLink="red panda"),
    ),
    "two classes, two columns": _model(
        "MULTICLASS",
        prediction("p0", 0, attributeLink="g0"),
        prediction("p1", 1, attributeLink="g1", isPositivePredictedAttribute=True),
        truth("g0", 0, attributeLink="p0"),
        truth("g1", 1, attributeLink="p1"),
        classifierThreshold=0.5,
    ),
    "many classes, a column each": _model(
        "MULTICLASS",
        *(prediction(f"p{i}", i, attributeLink=f"g{i}") for i in range(3)),
        *(truth(f"g{i}", i, attributeLink=f"p{i}") for i in range(3)),
    ),
    "two classes, one column, a truth without a prediction": _model(
        "MULTICLASS",
        prediction("p", 0, attributeLink="g", isPositivePredictedAttribute=True),
        truth("g", 0, attributeLink="p"),
        truth("g2", 1),
    ),
    "several labels at once": _model(
        "MULTILABEL",
        *(prediction(f"p{i}", i, attributeLink=f"g{i}") for i in range(2)),
        *(truth(f"g{i}", i, attributeLink=f"p{i}") for i in range(2)),
    ),
    "regression": _model(
        "REGRESSION",
        attribute("price", "FLOAT", "PREDICTED_VALUE", 0, attributeLink="paid", minRange=0, maxRange=9e5),
        attribute("paid", "FLOAT", "GROUND_TRUTH", 0, attributeLink="price", minRange=0, maxRange=9e5),
    ),
    "regression in whole numbers": _model(
        "REGRESSION",
        attribute("days", "INTEGER", "PREDICTED_VALUE", 0, attributeLink="took"),
        attribute("took", "INTEGER", "GROUND_TRUTH", 0, attributeLink="days"),
    ),
    "text": _model(
        "MULTICLASS",
        prediction("spam", 0, attributeLink="was_spam", isPositivePredictedAttribute=True),
        truth("was_spam", 0, attributeLink="spam"),
        inputs=[attribute("mail", "UNSTRUCTURED_TEXT", "PIPELINE_INPUT", 0, categorical=True)],
        inputType="NLP",
        textDelimiter=r"\W+",
    ),
    "token sequence": _model(
        "TOKEN_SEQUENCE",
        attribute("answer", "UNSTRUCTURED_TEXT", "PREDICTED_VALUE", 0, tokenAttributeLink="answer_tokens"),
        attribute("answer_tokens", "TOKENS", "PREDICTED_VALUE", 1, tokenAttributeLink="answer"),
        attribute("answer_likelihoods", "TOKEN_LIKELIHOODS", "PREDICTED_VALUE", 2),
        attribute("better", "UNSTRUCTURED_TEXT", "GROUND_TRUTH", 0),
        inputs=[
            attribute("question", "UNSTRUCTURED_TEXT", "PIPELINE_INPUT", 0),
            attribute("question_tokens", "TOKENS", "PREDICT_FUNCTION_INPUT", 0),
        ],
        inputType="NLP",
    ),
    "token sequence without ground truth": _model(
        "TOKEN_SEQUENCE",
        attribute("answer", "UNSTRUCTURED_TEXT", "PREDICTED_VALUE", 0),
        inputs=[attribute("question", "UNSTRUCTURED_TEXT", "PIPELINE_INPUT", 0)],
        inputType="NLP",
    ),
    "ranked list of a time series": _model(
        "RANKED_LIST",
        attribute("offers", "RANKED_LIST", "PREDICTED_VALUE", 0, attributeLink="taken"),
        attribute("taken", "ARRAY(STRING)", "GROUND_TRUTH", 0, attributeLink="offers"),
        inputs=[attribute("visits", "TIME_SERIES", "PIPELINE_INPUT", 0)],
        inputType="TIME_SERIES",
    ),
    "image": _model(
        "MULTICLASS",
        prediction("cat", 0, attributeLink="is_cat", isPositivePredictedAttribute=True),
        truth("is_cat", 0, attributeLink="cat"),
        inputs=[attribute("picture", "IMAGE", "PIPELINE_INPUT", 0, isUnique=True)],
        inputType="IMAGE",
        pixelHeight=224,
        pixelWidth=224,
    ),
    "objects in images": _model(
        "OBJECT_DETECTION",
        attribute("boxes", "BOUNDING_BOX", "PREDICTED_VALUE", 0, attributeLink="marked"),
        attribute("marked", "BOUNDING_BOX", "GROUND_TRUTH", 0, attributeLink="boxes"),
        inputs=[attribute("picture", "IMAGE", "PIPELINE_INPUT", 0, isUnique=True)],
        inputType="IMAGE",
        pixelHeight=640,
        pixelWidth=480,
        imageClassLabels=["car", "bicycle"],
    ),
}
