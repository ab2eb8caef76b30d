"""The Jobs of user code as processes would run them: from sources and a package index into a store over
loopback. The index is a folder of wheels made here: no test needs a network.
"""

import hashlib
import io
import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from query_rooms import IDENTITY
from served_cell import Served, served
from store_process import KEY
from tiny_wheels import wheel

from modelwarden.resources.cell import CellSettings
from modelwarden.resources.keys import job_key
from modelwarden_server.archives import unpack_tar
from modelwarden_server.jobs import installer
from modelwarden_server.jobs.command import AGAIN, DONE, NEVER, run
from modelwarden_server.jobs.environment import pack
from modelwarden_server.jobs.installer import Installer, NotInstalledError

MODEL = f"/api/v3/models/{IDENTITY.model_id}"
PREDICT = "import ours\n\n\ndef predict(x):\n    return ours.score(x)\n"


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    wheel(folder, "numpy", "2.0.0", "")
    wheel(folder, "ours", "1.0", "def score(x): return x[:, 0]\n", "theirs>=2")
    wheel(folder, "ours", "2.0", "def score(x): return x[:, 1]\n", "theirs>=2")
    wheel(folder, "theirs", "1.0", "")
    wheel(folder, "theirs", "2.0", "")
    return folder


@pytest.fixture
def index(wheels: Path, tmp_path: Path) -> dict[str, str]:
    """The surroundings of a Job whose package index is that folder."""
    (tmp_path / "pip.conf").touch()
    told = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_CONFIG_FILE": str(tmp_path / "pip.conf")}
    return {"PATH": os.environ["PATH"], **told}


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("cell")) as found:
        yield found


def declare(cell: Served, assets: dict[str, str]) -> None:
    told = cell.cell.settings.current.model_dump(mode="json", by_alias=True)
    told["enrichments"]["explainability"] |= {"enabled": True}
    told["server"] = {"assets": assets}
    cell.cell.settings.current = CellSettings.model_validate(told)


