"""The command line as a person meets it: run as a process, read by its output and exit code."""

import importlib.util
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scripted_cell import MODEL_ID, Answer, Asked, ScriptedCell, always, taken

from modelwarden.client import cli, progress

STATUS: dict[str, Any] = {
    "modelId": MODEL_ID,
    "phase": "Ready",
    "reason": None,
    "rows": {
        "acknowledged": 10,
        "stored": 9,
        "waiting": 1,
        "rejectedLater": 0,
        "sampledOut": 0,
        "refused": 2,
        "lastHour": 10,
    },
    "newestInference": "2026-11-21T12:00:00Z",
    "reference": [{"name": "d", "state": "profiled", "records": 100}],
    "drift": {
        "windowStart": "2026-10-01T00:00:00Z",
        "windowEnd": "2026-11-01T00:00:00Z",
        "rows": 900,
        "state": "Ok",
        "features": [
            {"name": "age", "score": 0.4, "threshold": 0.2, "drifted": True},
            {"name": "sex", "score": 0.01, "threshold": 0.2, "drifted": False},
        ],
        "drifted": 1,
        "checked": 2,
    },
}


def run(scripted: ScriptedCell, *arguments: str) -> int:
    return cli.main([*arguments, "--url", scripted.url, "--key", "secret"])


def answering(status: dict[str, Any]) -> Any:
    def script(asked: Asked, n: int) -> Answer:
        return Answer(200, status) if asked.path == "/status" else taken(asked)

    return script


def test_the_help_teaches_a_first_round() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "modelwarden.client.cli", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ).stdout
    for command in ("local", "send", "labels", "send-file", "upload-reference", "drift", "status"):
        assert command in shown
    assert "\n  modelwarden send inferences.parquet\n" in shown, "a command stands on a line of its own"
    assert "\n  kubectl -n risk port-forward service/credit 8080 &\n" in shown


