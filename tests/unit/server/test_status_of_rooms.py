"""What the status says when a room cannot say anything."""

from pathlib import Path

import census_like
from store_process import KEY

from modelwarden_server.cell import Cell
from modelwarden_server.door.health import HealthRoom, report_of
from modelwarden_server.settings import SettingsHolder


class Faulty(HealthRoom):
    """A room with a bug."""

    def status(self) -> dict:
        raise OverflowError("34")


class Sound(HealthRoom):
    """A room that knows something."""

    def status(self) -> dict:
        return {"active_reference": "people"}


def test_the_fault_of_one_room_leaves_what_others_say(tmp_path: Path) -> None:
    cell = Cell(census_like.identity(), SettingsHolder(census_like.settings(), KEY), tmp_path)
    cell.rooms = [Faulty(cell), Sound(cell)]
    report = report_of(cell)
    assert report.active_reference == "people"
    assert "OverflowError" in (report.reason or "")
