"""Which inferences are kept: by a hash of their id alone, so that the same id is always treated alike."""

import numpy as np
import numpy.typing as npt

from modelwarden_server.schema.digest import Words


def sampled(keys: Words, share: float) -> npt.NDArray[np.bool_]:
    """Which ids are kept: those whose hash is in the lower `share` of its range."""
    if share >= 1.0:
        return np.ones(len(keys), np.bool_)
    kept: npt.NDArray[np.bool_] = keys[:, 0].astype(np.float64) < share * 2.0**64
    return kept