def test_rows_of_a_file_are_sent_and_counted(
    scripted: ScriptedCell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted.script = answering(STATUS)
    path = tmp_path / "rows.csv"
    path.write_text("partner_inference_id,inference_timestamp,code,y\na,2026-11-21T12:00:00Z,01,1\n")
    assert run(scripted, "send", str(path), "--text", "code", "--label", "y") == cli.EXIT_OK
    (row,) = scripted.asked[-1].json()
    assert (row["inference_data"], row["ground_truth_data"]) == ({"code": "01"}, {"y": 1})
    assert "sent 1, acknowledged 1, refused 0" in capsys.readouterr().out


def test_refused_rows_are_listed_and_fail_the_command(
    scripted: ScriptedCell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def script(asked: Asked, n: int) -> Answer:
        if asked.path == "/status":
            return Answer(200, STATUS)
        return Answer(207, {"counts": {}, "results": [{"message": "age: missing", "status": 400}]})

    scripted.script = script
    path = tmp_path / "rows.jsonl"
    path.write_text('{"partner_inference_id": "odd", "inference_timestamp": "2026-11-21T12:00:00Z"}\n')
    assert run(scripted, "send", str(path)) == cli.EXIT_FAILED
    assert "odd\t400\tage: missing" in capsys.readouterr().out


def test_labels_of_a_file_are_sent_and_rows_without_one_are_said(
    scripted: ScriptedCell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted.script = answering(STATUS)
    path = tmp_path / "labels.csv"
    path.write_text(
        "partner_inference_id,ground_truth_timestamp,y\na,2026-11-21T12:00:00Z,1\nb,2026-11-21Z,\n"
    )
    assert run(scripted, "labels", str(path), "--text", "ground_truth_timestamp") == cli.EXIT_OK
    (row,) = scripted.asked[-1].json()
    assert (row["partner_inference_id"], row["ground_truth_data"]) == ("a", {"y": 1})
    assert "sent 1, acknowledged 1, refused 0; 1 rows hold no label" in capsys.readouterr().out


def test_a_file_is_sent_and_its_failures_are_listed(
    scripted: ScriptedCell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def script(asked: Asked, n: int) -> Answer:
        if asked.path == "/status":
            return Answer(200, STATUS)
        assert b'name="ground_truth_data"' in asked.body
        counts = {"success": 3, "failure": 2, "total": 5}
        failures = [{"message": "row 4: y: not an integer", "status": 400}]
        return Answer(207, {"counts": counts, "failures": failures, "ignored_columns": ["extra"]})

    scripted.script = script
    (tmp_path / "late.json").write_text("[]")
    assert run(scripted, "send-file", str(tmp_path / "late.json"), "--labels") == cli.EXIT_FAILED
    shown = capsys.readouterr().out
    for said in ("400\trow 4: y: not an integer", "and 1 more", "extra", "read 5, acknowledged 3, refused 2"):
        assert said in shown


def test_a_batch_is_closed_with_its_number(
    scripted: ScriptedCell, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = {"id": "run-17", "status": "uploaded", "records": 50}
    scripted.script = lambda asked, _n: Answer(200, STATUS if asked.path == "/status" else batch)
    assert run(scripted, "close-batch", "run-17", "--rows", "50") == cli.EXIT_OK
    assert "run-17: uploaded, 50 rows" in capsys.readouterr().out


@pytest.mark.parametrize("given", ["text", "file", "input"])
def test_a_query_is_taken_from_where_a_person_has_it(
    scripted: ScriptedCell,
    tmp_path: Path,
    given: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = '{"select": [{"function": "count", "alias": "n"}]}'
    (tmp_path / "q.json").write_text(text)
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    scripted.script = lambda asked, _n: Answer(
        200, STATUS if asked.path == "/status" else {"query_result": [{"n": 3}]}
    )
    argument = {"text": text, "file": f"@{tmp_path / 'q.json'}", "input": "-"}[given]
    assert run(scripted, "query", argument, "--json") == cli.EXIT_OK
    assert capsys.readouterr().out == '{"n":3}\n'
    assert scripted.asked[-1].json() == json.loads(text)


def test_a_query_that_is_no_json_is_one_line(
    scripted: ScriptedCell, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(scripted, "query", "SELECT 1") == cli.EXIT_FAILED
    assert "not JSON" in capsys.readouterr().err


def test_an_inference_is_shown_with_its_labels(
    scripted: ScriptedCell, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {"query_result": [{"x": 1}], "ground_truth_history": [{"ground_truth_data": {"y": 1}}]}
    scripted.script = lambda asked, _n: Answer(200, STATUS if asked.path == "/status" else found)
    assert run(scripted, "inference", "a/b") == cli.EXIT_OK
    shown = json.loads(capsys.readouterr().out)
    assert shown == {"inference": {"x": 1}, "labels": [{"ground_truth_data": {"y": 1}}]}


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        (["loan-17", "--yes"], {"partner_inference_ids": ["loan-17"]}),
        (["--attribute", "customer", "--value", "4711", "--yes"], {"attribute": "customer", "value": 4711}),
        (["--attribute", "name", "--value", "Ann", "--yes"], {"attribute": "name", "value": "Ann"}),
    ],
)
def test_forgetting_is_asked_for_and_its_record_shown(
    scripted: ScriptedCell, arguments: list[str], sent: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    scripted.script = lambda asked, _n: Answer(200, STATUS if asked.path == "/status" else {"id": "f1"})
    assert run(scripted, "forget", *arguments) == cli.EXIT_OK
    assert scripted.asked[-1].json() == sent
    assert json.loads(capsys.readouterr().out) == {"id": "f1"}


def test_nothing_is_forgotten_by_a_script_that_does_not_say_yes(
    scripted: ScriptedCell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("yes\n"))
    assert run(scripted, "forget", "loan-17") == cli.EXIT_FAILED
    assert "--yes" in capsys.readouterr().err
    assert [asked.method for asked in scripted.asked if asked.method == "POST"] == []


def test_quality_shows_what_occurs(scripted: ScriptedCell, capsys: pytest.CaptureFixture[str]) -> None:
    found = {"rows": 3, "share": 0.3, "reference_share": 0.0, "p_value": 0.01, "raised": True}
    row = {"rows": 10, "age": {"missing": found, "outOfRange": {**found, "rows": 0, "raised": False}}}
    row["rollup"] = "2026-01-01T00:00:00Z"
    scripted.script = lambda asked, _n: Answer(
        200, STATUS if asked.path == "/status" else {"query_result": [row]}
    )
    assert run(scripted, "quality", "age", "--by", "month") == cli.EXIT_OK
    header, line = capsys.readouterr().out.splitlines()
    assert header.split()[:4] == ["window", "attribute", "question", "rows"]
    assert line.split() == ["2026-01", "age", "missing", "3", "0.3000", "0.0000", "True"]


def test_status_tells_of_labels_once_there_are_some(
    scripted: ScriptedCell, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = {"acknowledged": 7, "stored": 6, "waiting": 2, "repeated": 0, "sampledOut": 0}
    scripted.script = answering({**STATUS, "rows": {**STATUS["rows"], "labels": labels}})
    run(scripted, "status")
    assert "7 acknowledged: 6 stored, 2 for inferences that have not come" in capsys.readouterr().out
    scripted.script = answering(
        {**STATUS, "rows": {**STATUS["rows"], "labels": {**labels, "acknowledged": 0}}}
    )
    run(scripted, "status")
    assert "labels" not in capsys.readouterr().out


def test_status_tells_of_user_code_and_what_holds_it_in(
    scripted: ScriptedCell, capsys: pytest.CaptureFixture[str]
) -> None:
    code = {"role": "explain", "state": "Ready", "message": "", "isolation": "seccomp and Landlock 6"}
    failed = {"role": "serve", "state": "Failed", "message": "ImportError: no\n  line 3", "isolation": "x"}
    older = {"role": "serve", "state": "Ready", "message": ""}  # of a release that does not tell
    pods = [{"codes": [code]}, {"codes": [code, failed]}, {"codes": [older]}]
    scripted.script = answering({**STATUS, "server": {"pods": pods}})
    run(scripted, "status")
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("code ")]
    assert shown == [
        "code       explain: Ready, held by seccomp and Landlock 6 (in 2 pods)",
        "code       serve: Failed, ImportError: no",
        "code       serve: Ready",
    ]


def test_a_bar_is_drawn_only_for_who_watches() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    watched, piped = Terminal(), io.StringIO()
    for stream in (watched, piped):
        with progress.bytes_bar("rows.parquet", stream) as moved:
            moved(50, 100)
            moved(100, 100)
        with progress.rows_bar(stream) as told:
            told(1_000, 1_001)
    assert "being checked" in watched.getvalue()
    assert "1,000 acknowledged, 1 refused" in watched.getvalue()
    assert piped.getvalue() == ""


def test_drift_shows_the_worst_feature_first(
    scripted: ScriptedCell, capsys: pytest.CaptureFixture[str]
) -> None:
    def script(asked: Asked, n: int) -> Answer:
        if asked.path == "/status":
            return Answer(200, STATUS)
        assert asked.json()["properties"] == ["age", "sex"]
        return Answer(200, {"query_result": [{"rollup": "2026-10-01T00:00:00Z", "age": 0.1, "sex": 0.7}]})

    scripted.script = script
    assert run(scripted, "drift", "--by", "month") == cli.EXIT_OK
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[-2:]] == ["sex", "age"]


def test_status_names_what_drifted(scripted: ScriptedCell, capsys: pytest.CaptureFixture[str]) -> None:
    scripted.script = answering(STATUS)
    assert run(scripted, "status") == cli.EXIT_OK
    shown = capsys.readouterr().out
    assert "age: 0.400 over 0.200" in shown
    assert "sex" not in shown
    assert "10 acknowledged: 9 stored, 1 waiting" in shown


def test_status_as_json_is_the_cells_own_answer(
    scripted: ScriptedCell, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted.script = answering(STATUS)
    assert run(scripted, "status", "--json") == cli.EXIT_OK
    assert json.loads(capsys.readouterr().out) == STATUS


@pytest.mark.parametrize(
    ("drift", "code"),
    [
        (STATUS["drift"], cli.EXIT_DRIFT),
        ({**STATUS["drift"], "drifted": 0, "features": []}, cli.EXIT_OK),
        ({**STATUS["drift"], "state": "InsufficientData", "features": []}, cli.EXIT_INSUFFICIENT),
        (None, cli.EXIT_INSUFFICIENT),
    ],
)
def test_a_check_tells_a_pipeline_by_its_exit_code(
    scripted: ScriptedCell, drift: dict[str, Any] | None, code: int
) -> None:
    scripted.script = answering({**STATUS, "drift": drift})
    assert run(scripted, "status", "--check") == code


@pytest.mark.parametrize(
    ("given", "missing"), [(["--url", "http://x"], "MODELWARDEN_KEY"), (["--key", "k"], "MODELWARDEN_URL")]
)
def test_what_is_not_given_is_asked_for_by_name(
    given: list[str], missing: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MODELWARDEN_URL", "MODELWARDEN_KEY"):
        monkeypatch.delenv(name, raising=False)
    assert cli.main(["status", *given]) == cli.EXIT_FAILED
    assert missing in capsys.readouterr().err


def test_an_error_of_the_cell_is_one_line_not_a_traceback(
    scripted: ScriptedCell, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted.script = always(Answer(401, {"error": "unauthorized"}))
    assert run(scripted, "status") == cli.EXIT_FAILED
    assert capsys.readouterr().err.strip().count("\n") == 0


@pytest.mark.parametrize(
    ("lacking", "command", "extra"), [("pandas", ["status"], "client"), ("granian", ["local", "."], "server")]
)
def test_a_missing_extra_is_named(
    lacking: str,
    command: list[str],
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == lacking else real(name))
    assert cli.main(command) == cli.EXIT_FAILED
    assert f"modelwarden[{extra}]" in capsys.readouterr().err


def test_local_becomes_the_server_and_hands_its_arguments_on(monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda *call: became.append(call[1]))
    cli.main(["local", "--port", "9000", "some/folder", "--help"])
    assert became == [
        [sys.executable, "-m", "modelwarden_server", "local", "--port", "9000", "some/folder", "--help"]
    ]


def test_enrichments_are_listed_with_their_state_and_a_failed_one_fails_the_check(
    scripted: ScriptedCell, capsys: pytest.CaptureFixture[str]
) -> None:
    def entry(kind: str, type_: str | None, state: str, message: str, trained: str | None) -> dict[str, Any]:
        return {
            "kind": kind,
            "type": type_,
            "state": state,
            "reason": "TurnedOff" if state == "Disabled" else "",
            "message": message,
            "trainedAt": trained,
        }

    ready = entry("anomaly", "AnomalyDetection", "Ready", "trained and in use", "2026-03-01T12:00:00.5Z")
    loss = entry("loss", None, "Pending", "waits for labels", None)
    off = entry("bias", "BiasMitigation", "Disabled", "no Enrichment", None)
    failed = entry("hotspots", "Hotspots", "Failed", "one class only", None)
    scripted.script = answering(STATUS | {"enrichments": [ready, loss, off]})
    assert run(scripted, "enrichments", "--check") == cli.EXIT_OK
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["kind", "type", "state", "since", "message"]
    assert [" ".join(line.split()) for line in lines] == [
        "anomaly AnomalyDetection Ready 2026-03-01 12:00 trained and in use",
        "loss – Pending – waits for labels",
        "bias BiasMitigation Disabled – no Enrichment",
    ]
    assert run(scripted, "status") == cli.EXIT_OK
    shown = capsys.readouterr().out
    assert "enriched   loss: Pending, waits for labels\n" in shown
    assert "bias" not in shown
    scripted.script = answering(STATUS | {"enrichments": [ready, failed]})
    assert run(scripted, "enrichments", "--check") == cli.EXIT_FAILED
    assert run(scripted, "enrichments") == cli.EXIT_OK


def test_a_cell_that_trains_nothing_says_so(
    scripted: ScriptedCell, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted.script = answering(STATUS)
    assert run(scripted, "enrichments") == cli.EXIT_OK
    assert "trains nothing" in capsys.readouterr().out


def test_the_status_of_a_batch_model_says_which_batch_was_judged(
    scripted: ScriptedCell, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted.script = answering(STATUS | {"drift": STATUS["drift"] | {"batchId": "run-17"}})
    assert run(scripted, "status") == cli.EXIT_OK
    assert "Ok: batch run-17, 2026-10-01T00:00:00Z to" in capsys.readouterr().out
