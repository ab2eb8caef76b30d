"""What is wanted, trained and installed, in any order of wishes, results, failures and crashes."""

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from installed_trainings import FACTS, NOW, Wishing, artefact, hash_of, inputs, install, only, opened

from modelwarden_server.analysis.artefact import Artefact, pack
from modelwarden_server.enrichments.decide import Named, decide
from modelwarden_server.enrichments.installations import (
    Installations,
    OtherBytesError,
    RefusedArtefactError,
    UnknownKindError,
    UnwantedTrainingError,
    WaitingError,
)
from modelwarden_server.enrichments.kind import (
    Disabled,
    Facts,
    InstalledTraining,
    Pending,
    Wanted,
    Wish,
    input_hash,
)
from modelwarden_server.enrichments.registry import FailedTraining, Record, Registry
from modelwarden_server.store.artefacts import ArtefactStore

KIND = Named("trivial", "AnomalyDetection", 1)


@pytest.fixture
def kind() -> Wishing:
    return Wishing()


@pytest.fixture
def made(tmp_path: Path, kind: Wishing) -> Installations:
    return opened(tmp_path, kind)


def installed_of(n: int) -> InstalledTraining:
    return InstalledTraining(hash_of(n), inputs(n), "a" * 64, NOW)


def failed_of(n: int, *, again: bool) -> FailedTraining:
    return FailedTraining(hash_of(n), "one class only", again, NOW)


@pytest.mark.parametrize(
    ("wish", "record", "state", "reason", "due"),
    [
        (Disabled("TurnedOff", "off"), Record(), "Disabled", "TurnedOff", False),
        (Pending(("labels",)), Record(), "Pending", "Waiting", False),
        (Pending(("labels",)), Record(installed_of(1)), "Pending", "Waiting", False),
        (Wanted(inputs(1)), Record(), "Training", "Training", True),
        (Wanted(inputs(1)), Record(installed_of(1)), "Ready", "InUse", False),
        (Wanted(inputs(2)), Record(installed_of(1)), "Ready", "Replacing", True),
        (Wanted(inputs(1)), Record(None, failed_of(1, again=True)), "Failed", "TrainingFailed", True),
        (Wanted(inputs(1)), Record(None, failed_of(1, again=False)), "Failed", "TrainingFailed", False),
        (Wanted(inputs(2)), Record(None, failed_of(1, again=False)), "Training", "Training", True),
        (
            Wanted(inputs(2)),
            Record(installed_of(1), failed_of(2, again=False)),
            "Failed",
            "TrainingFailed",
            False,
        ),
        (
            Wanted(inputs(1)),
            Record(installed_of(1), failed_of(1, again=False)),
            "Ready",
            "InUse",
            False,
        ),
    ],
)
def test_what_is_said_follows_from_the_wish_and_the_record(
    wish: Wish, record: Record, state: str, reason: str, due: bool
) -> None:
    report = decide(KIND, wish, record)
    assert (report.state, report.reason, report.due) == (state, reason, due)
    known = record.installed
    told = (report.installed, report.artefact_hash, report.trained_at)
    assert told == ((known.input_hash, known.artefact_hash, NOW) if known else (None, None, None))


def test_what_is_missing_is_listed_and_said() -> None:
    report = decide(KIND, Pending(("a closed reference dataset", "labels")), Record())
    assert report.missing == ("a closed reference dataset", "labels")
    assert report.message == "waits for a closed reference dataset and labels"


def test_the_name_of_a_training_changes_with_kind_version_and_inputs_and_with_nothing_else() -> None:
    one = input_hash("bias", 1, {"a": 1, "b": [2]})
    assert one == input_hash("bias", 1, {"b": [2], "a": 1})
    others = [("loss", 1, {"a": 1, "b": [2]}), ("bias", 2, {"a": 1, "b": [2]}), ("bias", 1, {"a": 1})]
    assert len({one, *(input_hash(*other) for other in others)}) == 4


def test_off_forgets_and_on_trains_again(tmp_path: Path, kind: Wishing, made: Installations) -> None:
    kind.wish = Wanted(inputs(1))
    first = install(made, 1)
    assert only(made).state == "Ready"
    kind.wish = Disabled("TurnedOff", "off")
    assert only(made).state == "Disabled"
    assert kind.sum is None
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    kind.wish = Wanted(inputs(1))
    assert (only(made).state, only(made).due) == ("Training", True)
    assert install(made, 1) == first


def test_the_old_one_stays_in_use_until_the_new_one_is_installed(
    tmp_path: Path, kind: Wishing, made: Installations
) -> None:
    kind.wish = Wanted(inputs(1))
    install(made, 1)
    kind.wish = Wanted(inputs(2))
    assert (only(made).reason, kind.sum) == ("Replacing", 1.0)
    made.fail("trivial", hash_of(2), "no luck", again=False)
    assert (only(made).state, kind.sum) == ("Failed", 1.0)
    made.begin("trivial", hash_of(2))
    assert only(made).reason == "Replacing"
    install(made, 2)
    assert (only(made).reason, kind.sum) == ("InUse", 2.0)
    assert len(list((tmp_path / "artefacts" / "trivial").iterdir())) == 1


