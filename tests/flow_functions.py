"""Functions as users write them beside a flow: for tests that bundle their sources.

Must not be called by what it is imported into: a child gets the text.
"""

import numpy as np

THRESHOLD = 0.5


def pre_process(data, files):
    import numpy as np
    from PIL import Image

    labelled = {d: Image.open(f) for d, f in zip(data, files)}  # noqa: B905 - as in the documented example
    return np.array([[np.asarray(image.convert("L")).mean() / 255] for image in labelled.values()])


def worded(p):
    return "bright" if p > THRESHOLD else "dark"


def named(result):
    return [{"label": worded(p[1]), "p": float(np.round(p[1], 3))} for p in result]


def breaks(data):
    raise RuntimeError("not today")
