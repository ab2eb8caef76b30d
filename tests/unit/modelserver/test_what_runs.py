"""What a model server runs is what is wanted: what gives way, what goes on, what is tried again."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from scripted_child import ScriptedChild, explain_plan, linear, sample, wanted
from store_process import wait_for

from modelwarden_server.modelserver.limits import ChildLimits
from modelwarden_server.modelserver.loading import Desk, Surroundings
from modelwarden_server.modelserver.spec import ChildSpec, ChildStatus, UserCodeError


class Office:
    """A desk whose children are scripted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.children: list[ScriptedChild] = []
        limits = ChildLimits(memory_bytes=1000)
        self.desk = Desk(Surroundings(folder / "work", folder, limits, self._made, first_pause=0.01))

    def _made(self, spec: ChildSpec) -> ScriptedChild:
        self.children.append(ScriptedChild(spec))
        return self.children[-1]

    def load(self, *codes: tuple[str, str], explained: str | None = None, shift: float = 0.0) -> None:
        """Want these codes, explained by the role `explained`."""
        plan = None if explained is None else explain_plan(explained, background=f"b{shift}")
        at = None if explained is None else sample(self.folder, shift=shift)
        self.desk.load(wanted(self.folder, *codes, explain=plan, at=at))

    def states(self) -> list[tuple[str, str]]:
        return [(report.code_hash, report.state) for report in self.desk.running().codes]


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path)
    yield made
    made.desk.stop()


def test_a_code_is_ready_when_it_agrees_with_the_reference_and_can_be_explained(office: Office) -> None:
    office.load(("explain", "c1"), explained="explain")
    assert office.states() == [("c1", "Loading")]
    assert office.desk.engines() is None
    office.children[0].be("Ready")
    wait_for(lambda: office.states() == [("c1", "Ready")])
    (report,) = office.desk.running().codes
    assert (report.path, report.differs, report.difference) == ("enumeration", False, pytest.approx(0))
    assert "nothing to read here" in report.why
    engines = office.desk.engines()
    assert engines is not None
    assert engines.code_hash == "c1"


def test_a_code_is_reported_with_what_holds_it_in(office: Office) -> None:
    office.load(("serve", "c1"))
    assert office.desk.running().codes[0].isolation == ""
    office.children[0].status = ChildStatus("Ready", isolation="seccomp and Landlock 6")
    assert office.desk.running().codes[0].isolation == "seccomp and Landlock 6"


def test_predictions_unlike_the_references_are_told_not_refused(office: Office) -> None:
    office.load(("explain", "c1"), explained="explain", shift=0.5)
    office.children[0].be("Ready")
    wait_for(lambda: office.states() == [("c1", "Ready")])
    (report,) = office.desk.running().codes
    assert (report.differs, report.difference) == (True, pytest.approx(0.5))


def test_a_predict_that_fails_on_the_reference_is_said_and_tried_again(office: Office) -> None:
    office.load(("explain", "c1"), explained="explain")
    child = office.children[0]

    def failing(_: object) -> object:
        raise UserCodeError("ValueError: no such column")

    child.function = failing  # type: ignore[assignment]
    child.be("Ready")
    wait_for(lambda: office.states() == [("c1", "Failed")])
    assert office.desk.running().codes[0].message == "ValueError: no such column"
    child.function = linear
    wait_for(lambda: office.states() == [("c1", "Ready")])


def test_a_code_that_explains_gives_way_at_once(office: Office) -> None:
    office.load(("explain", "c1"), explained="explain")
    office.children[0].be("Ready")
    wait_for(lambda: office.desk.engines())
    office.load(("explain", "c2"), explained="explain")
    assert office.children[0].stopped
    assert office.states() == [("c2", "Loading")]
    assert office.desk.engines() is None


def test_a_flow_goes_on_until_its_successor_is_there(office: Office) -> None:
    office.load(("serve", "c1"))
    first = office.children[0]
    first.be("Ready")
    office.load(("serve", "c2"))
    second = office.children[1]
    assert not first.stopped
    assert office.states() == [("c2", "Loading"), ("c1", "Ready")]
    second.be("Failed", "no such file")
    flow = office.desk.flow()
    assert flow is not None
    assert flow[0] is first
    second.be("Ready")
    flow = office.desk.flow()
    assert flow is not None
    assert flow[0] is second
    wait_for(lambda: first.stopped)
    assert office.states() == [("c2", "Ready")]


def test_what_is_wanted_as_before_is_left_alone(office: Office) -> None:
    office.load(("explain", "c1"), ("serve", "c2"), explained="explain")
    for child in office.children:
        child.be("Ready")
    engines = wait_for(office.desk.engines)
    office.load(("explain", "c1"), ("serve", "c2"), explained="explain")
    assert len(office.children) == 2
    assert office.desk.engines() is engines


def test_another_reference_makes_other_engines_with_the_same_child(office: Office) -> None:
    office.load(("explain", "c1"), explained="explain")
    office.children[0].be("Ready")
    wait_for(office.desk.engines)
    office.load(("explain", "c1"), explained="explain", shift=0.25)
    wait_for(lambda: (found := office.desk.engines()) and found.plan.background_hash == "b0.25")
    assert len(office.children) == 1
    assert office.desk.running().codes[0].differs


def test_what_is_no_longer_wanted_is_stopped(office: Office) -> None:
    office.load(("explain", "c1"), ("serve", "c2"), explained="explain")
    office.load(("serve", "c2"))
    assert [child.stopped for child in office.children] == [True, False]
    office.load()
    assert office.children[1].stopped
    assert office.states() == []


def test_a_flow_can_be_explained_and_predicts_whether_or_not(office: Office) -> None:
    office.load(("serve", "c1"), explained="serve")
    office.children[0].be("Ready")
    assert office.states() == [("c1", "Ready")]
    engines = wait_for(office.desk.engines)
    assert "nothing to read here" in engines.why  # it was asked


def test_engines_are_of_no_use_while_their_child_is_away(office: Office) -> None:
    office.load(("explain", "c1"), explained="explain")
    office.children[0].be("Ready")
    wait_for(office.desk.engines)
    office.children[0].be("Restarting", "it is started again")
    assert office.desk.engines() is None
    assert office.states() == [("c1", "Restarting")]
    office.children[0].be("Ready")
    assert office.desk.engines() is not None


def test_children_share_the_memory(office: Office) -> None:
    office.load(("explain", "c1"), ("serve", "c2"))
    assert [child.spec.limits.memory_bytes for child in office.children] == [500, 500]
    assert len({child.spec.work for child in office.children}) == 2


def test_files_elsewhere_than_in_the_shared_folder_are_not_loaded(office: Office, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="outside of the shared folder"):
        office.desk.load(wanted(tmp_path / "..", ("explain", "c1")))
    assert not office.children
