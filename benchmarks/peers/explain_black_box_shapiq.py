"""Estimators of shapiq for Shapley values, each with so many coalitions, in the game that the others play: a
coalition is worth the mean prediction over the background's rows.
"""

import sys

import numpy as np
from explain_black_box_data import BACKGROUND, INPUTS, figures, fitted
from shapiq.approximator import KernelSHAP, PermutationSamplingSV, kADDSHAP
from turns import Round, serve

WAYS = {
    "KernelSHAP": lambda: KernelSHAP(INPUTS, random_state=0),
    "KernelSHAP-paired": lambda: KernelSHAP(INPUTS, pairing_trick=True, random_state=0),
    "kADDSHAP-paired": lambda: kADDSHAP(INPUTS, max_order=2, pairing_trick=True, random_state=0),
    "PermutationSamplingSV": lambda: PermutationSamplingSV(INPUTS, random_state=0),
}


def prepare(scale: float) -> Round:
    predict, _, background, rows = fitted(sys.argv[2], scale)
    way, coalitions = WAYS[sys.argv[3]], int(sys.argv[4])
    base = float(predict(background).mean())

    def worth(row: np.ndarray, masks: np.ndarray) -> np.ndarray:
        mixed = np.where(masks[:, None, :].astype(bool), row, background).reshape(-1, INPUTS)
        return predict(mixed).reshape(len(masks), BACKGROUND).mean(axis=1) - base

    def once() -> dict[str, float]:
        predict.rows = 0
        found = np.zeros(rows.shape)
        for n, row in enumerate(rows):
            told = way().approximate(coalitions, lambda masks, row=row: worth(row, np.atleast_2d(masks)))
            found[n] = told.get_n_order_values(1)
        return {"units": len(rows), "rows": predict.rows / len(rows), **figures(found)}

    return once


if __name__ == "__main__":
    serve(prepare, "shapiq")
