"""A cell's status as lines for a person.

What this module must not do: ask for it, or print.
"""

from collections import Counter
from collections.abc import Sequence

from modelwarden.client.fair_telling import status_of_groups


def status_lines(status: dict[str, object]) -> list[str]:
    """The status report as lines for a person."""
    rows, references, drift = status["rows"], status["reference"], status["drift"]
    assert isinstance(rows, dict)
    assert isinstance(references, list)
    rest = (
        f"{rows['waiting']} waiting, {rows['rejectedLater']} rejected later, {rows['sampledOut']} sampled out"
    )
    lines = [
        f"model      {status['modelId']}",
        f"phase      {status['phase']}" + (f": {status['reason']}" if status.get("reason") else ""),
        f"rows       {rows['acknowledged']} acknowledged: {rows['stored']} stored, {rest}",
        f"           {rows['refused']} refused, {rows['lastHour']} taken in the last hour",
        f"newest     {status['newestInference'] or 'nothing yet'}",
    ]
    labels = rows.get("labels")
    if isinstance(labels, dict) and labels["acknowledged"]:
        told = f"{labels['acknowledged']} acknowledged: {labels['stored']} stored"
        lines.insert(4, f"labels     {told}, {labels['waiting']} for inferences that have not come")
    lines += [
        f"reference  {entry['name']}: {entry['state']}, {entry['records']} rows" for entry in references
    ]
    lines += enrichment_lines(status.get("enrichments"))
    lines += code_lines(status.get("server"))
    lines += anomaly_line(status.get("anomaly"))
    lines += worst_lines(status.get("hotspots"))
    if isinstance(drift, dict):
        window = f"{drift['windowStart']} to {drift['windowEnd']}"
        if drift.get("batchId") is not None:
            window = f"batch {drift['batchId']}, {window}"
        lines.append(f"drift      {drift['state']}: {window}, {drift['rows']} rows")
        for feature in drift["features"]:
            if feature["drifted"]:
                lines.append(
                    f"           {feature['name']}: {feature['score']:.3f} over {feature['threshold']:.3f}"
                )
    else:
        lines.append("drift      nothing compared yet")
    return lines + status_of_groups(status.get("fairness"))


def enrichment_lines(entries: object) -> list[str]:
    """A line for each thing that is trained or that could not be; none for what nobody has turned on."""
    found = entries if isinstance(entries, list) else []
    told = [entry for entry in found if entry["reason"] != "TurnedOff"]
    return [f"enriched   {entry['kind']}: {entry['state']}, {entry['message']}" for entry in told]


def code_lines(server: object) -> list[str]:
    """The user's code in the server's pods: how far it is, and what holds it in; a line for all pods that
    tell the same.
    """
    pods = server["pods"] if isinstance(server, dict) else []
    told = Counter(_code_told(code) for pod in pods for code in pod["codes"])
    return [
        f"code       {text}" + (f" (in {pods_alike} pods)" if pods_alike > 1 else "")
        for text, pods_alike in sorted(told.items())
    ]


def _code_told(code: dict[str, str]) -> str:
    message = code["message"].partition("\n")[0]
    isolation = code.get("isolation")
    details = [message] if message else []
    details += [f"held by {isolation}"] if isolation and code["state"] == "Ready" else []
    return f"{code['role']}: {code['state']}" + "".join(f", {detail}" for detail in details)


def anomaly_line(report: object) -> list[str]:
    """How many rows of the newest window are unlike the reference; nothing while none has a score."""
    if not isinstance(report, dict) or report["rate"] is None:
        return []
    told = f"{report['rate']:.1%} of {report['scored']} rows"
    if report["expected"] is not None:
        told += f" (expected {report['expected']:.1%})"
    if report["raised"]:
        told += f": {', '.join(list(report['attributes'])[:3])}"
    waiting = f", {report['waiting']} rows wait" if report["waiting"] else ""
    return [f"anomalies  {told}{waiting}"]


def worst_lines(report: object) -> list[str]:
    """Where the model is worse than elsewhere; nothing if nobody searches for that."""
    if not isinstance(report, dict):
        return []
    where = f"batch {report['batchId']}" if report["batchId"] else f"to {report['windowEnd']}"
    if not report["count"]:
        return [f"hotspots   none, {where}" + (f": {report['note']}" if report["note"] else "")]
    return [f"hotspots   {report['count']}, {where}; {report['worst']}"]


def left_aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of texts as lines, in columns that begin at the same place."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return ["  ".join(f"{text:<{w}}" for text, w in zip(row, widths, strict=True)).rstrip() for row in rows]