def test_the_same_again_is_a_success_and_other_bytes_are_refused(kind: Wishing, made: Installations) -> None:
    kind.wish = Wanted(inputs(1))
    assert install(made, 1) == install(made, 1)
    with pytest.raises(OtherBytesError):
        install(made, 1, number=5.0)
    assert kind.history == [f"install {hash_of(1)[:8]}"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (replace(artefact(1), kind="bias"), "'bias', not trivial"),
        (artefact(1, inputHash=hash_of(2)), "inputHash"),
        (replace(artefact(1), arrays={}), "one array named sum"),
    ],
)
def test_an_artefact_that_does_not_fit_is_refused_and_changes_nothing(
    tmp_path: Path, kind: Wishing, made: Installations, wrong: Artefact, says: str
) -> None:
    kind.wish = Wanted(inputs(1))
    with pytest.raises(RefusedArtefactError, match=says):
        made.install("trivial", hash_of(1), pack(wrong), wrong)
    assert (only(made).state, kind.sum) == ("Training", None)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_training_that_nobody_wants_is_refused(kind: Wishing, made: Installations) -> None:
    for wish, error in (
        (Pending(("labels",)), WaitingError),
        (Disabled("TurnedOff", "off"), UnwantedTrainingError),
        (Wanted(inputs(2)), UnwantedTrainingError),
    ):
        kind.wish = wish
        for step in (
            lambda: made.begin("trivial", hash_of(1)),
            lambda: install(made, 1),
            lambda: made.fail("trivial", hash_of(1), "why", again=False),
        ):
            with pytest.raises(error):
                step()
    with pytest.raises(UnknownKindError):
        made.begin("no-such", hash_of(1))


@pytest.mark.parametrize("broken", ["record", "torn record", "artefact", "torn artefact", "gone artefact"])
def test_what_is_damaged_is_due_again_and_the_same_bytes_mend_it(
    tmp_path: Path, kind: Wishing, made: Installations, broken: str
) -> None:
    kind.wish = Wanted(inputs(1))
    first = install(made, 1)
    record = tmp_path / "enrichments" / "trivial.json"
    kept = tmp_path / "artefacts" / "trivial" / first
    if broken == "gone artefact":
        kept.unlink()
    else:
        path = record if "record" in broken else kept
        path.write_bytes(path.read_bytes()[:-20] if "torn" in broken else b"\x00" * 100)
    again = Wishing()
    again.wish = kind.wish
    found = opened(tmp_path, again)
    report = only(found)
    assert (report.state, report.reason, report.due, report.installed) == ("Training", "Damaged", True, None)
    assert again.sum is None
    assert install(found, 1) == first
    assert (only(found).state, again.sum) == ("Ready", 1.0)
    third = Wishing()
    third.wish = kind.wish
    assert only(opened(tmp_path, third)).state == "Ready"


def test_an_artefact_of_another_version_of_the_method_is_trained_anew(
    tmp_path: Path, kind: Wishing, made: Installations
) -> None:
    kind.wish = Wanted(inputs(1))
    install(made, 1)
    newer = Wishing(version=2)
    newer.wish = kind.wish
    report = only(opened(tmp_path, newer))
    assert (report.reason, report.due) == ("Replacing", True)
    assert newer.sum == 1.0


