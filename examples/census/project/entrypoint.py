"""The census model as its users would hand it in: `predict`, and nothing that has to be unpickled.

The weights come from model.json beside this file. They are put into a scikit-learn LogisticRegression, which
is what they were taken out of: so Modelwarden finds a linear model, verifies it against `predict`, and
explains exactly instead of by sampling.
"""

import json
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

_kept = json.loads((Path(__file__).parent / "model.json").read_text())
# The columns of x, by their position in model.yaml.
INPUTS = list(_kept["inputs"])
BAND = int(_kept["age_band_years"])
# One column of the encoded matrix for each code of each input.
COLUMNS = [(name, code) for name in INPUTS for code in sorted(_kept["weights"][name])]

model = LogisticRegression()
model.classes_ = np.array([0, 1])
model.coef_ = np.array([[_kept["weights"][name][code] for name, code in COLUMNS]])
model.intercept_ = np.array([_kept["intercept"]])
model.n_features_in_ = len(COLUMNS)


def predict(x):
    """The probability of being employed for each row of x."""
    return model.predict_proba(_encoded(x))[:, 1]


def _encoded(x):
    codes = np.array(x, dtype=object)
    age = INPUTS.index("AGEP")
    codes[:, age] = [str(int(years) // BAND * BAND) for years in codes[:, age]]
    columns = [codes[:, INPUTS.index(name)] == code for name, code in COLUMNS]
    return np.column_stack(columns).astype(float)
