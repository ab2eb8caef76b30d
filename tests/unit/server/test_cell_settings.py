"""Identity, settings and key as files: read at start, settings and key again when they change."""

import json
import logging
from io import StringIO
from pathlib import Path

import census_like as census
import pytest

from modelwarden.resources.cell import canonical_json, short_hash
from modelwarden_server.__main__ import main
from modelwarden_server.logs import JsonLines
from modelwarden_server.settings import ConfigurationError, SettingsHolder, read_identity, read_key

KEY = "a" * 64


def files(folder: Path) -> tuple[Path, Path]:
    """Settings and key, laid down as a ConfigMap volume does: behind a link to a folder that is swapped."""
    (folder / "..1").mkdir()
    (folder / "..1" / "settings.json").write_bytes(canonical_json(census.settings()))
    (folder / "..data").symlink_to("..1")
    (folder / "settings.json").symlink_to("..data/settings.json")
    (folder / "key").write_text(KEY + "\n")
    return folder / "settings.json", folder / "key"


def swap(folder: Path, content: bytes, name: str) -> None:
    (folder / name).mkdir()
    (folder / name / "settings.json").write_bytes(content)
    (folder / "..tmp").symlink_to(name)
    (folder / "..tmp").replace(folder / "..data")


def test_changed_settings_are_in_force_after_the_next_look(tmp_path: Path) -> None:
    holder = SettingsHolder.load(*files(tmp_path))
    holder.poll()
    changed = census.settings(displayName="New").model_copy(update={"generation": 5})
    swap(tmp_path, canonical_json(changed), "..2")
    holder.poll()
    assert (holder.current.generation, holder.current.display_name, holder.error) == (5, "New", None)


def test_what_a_newer_operator_says_beside_what_is_known_is_left_alone(tmp_path: Path) -> None:
    holder = SettingsHolder.load(*files(tmp_path))
    newer = json.loads(canonical_json(census.settings(displayName="New"))) | {"later": {"x": 1}}
    swap(tmp_path, json.dumps(newer).encode(), "..2")
    holder.poll()
    assert (holder.current.display_name, holder.error) == ("New", None)


def test_the_hash_of_what_is_in_force_tells_its_writer_that_it_was_taken(tmp_path: Path) -> None:
    holder = SettingsHolder.load(*files(tmp_path))
    first = canonical_json(census.settings())
    assert holder.hash == short_hash(first)
    swap(tmp_path, b"{", "..2")
    holder.poll()
    assert holder.hash == short_hash(first)
    changed = canonical_json(census.settings(displayName="New"))
    swap(tmp_path, changed, "..3")
    holder.poll()
    assert holder.hash == short_hash(changed)


@pytest.mark.parametrize("broken", [b"", b"{", b"{}", b'{"generation": "x"}'])
def test_a_broken_file_keeps_the_old_settings_and_is_told_until_it_is_mended(
    tmp_path: Path, broken: bytes
) -> None:
    holder = SettingsHolder.load(*files(tmp_path))
    swap(tmp_path, broken, "..2")
    for _ in range(2):
        holder.poll()
        assert holder.current == census.settings()
        assert holder.error is not None
        assert "settings.json is not what it should be" in holder.error
    swap(tmp_path, canonical_json(census.settings(displayName="Mended")), "..3")
    holder.poll()
    assert (holder.current.display_name, holder.error) == ("Mended", None)


def test_a_settings_file_that_went_away_is_told(tmp_path: Path) -> None:
    settings, key = files(tmp_path)
    holder = SettingsHolder.load(settings, key)
    settings.unlink()
    holder.poll()
    assert holder.error is not None
    assert "settings.json" in holder.error


def test_a_new_key_is_in_force_after_the_next_look(tmp_path: Path) -> None:
    settings, key = files(tmp_path)
    holder = SettingsHolder.load(settings, key)
    key.write_text("b" * 64)
    holder.poll()
    assert holder.key == "b" * 64


@pytest.mark.parametrize("content", ["", "short", "é" * 40])
def test_a_key_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "key").write_text(content)
    with pytest.raises(ConfigurationError, match="key is not what it should be"):
        read_key(tmp_path / "key")


def test_a_wrong_identity_is_refused_with_its_field(tmp_path: Path) -> None:
    path = tmp_path / "identity.json"
    path.write_text(json.dumps({"namespace": "a", "name": "b"}))
    with pytest.raises(ConfigurationError, match="modelId: Field required"):
        read_identity(path)


def test_a_store_without_its_files_says_which_and_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    monkeypatch.setattr(logging, "captureWarnings", lambda **_: None)
    assert main(["store", "--identity", str(tmp_path / "nothing.json")]) == 2
    assert "nothing.json cannot be read: No such file" in capsys.readouterr().err


def test_a_log_line_is_one_json_object() -> None:
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines(namespace="team-a", name="census"))
    logger = logging.getLogger("modelwarden_server.test")
    logger.addHandler(handler)
    try:
        raise ValueError("broken\nin two lines")
    except ValueError:
        logger.exception("it is %s", "broken")
    (line,) = stream.getvalue().splitlines()
    told = json.loads(line)
    assert (told["message"], told["level"], told["namespace"], told["name"]) == (
        "it is broken",
        "error",
        "team-a",
        "census",
    )
    assert "in two lines" in told["exception"]
