"""Whether a file can be what its slot is for: looked at before it is kept, never unpacked or imported.

Must not keep anything.
"""

from typing import BinaryIO, Final

from modelwarden.resources.cell import CellSettings
from modelwarden.resources.server import AssetSlot
from modelwarden_server.archives import (
    FILES_LIMITS,
    ArchiveError,
    ArchiveLimits,
    check_zip,
    module_files,
    read_zipped,
)
from modelwarden_server.provision.requirements import FILE, MOST_BYTES, decoded

PROJECT_LIMITS: Final = ArchiveLimits()
LIMITS: Final[dict[AssetSlot, ArchiveLimits]] = {
    "explain-project": PROJECT_LIMITS,
    "serve-files": FILES_LIMITS,
}
MOST_EXPLAINER_BYTES: Final = 1 << 30


def most_bytes(slot: AssetSlot) -> int:
    """Most bytes that a file of this slot may have."""
    if slot in LIMITS:
        return LIMITS[slot].packed_bytes
    return MOST_EXPLAINER_BYTES if slot == "explain-explainer" else MOST_BYTES


def check(slot: AssetSlot, content: BinaryIO, settings: CellSettings) -> None:
    """Raises ArchiveError or RequirementsError (both ValueErrors): a sentence to follow the file's name."""
    content.seek(0)
    match slot:
        case "explain-project":
            entry = module_files(settings.enrichments.explainability.import_path)
            check_zip(content, PROJECT_LIMITS, [entry])
            _check_list(content, PROJECT_LIMITS)
        case "serve-files":
            check_zip(content, FILES_LIMITS, _flow_files(settings))
            _check_list(content, FILES_LIMITS)
        case "explain-requirements" | "serve-requirements":
            decoded(content.read(MOST_BYTES + 1))
        case "explain-explainer":
            if not content.read(1):
                raise ArchiveError("is empty: send the pickled explainer")


def _check_list(content: BinaryIO, limits: ArchiveLimits) -> None:
    listed = read_zipped(content, FILE, MOST_BYTES, limits)
    if listed is not None:
        decoded(listed)


def _flow_files(settings: CellSettings) -> list[tuple[str, ...]]:
    """What a flow names: its functions' modules. Model files may be folders, which a zip does not name."""
    flow = () if settings.serving is None else settings.serving.flow
    paths = [path for stage in flow for path in (stage.pre, stage.post) if path is not None]
    return [module_files(path) for path in dict.fromkeys(paths)]
