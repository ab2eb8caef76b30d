"""Which rows of an uploaded file are new: against what was taken in, what is on its way, what is in the file.

Belongs to the event loop: the door for single rows asks and claims ids there, so neither can take an id
between the other's look and its claim. Must not write anything.
"""

import asyncio
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelwarden_server.schema.digest import Words
from modelwarden_server.store.ids import IdIndex, IdOverlay, Known

_ROWS_AT_ONCE = 8192
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Verdicts:
    """What each row of a piece is; exactly one of these. `shut`: its batch takes no more rows."""

    new: Mask
    repeated: Mask
    left_out: Mask
    conflict: Mask
    shut: Mask
    forgotten: Mask


@dataclass(frozen=True)
class Asked:
    """Rows of a piece: keys of their ids, digests of their data, whether sampling keeps them, whether their
    batch is shut.
    """

    keys: Words
    digests: Words
    kept: Mask
    shut: Mask


async def judged(index: IdIndex, overlay: IdOverlay, asked: Asked) -> Verdicts:
    """The verdicts; ids of new rows belong to the overlay from here on. Lets others run in between.

    Of rows with one id the first counts. Waits for rows that another request has on their way.
    """
    known = np.empty(len(asked.keys), dtype=np.int8)
    for start in range(0, len(known), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        known[part] = await _taken(index, overlay, asked, part)
        await asyncio.sleep(0)
    fresh = known == Known.NEW
    return Verdicts(
        new=fresh & asked.kept & ~asked.shut,
        repeated=known == Known.SAME,
        left_out=fresh & ~asked.kept & ~asked.shut,
        conflict=known == Known.OTHER,
        shut=fresh & asked.shut,
        forgotten=known == Known.FORGOTTEN,
    )


async def _taken(index: IdIndex, overlay: IdOverlay, asked: Asked, part: slice) -> npt.NDArray[np.int8]:
    keys, digests = asked.keys[part], asked.digests[part]
    wanted = (asked.kept & ~asked.shut)[part]
    known = overlay.take(keys, digests, wanted)
    while len(waiting := np.flatnonzero(known == Known.IN_FLIGHT)):
        claims = (index.on_their_way.get(keys[i].tobytes()) for i in waiting)
        futures = {claim[1] for claim in claims if claim is not None}
        # Durable or failed: either way the id is settled then, and asked for again.
        await asyncio.gather(*map(asyncio.wrap_future, futures), return_exceptions=True)
        await asyncio.sleep(0)
        known[waiting] = overlay.take(keys[waiting], digests[waiting], wanted[waiting])
    return known
