"""`GET /api/v3/models/{id}/inferences/images/{image}?type=raw_image|resized_image|thumbnail`.

The raw image as it came; resized to the model's pixelHeight x pixelWidth; or small, for lists. Pixels are
decoded here, one image at a time, and never more of them than `image_zip.MOST_PIXELS`.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from modelwarden.resources.cell import CellIdentity
from modelwarden_server.cell import Cell
from modelwarden_server.door.image_zip import FORMATS, ImageProblem, opened
from modelwarden_server.store.images import ImageStore
from modelwarden_server.store.listening import CommitListener
from modelwarden_server.store.store import Store
from modelwarden_server.web import Refusal, check_model

THUMBNAIL = (128, 128)
_KINDS = ("raw_image", "resized_image", "thumbnail")
_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, max-age=86400, immutable"}


class ImageRoom:
    """The images of one cell: kept for the doors of files, shown here."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self.images = ImageStore(cell.folder / "images")
        self.uploads = asyncio.Lock()
        """Held by an upload with images: what one that fails takes back, no other one may rely on."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="images")

    def routes(self) -> Sequence[BaseRoute]:
        """See Room."""
        return [Route("/api/v3/models/{id}/inferences/images/{image}", self.show, methods=["GET"])]

    def attach(self, _store: Store) -> CommitListener | None:
        """See Room."""
        self.images.sweep()
        return None

    def status(self) -> dict[str, Any]:
        """See Room."""
        return {}

    def close(self) -> None:
        """See Room."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def show(self, request: Request) -> Response:
        """The image: 200 with its bytes, or 404."""
        identity = self._cell.identity
        check_model(request, identity)
        kind = request.query_params.get("type", "raw_image")
        if kind not in _KINDS:
            raise Refusal(400, f"type must be one of {', '.join(_KINDS)}")
        path = self.images.path(request.path_params["image"])
        if path is None:
            raise Refusal(404, "there is no image of this id: an inference's image attribute holds its id")
        loop = asyncio.get_running_loop()
        try:
            content, media = await loop.run_in_executor(self._thread, shown, path, kind, identity)
        except (ImageProblem, OSError, ValueError, SyntaxError, EOFError):
            raise Refusal(422, "the image's pixels cannot be decoded: show it as raw_image") from None
        return Response(content, media_type=media, headers=_HEADERS)


def shown(path: Path, kind: str, identity: CellIdentity) -> tuple[bytes, str]:
    """The image as it is to be shown, and its media type. Raises ImageProblem, OSError, ValueError."""
    content = path.read_bytes()
    with opened(content) as image:
        if kind == "raw_image":
            return content, FORMATS[str(image.format)]
        if kind == "thumbnail":
            image.draft("RGB", THUMBNAIL)
            small: Image.Image = _plain(image)
            small.thumbnail(THUMBNAIL)
        elif identity.pixel_width is None or identity.pixel_height is None:
            small = _plain(image)
        else:
            small = _plain(image).resize((identity.pixel_width, identity.pixel_height))
    out = BytesIO()
    small.save(out, "PNG")
    return out.getvalue(), FORMATS["PNG"]


def _plain(image: Image.Image) -> Image.Image:
    """The first frame in a mode that PNG has."""
    image.seek(0)
    return image if image.mode in ("RGB", "RGBA", "L", "LA") else image.convert("RGBA")