def project(requirements: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("entrypoint.py", PREDICT)
        archive.writestr("requirements.txt", requirements)
    return content.getvalue()


def send(cell: Served, requirements: str) -> str:
    """Upload a project with that list; the name of its environment."""
    declare(cell, {"explain-project": "upload"})
    path = f"{MODEL}/enrichments/explainability"
    answer = cell.http.patch(path, files=[("user_project.zip", ("x", project(requirements)))])
    assert answer.status_code == 202, answer.text
    return str(environment(cell)["hash"])


def environment(cell: Served) -> Any:
    (told,) = cell.status()["server"]["environments"]
    return told


def install(cell: Served, name: str, environ: dict[str, str], *more: str) -> int:
    key = {"MODELWARDEN_JOB_KEY": job_key(KEY, "environment", name)}
    return run(["environment", "--store", cell.url, "--environment-hash", name, *more], environ | key)


def fetch(cell: Served, source: dict[str, Any], folder: Path, slot: str = "explain-project") -> int:
    name = hashlib.sha256(json.dumps(source).encode()).hexdigest()
    declare(cell, {"explain-project": "upload", slot: name})
    key = {"MODELWARDEN_JOB_KEY": job_key(KEY, "assets", f"{slot}_{name}")}
    where = ["--mount", str(folder), "--source-hash", name, "--source", json.dumps(source)]
    return run(["assets", "--store", cell.url, "--slot", slot, *where], key)


def asset(cell: Served, slot: str = "explain-project") -> Any:
    return next(a for a in cell.status()["server"]["assets"] if a["slot"] == slot)


def claimed(path: str) -> dict[str, Any]:
    return {"persistentVolumeClaim": {"claimName": "files", "path": path}}


def test_packages_are_installed_with_numpy_and_reach_the_plan(
    cell: Served, index: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    name = send(cell, "ours==1.0\n")
    assert install(cell, name, index) == DONE
    told = environment(cell)
    assert (told["state"], told["message"].split()[0]) == ("Ready", "3")
    (code,) = cell.http.get("/internal/v1/server").json()["codes"]
    content = cell.http.get(f"/internal/v1/server/files/{code['environment']['sha256']}").content
    found = unpack_tar(io.BytesIO(content), tmp_path / "environment")
    assert {"ours.py", "theirs.py", "numpy.py"} <= {file.path for file in found.files}
    assert "x[:, 0]" in (tmp_path / "environment" / "ours.py").read_text()
    assert "Successfully installed" in capfd.readouterr().out
    assert install(cell, name, {}) == DONE  # there already: nothing is installed


def test_the_same_packages_give_the_same_bytes(index: dict[str, str], tmp_path: Path) -> None:
    Installer(index).install("ours\n", tmp_path, tmp_path / "packages", lambda _: None)
    shutil.copytree(tmp_path / "packages", tmp_path / "again", copy_function=shutil.copy)  # at other times
    hashes = set()
    for folder in ("packages", "again"):
        pack(tmp_path / folder, tmp_path / "x.tar.gz")
        hashes.add(hashlib.sha256((tmp_path / "x.tar.gz").read_bytes()).hexdigest())
    assert len(hashes) == 1


def test_requirements_in_conflict_fail_for_good_with_the_last_lines(
    cell: Served, index: dict[str, str]
) -> None:
    name = send(cell, "ours==2.0\ntheirs==1.0\n")
    assert install(cell, name, index) == NEVER
    told = environment(cell)
    assert (told["state"], told["due"]) == ("Failed", False)
    for word in ("Python 3.", "ours", "theirs", "conflict"):
        assert word in told["message"]
    assert "conflict" in " ".join(cell.status()["server"]["waitingFor"])


def test_a_list_that_is_no_list_fails_for_good(cell: Served, index: dict[str, str]) -> None:
    name = send(cell, "this is == not a requirement\n")
    assert install(cell, name, index) == NEVER
    assert "requirement" in environment(cell)["message"].lower()


def test_an_index_that_is_away_is_worth_another_try(cell: Served, index: dict[str, str]) -> None:
    name = send(cell, "elsewhere==1.0\n")
    away = {k: v for k, v in index.items() if k not in ("PIP_NO_INDEX", "PIP_FIND_LINKS")}
    away |= {"PIP_INDEX_URL": "http://ann:secret@127.0.0.1:9/simple", "PIP_RETRIES": "1", "PIP_TIMEOUT": "1"}
    assert install(cell, name, away) == AGAIN
    told = environment(cell)
    assert (told["state"], told["due"]) == ("Failed", True)
    assert "secret" not in told["message"]


def test_an_installer_that_does_not_end_is_ended(tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nsleep 60 & echo begun; sleep 60\n")
    slow.chmod(0o755)
    said: list[str] = []
    for seconds in (0.3, 3.0, 30.0):  # on a busy machine it may not even have begun
        ended = f"not done after {seconds:.0f} seconds"
        with pytest.raises(NotInstalledError, match=ended) as failed:
            Installer({}, seconds, str(slow)).install("x", tmp_path, tmp_path / "t", said.append)
        if said:
            break
    assert str(failed.value) == f"{ended}\nbegun"
    assert failed.value.again


def test_no_key_and_no_credential_of_the_job_reaches_what_it_builds(tmp_path: Path) -> None:
    given = {"MODELWARDEN_JOB_KEY": "k", "AWS_SECRET_ACCESS_KEY": "k", "PIP_INDEX_URL": "u", "NETRC": "/n"}
    kept = Installer(given)._environment(tmp_path)
    assert set(kept) == {"PIP_INDEX_URL", "NETRC", "HOME", "TMPDIR", "PYTHONDONTWRITEBYTECODE"}


@pytest.mark.parametrize("line", ["Looking in indexes: https://ann:pw@index.example/simple", "x://pw@h"])
def test_credentials_in_addresses_are_not_told(line: str) -> None:
    assert "pw" not in installer._LOGIN.sub("****", line)


def test_links_that_lead_out_of_an_environment_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "packages"
    folder.mkdir()
    (tmp_path / "key").write_text("secret")
    (folder / "out").symlink_to(tmp_path / "key")
    (folder / "a.py").write_text("A = 1\n")
    (folder / "b.py").symlink_to(folder / "a.py")
    pack(folder, tmp_path / "x.tar.gz")
    with (tmp_path / "x.tar.gz").open("rb") as content:
        found = unpack_tar(content, tmp_path / "unpacked")
    assert [file.path for file in found.files] == ["a.py", "b.py"]


def test_a_zip_on_a_claim_comes_as_it_is(cell: Served, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    content = project("numpy\n")
    (tmp_path / "models" / "project.zip").write_bytes(content)
    assert fetch(cell, claimed("models/project.zip"), tmp_path) == DONE
    assert asset(cell)["sha256"] == hashlib.sha256(content).hexdigest()


def test_a_folder_on_a_claim_is_zipped_to_the_same_bytes(cell: Served, tmp_path: Path) -> None:
    package = tmp_path / "project" / "parts"
    package.mkdir(parents=True)
    (tmp_path / "project" / "entrypoint.py").write_text(PREDICT)
    (package / "__init__.py").write_text("")
    (tmp_path / "project" / ".git").mkdir()
    (tmp_path / "project" / ".git" / "config").write_text("secret")
    hashes = []
    for _ in range(2):
        assert fetch(cell, claimed("project"), tmp_path) == DONE
        hashes.append(asset(cell)["sha256"])
        (package / "__init__.py").touch()
    assert hashes[0] == hashes[1]
    path = cell.cell.folder / "server" / "files" / hashes[0]
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["entrypoint.py", "parts/__init__.py"]


def test_one_module_in_a_config_map_is_a_project(cell: Served, tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "entrypoint.py").write_text(PREDICT)
    (tmp_path / "entrypoint.py").symlink_to("..data/entrypoint.py")
    assert fetch(cell, {"configMap": {"name": "project", "key": "entrypoint.py"}}, tmp_path) == DONE
    assert asset(cell)["state"] == "Present"


@pytest.mark.parametrize(
    ("files", "path", "word"),
    [
        (("empty/x.py",), "empty", "no entrypoint.py at its root"),
        (("nested/deep/entrypoint.py",), "nested", "must be at the root"),
        ((), "elsewhere", "there is no elsewhere"),
    ],
)
def test_a_source_that_is_no_project_is_told_in_the_status(
    cell: Served, tmp_path: Path, files: tuple[str, ...], path: str, word: str
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(PREDICT)
    assert fetch(cell, claimed(path), tmp_path) == NEVER
    told = asset(cell)
    assert (told["state"], told["due"]) == ("Failed", False)
    assert word in told["message"]


def test_a_list_of_packages_is_one_file(cell: Served, tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    for name in ("a.txt", "b.txt"):
        (tmp_path / "lists" / name).write_text("numpy\n")
    assert fetch(cell, claimed("lists"), tmp_path, "explain-requirements") == NEVER
    assert "several files" in asset(cell, "explain-requirements")["message"]
    assert fetch(cell, claimed("lists/a.txt"), tmp_path, "explain-requirements") == DONE
