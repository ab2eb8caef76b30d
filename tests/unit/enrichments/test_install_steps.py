"""A process that ends at any step of an installation, or of forgetting one, leaves nothing half done."""

import os
from pathlib import Path

import pytest
from crash_steps import crash_at
from installed_trainings import Wishing, artefact, hash_of, inputs, install, only, opened

from modelwarden_server.analysis.artefact import pack
from modelwarden_server.enrichments.installations import Installations
from modelwarden_server.enrichments.kind import Disabled, Wanted

STEPS = ["open", "write", "fsync", "replace", "unlink"]


def again(folder: Path, n: int) -> tuple[Wishing, Installations]:
    kind = Wishing()
    kind.wish = Wanted(inputs(n))
    return kind, opened(folder, kind)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("step", STEPS)
def test_a_replacement_is_in_use_wholly_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, call: int, after: bool
) -> None:
    kind = Wishing()
    kind.wish = Wanted(inputs(1))
    made = opened(tmp_path, kind)
    install(made, 1)
    kind.wish = Wanted(inputs(2))
    crash_at(lambda: install(made, 2), monkeypatch, (os, step), call, after=after)
    survivor, found = again(tmp_path, 2)
    report = only(found)
    assert report.state == "Ready"
    assert survivor.sum == (1.0 if report.due else 2.0)
    brought = found.install("trivial", hash_of(2), pack(artefact(2)), artefact(2))
    assert (only(found).reason, survivor.sum, only(found).artefact_hash) == ("InUse", 2.0, brought)
    assert [path.name for path in (tmp_path / "artefacts" / "trivial").iterdir()] == [brought]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("step", "call"), [("unlink", 1), ("unlink", 2), ("fsync", 1)])
def test_what_is_turned_off_stays_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, call: int, after: bool
) -> None:
    kind = Wishing()
    kind.wish = Wanted(inputs(1))
    made = opened(tmp_path, kind)
    install(made, 1)
    kind.wish = Disabled("TurnedOff", "off")
    crash_at(made.reports, monkeypatch, (os, step), call, after=after)
    later = Wishing()
    later.wish = kind.wish
    found = opened(tmp_path, later)
    assert (only(found).state, later.sum) == ("Disabled", None)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