def test_a_record_that_cannot_be_written_leaves_the_old_one_in_use(
    kind: Wishing, made: Installations, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind.wish = Wanted(inputs(1))
    install(made, 1)
    kind.wish = Wanted(inputs(2))

    def full(_kind: str, _record: Record) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(made.registry, "write", full)
    with pytest.raises(OSError, match="No space"):
        install(made, 2)
    assert (only(made).reason, kind.sum) == ("Replacing", 1.0)
    monkeypatch.undo()
    install(made, 2)
    assert kind.sum == 2.0


def test_a_kind_that_fails_takes_neither_the_status_nor_the_other_kinds_with_it(tmp_path: Path) -> None:
    class Faulty(Wishing):
        def wanted(self, facts: Facts) -> Wish:
            raise ZeroDivisionError("a value of a row")

    good = Wishing(name="good")
    registry = Registry(tmp_path / "enrichments", ArtefactStore(tmp_path / "artefacts"), ["bad", "good"])
    made = Installations([Faulty(name="bad"), good], registry, lambda: FACTS, lambda: NOW)
    made.start()
    bad, fine = made.reports()
    assert (bad.state, fine.state) == ("Failed", "Pending")
    assert "a value of a row" not in bad.message


def test_an_artefact_that_cannot_be_taken_in_use_is_a_failure_and_is_not_recorded(tmp_path: Path) -> None:
    class Faulty(Wishing):
        def install(self, artefact: Artefact, training: InstalledTraining) -> None:
            raise IndexError

    kind = Faulty()
    kind.wish = Wanted(inputs(1))
    made = opened(tmp_path, kind)
    with pytest.raises(RefusedArtefactError):
        install(made, 1)
    report = only(made)
    assert (report.state, report.due, report.installed) == ("Failed", False, None)


def test_what_failed_for_good_is_not_tried_again_because_the_artefact_before_is_damaged(
    tmp_path: Path, kind: Wishing, made: Installations
) -> None:
    kind.wish = Wanted(inputs(2))
    install(made, 2)
    kind.wish = Wanted(inputs(3))
    made.fail("trivial", hash_of(3), "why", again=False)
    (kept,) = (tmp_path / "artefacts" / "trivial").iterdir()
    kept.write_bytes(b"")
    again = Wishing()
    again.wish = kind.wish
    report = only(opened(tmp_path, again))
    assert (report.state, report.due, report.installed) == ("Failed", False, None)
    assert "why" in report.message


WISHES: Sequence[Wish] = (
    Disabled("TurnedOff", "off"),
    Pending(("a closed reference dataset",)),
    Wanted(inputs(1)),
    Wanted(inputs(2)),
    Wanted(inputs(3)),
)
NUMBERS = st.integers(1, 3)


class Trainings(RuleBasedStateMachine):
    """In any order of events: what is said to be ready is of the wanted inputs, or a Job is due."""

    @initialize()
    def start(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.kind = Wishing()
        self.made = opened(Path(self._folder.name), self.kind)

    def teardown(self) -> None:
        self._folder.cleanup()

    @rule(wish=st.sampled_from(WISHES))
    def something_else_is_wanted(self, wish: Wish) -> None:
        self.kind.wish = wish

    @rule(n=NUMBERS, number=st.sampled_from([None, None, None, 9.0]))
    def a_job_brings_an_artefact(self, n: int, number: float | None) -> None:
        try:
            install(self.made, n, number)
        except (UnwantedTrainingError, WaitingError, OtherBytesError):
            return
        assert self.kind.wish == Wanted(inputs(n))
        assert only(self.made).reason == "InUse"

    @rule(n=NUMBERS, again=st.booleans())
    def a_job_fails(self, n: int, again: bool) -> None:
        before = only(self.made)
        try:
            self.made.fail("trivial", hash_of(n), "why", again=again)
        except (UnwantedTrainingError, WaitingError):
            assert only(self.made) == before
            return
        after = only(self.made)
        assert after.reason == "InUse" or (after.state, after.due) == ("Failed", again)

    @rule(n=NUMBERS)
    def a_job_begins(self, n: int) -> None:
        try:
            self.made.begin("trivial", hash_of(n))
        except (UnwantedTrainingError, WaitingError):
            return
        assert only(self.made).state != "Failed"

    @rule()
    def the_store_is_killed_and_starts(self) -> None:
        before, in_use = only(self.made), self.kind.sum
        wish = self.kind.wish
        self.kind = Wishing()
        self.kind.wish = wish
        self.made = opened(Path(self._folder.name), self.kind)
        after = only(self.made)
        assert self.kind.sum == in_use
        assert after.model_copy(update={"reason": "", "message": ""}) == before.model_copy(
            update={"reason": "", "message": ""}
        )

    @precondition(lambda self: self.kind.sum is not None)
    @rule(cut=st.integers(0, 60), what=st.sampled_from(["record", "artefact"]))
    def the_disk_loses_bytes_and_the_store_starts(self, cut: int, what: str) -> None:
        folder = Path(self._folder.name)
        path = next((folder / ("enrichments" if what == "record" else "artefacts/trivial")).iterdir())
        path.write_bytes(path.read_bytes()[:cut])
        wish, before = self.kind.wish, only(self.made)
        self.kind = Wishing()
        self.kind.wish = wish
        self.made = opened(folder, self.kind)
        report = only(self.made)
        assert report.installed is None
        assert self.kind.sum is None
        # The record knows that a training of the wanted inputs failed for good, also without the artefact.
        known_to_fail = what == "artefact" and (before.state, before.due) == ("Failed", False)
        assert report.due == (isinstance(wish, Wanted) and not known_to_fail)

    @invariant()
    def ready_means_of_the_wanted_inputs_or_due(self) -> None:
        report, wish = only(self.made), self.kind.wish
        if report.state == "Ready":
            assert isinstance(wish, Wanted)
            assert report.installed == KIND.hash_of(wish) or report.due
        if isinstance(wish, Wanted) and report.installed != KIND.hash_of(wish):
            assert report.due or report.state == "Failed"
        if isinstance(wish, Disabled):
            assert report.installed is None

    @invariant()
    def what_is_in_use_is_what_is_said_to_be_installed(self) -> None:
        report, training = only(self.made), self.kind.installed
        assert (report.installed, report.artefact_hash) == (
            (None, None) if training is None else (training.input_hash, training.artefact_hash)
        )

    @invariant()
    def what_is_in_use_is_on_the_disk_whole(self) -> None:
        training = self.kind.installed
        if training is not None:
            kept = Path(self._folder.name) / "artefacts" / "trivial" / training.artefact_hash
            assert hashlib.sha256(kept.read_bytes()).hexdigest() == training.artefact_hash


Trainings.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestTrainings = Trainings.TestCase
