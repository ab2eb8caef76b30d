"""Batches: counted, closed once, shut for ever. Images: taken from a zip by name, kept by content, shown."""

import asyncio
import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import census_like as census
import pyarrow as pa
import pyarrow.parquet as pq
from file_doors import FileDoor, flat, image, lines, nested, open_file_door, parquet, zipped
from PIL import Image

from modelwarden_server.door.images import THUMBNAIL

PHOTOS = [
    census.attribute("photo", "IMAGE", "PIPELINE_INPUT"),
    *(a for a in census.ATTRIBUTES if a["stage"] in ("PREDICTED_VALUE", "GROUND_TRUTH")),
]
SEEN = {"attributes": PHOTOS, "inputType": "IMAGE", "pixelHeight": 4, "pixelWidth": 5}


def batch(rows: int, name: str, prefix: str = "r") -> pa.Table:
    return flat(rows, prefix, batch_id=pa.array([name] * rows))


def photos(*names: str | None, prefix: str = "r") -> bytes:
    count = len(names)
    return parquet(
        pa.table(
            {
                "partner_inference_id": [f"{prefix}{i}" for i in range(count)],
                "inference_timestamp": [census.NOW] * count,
                "photo": pa.array(names, pa.string()),
                "pred": [0.25] * count,
            }
        )
    )


async def batch_of(door: FileDoor, name: str) -> Any:
    answer = await door.client.get(f"{door.model}/batches/{name}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def batch_files(door: FileDoor) -> bytes:
    return (door.cell.folder / "batches" / "closed.jsonl").read_bytes()


async def test_a_batch_is_counted_over_files_and_requests_and_closes_with_its_exact_number(
    tmp_path: Path,
) -> None:
    async with open_file_door(tmp_path, isBatch=True) as door:
        assert await door.taken(parquet(batch(5, "b1"))) == (5, 0, [])
        assert await door.taken(parquet(flat(4, "f")), batch_id="b1") == (4, 0, [])
        assert await door.post(*nested(batch(2, "b1", "p")), *nested(batch(1, "b/2", "q"))) == [200] * 3
        assert await door.taken(parquet(batch(5, "b1"))) == (5, 0, []), "sent again, counted once"
        seen = await batch_of(door, "b1")
        assert (seen["records"], seen["partner_record_count"], seen["status"]) == (11, None, "started")
        wrong = await door.close_batch("b1", 10)
        assert wrong.status_code == 400
        assert "10" in wrong.json()["error"]
        assert "11" in wrong.json()["error"]
        assert await door.post(*nested(batch(1, "b1", "more"))) == [200], "it is open again"
        assert (await door.close_batch("b1", 12)).json() == {"message": "success"}
        assert [(await door.close_batch("b1", n)).status_code for n in (12, 11, None)] == [200, 400, 200]
        assert (await door.close_batch("b/2")).status_code == 200
        listed = (await door.client.get(f"{door.model}/datasets")).json()
        assert {(d["type"], d["batch_id"], d["records"], d["status"]) for d in listed} == {
            ("batch", "b1", 12, "uploaded"),
            ("batch", "b/2", 1, "uploaded"),
        }
        report = (await door.report()).batches
        assert report is not None
        assert (report.open, report.closed) == (0, 2)


async def test_a_closed_batch_takes_no_more_rows_but_knows_those_it_has(tmp_path: Path) -> None:
    async with open_file_door(tmp_path, isBatch=True) as door:
        await door.taken(parquet(batch(3, "b1")))
        assert (await door.close_batch("b1", 3)).status_code == 200
        mixed = pa.concat_tables([batch(4, "b1"), batch(2, "open", "o")])
        good, bad, failures = await door.taken(parquet(mixed))
        assert (good, bad) == (5, 1)
        assert failures[0].startswith("row 4: batch_id: batch 'b1' is closed")
        assert await door.post(*nested(mixed)) == [200, 200, 200, 409, 200, 200]
        assert len(door.stored()) == 5
    async with open_file_door(tmp_path, isBatch=True) as door:
        assert await door.post(*nested(batch(1, "b1", "late"))) == [409], "after a restart, too"
        assert (await batch_of(door, "b1"))["records"] == 3


async def test_what_is_no_batch_is_told(tmp_path: Path) -> None:
    async with open_file_door(tmp_path, isBatch=True) as door:
        unknown = await door.close_batch("nobody", 0)
        assert (unknown.status_code, "nobody" in unknown.json()["error"]) == (404, True)
        assert (await door.client.get(f"{door.model}/batches/nobody")).status_code == 404
        assert (await door.client.get(f"{door.model}/batches")).json() == []
        other = await door.client.patch(f"{door.model}/batches/x", json={"status": "open"})
        assert other.status_code == 400
        good, bad, failures = await door.taken(parquet(flat(2)))
        assert (good, bad, failures[0].split(": ")[:2]) == (0, 2, ["row 1", "batch_id"])


async def test_a_model_without_batches_has_none(tmp_path: Path) -> None:
    async with open_file_door(tmp_path) as door:
        assert (await door.client.get(f"{door.model}/datasets")).json() == []
        assert (await door.close_batch("b", 1)).status_code == 404


async def test_a_close_that_was_never_finished_was_promised_to_nobody(tmp_path: Path) -> None:
    async with open_file_door(tmp_path, isBatch=True) as door:
        await door.taken(parquet(pa.concat_tables([batch(1, "b1"), batch(1, "b2", "s")])))
        assert (await door.close_batch("b1", 1)).status_code == 200
        assert (await door.close_batch("b2", 1)).status_code == 200
        whole = batch_files(door)
    path = tmp_path / "batches" / "closed.jsonl"
    path.write_bytes(whole[:-9])
    (tmp_path / "batches" / "counts.json").write_bytes(b"{torn")
    async with open_file_door(tmp_path, isBatch=True) as door:
        assert [(await batch_of(door, n))["status"] for n in ("b1", "b2")] == ["uploaded", "started"]
        assert await door.post(*nested(batch(1, "b2", "new"))) == [200]
        assert (await door.close_batch("b2", 2)).status_code == 200
        assert batch_files(door).count(b"\n") == 2


async def test_rows_that_are_on_their_way_when_a_batch_is_closed_are_in_its_count(tmp_path: Path) -> None:
    async with open_file_door(tmp_path, isBatch=True, pace=0.2) as door:
        sending = [asyncio.create_task(door.post(*nested(batch(7, "b1", f"s{i}-")))) for i in range(8)]
        await asyncio.sleep(0)
        file = asyncio.create_task(door.taken(parquet(batch(9, "b1", "f"))))
        while (answer := await door.close_batch("b1", None)).status_code == 404:
            await asyncio.sleep(0)
        assert answer.status_code == 200
        sent = [status for task in sending for status in await task]
        try:
            good = (await file)[0]
        except AssertionError:
            good = 0  # closed while it was checked: a 503, and nothing was taken
        assert set(sent) <= {200, 409}
        count = sent.count(200) + good
        assert (await batch_of(door, "b1"))["records"] == count == len(door.stored())


async def test_with_sampling_the_client_may_have_sent_more_than_is_stored(tmp_path: Path) -> None:
    async with open_file_door(tmp_path, isBatch=True, ingest={"sampling": {"share": 0.5}}) as door:
        await door.taken(parquet(batch(60, "b1")))
        stored = (await batch_of(door, "b1"))["records"]
        assert 0 < stored < 60
        assert (await door.close_batch("b1", stored - 1)).status_code == 400
        assert (await door.close_batch("b1", 60)).status_code == 200


async def shown(door: FileDoor, image_id: str, kind: str = "raw_image") -> tuple[str, Image.Image]:
    answer = await door.client.get(f"{door.model}/inferences/images/{image_id}", params={"type": kind})
    assert answer.status_code == 200, answer.text
    return answer.headers["content-type"], Image.open(io.BytesIO(answer.content))


async def test_images_are_kept_by_content_and_shown_raw_resized_and_small(tmp_path: Path) -> None:
    pictures = {
        "a.png": image(300, 200),
        "tmp/deep/b.jpeg": image(20, 30, "JPEG"),
        "c.gif": image(kind="GIF"),
        "not-by-its-name.txt": image(kind="TIFF", shade=9),
        "same-as-a.jpg": image(300, 200),
    }
    names = ["a.png", "/tmp/deep/b.jpeg", "c.gif", "not-by-its-name.txt", "same-as-a.jpg", None]
    async with open_file_door(tmp_path, **SEEN) as door:
        content = photos(*names)
        assert await door.taken(content, image_data=zipped(pictures)) == (6, 0, [])
        assert await door.taken(content, image_data=zipped(pictures)) == (6, 0, []), "the same data"
        ids = [row["photo"] for row in sorted(door.stored(), key=lambda r: r["partner_inference_id"])]
        assert ids[0] == ids[4] != ids[1]
        assert ids[5] is None
        kept = [p.name for p in (tmp_path / "images").rglob("*") if p.is_file()]
        assert sorted(kept) == sorted(set(ids[:4]))
        kinds = [(await shown(door, name))[0] for name in ids[:4]]
        assert kinds == ["image/png", "image/jpeg", "image/gif", "image/tiff"]
        assert (await shown(door, ids[0]))[1].size == (300, 200)
        assert (await shown(door, ids[1], "resized_image"))[1].size == (5, 4), "width and height of the model"
        small = (await shown(door, ids[0], "thumbnail"))[1].size
        assert small[0] == THUMBNAIL[0]
        assert small[0] * 200 // 300 == small[1]
        by_id = photos(ids[0], ids[2], prefix="again")
        assert await door.taken(by_id, image_data=zipped({"x.png": image()})) == (2, 0, []), (
            "known ids are names"
        )
        for path, status in (("0" * 64, 404), ("..%2f..%2fhash-secret", 404), (f"{ids[0]}?type=lime", 400)):
            answer = await door.client.get(f"{door.model}/inferences/images/{path}")
            assert answer.status_code == status, path


async def test_a_row_whose_image_cannot_be_had_is_refused_by_name(tmp_path: Path) -> None:
    huge = struct.pack(">II", 60_000, 60_000)
    bomb = bytearray(image())
    bomb[16:24] = huge
    pictures = {"good.png": image(), "text.png": b"<svg onload=alert(1)>", "bomb.png": bytes(bomb)}
    async with open_file_door(tmp_path, **SEEN) as door:
        rows = photos("good.png", "text.png", "missing.png", "bomb.png")
        good, bad, failures = await door.taken(rows, image_data=zipped(pictures))
        assert (good, bad) == (1, 3)
        assert [f.split(":")[:2] for f in failures] == [[f"row {n}", " photo"] for n in (2, 3, 4)]
        assert len([p for p in (tmp_path / "images").rglob("*") if p.is_file()]) == 1


def linked() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        link = zipfile.ZipInfo("a.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    return out.getvalue()


def lying() -> bytes:
    """A zip whose directory says that it has no more entries than it has bytes for."""
    content = bytearray(zipped({"a.png": image()}))
    at = content.rfind(b"PK\x05\x06")
    struct.pack_into("<HL", content, at + 10, 65_000, 1 << 31)
    return bytes(content)


BAD_ZIPS: dict[str, tuple[bytes, int, str]] = {
    "nothing": (b"", 400, "empty"),
    "no zip": (b"x" * 1000, 400, "zip"),
    "the head of a zip": (zipped({"a.png": image(50, 50)})[:100], 400, "zip"),
    "no entries": (zipped({}), 400, "no files"),
    "a path that climbs": (zipped({"../a.png": image()}), 400, "path"),
    "a link": (linked(), 400, "link"),
    "a bomb": (zipped({"a.png": bytes(3 << 20)}), 413, "packed"),
    "too many entries": (zipped({f"{i}.png": b"x" for i in range(6)}), 413, "maxZipEntries"),
    "a directory that would not fit": (lying(), 413, "maxZipEntries"),
    "too much in all": (zipped({f"{i}.png": bytes(900_000) for i in range(5)}), 413, "maxDecompressedSize"),
}


async def test_a_zip_that_is_a_trap_is_refused_whole(tmp_path: Path) -> None:
    limits = {"limits": {"maxZipEntries": 5, "maxDecompressedSize": "4Mi"}}
    async with open_file_door(tmp_path, ingest=limits, **SEEN) as door:
        for what, (content, status, reason) in BAD_ZIPS.items():
            answer = await door.send(photos("a.png"), image_data=content)
            assert (answer.status_code, reason in answer.json()["error"]) == (status, True), (
                what,
                answer.text,
            )
        assert door.stored() == []
        assert door.leftovers() == []
        assert not (tmp_path / "images").exists()


async def test_an_image_that_is_not_to_be_kept_is_not(tmp_path: Path) -> None:
    attributes = [PHOTOS[0] | {"sensitivity": "mask"}, *PHOTOS[1:]]
    async with open_file_door(tmp_path, **SEEN | {"attributes": attributes}) as door:
        picture = image(40, 40, "JPEG", shade=77)
        assert await door.taken(photos("a.jpg"), image_data=zipped({"a.jpg": picture})) == (1, 0, [])
        assert door.stored()[0]["photo"] is None
    kept = [p for p in tmp_path.rglob("*") if p.is_file() and picture in p.read_bytes()]  # noqa: ASYNC240
    assert kept == []


async def test_without_a_zip_names_of_images_stay_as_they_are(tmp_path: Path) -> None:
    async with open_file_door(tmp_path, **SEEN) as door:
        assert await door.taken(photos("somewhere/else.png")) == (1, 0, [])
        assert door.stored()[0]["photo"] == "somewhere/else.png"


async def test_reference_data_come_with_images_and_one_row_a_line(tmp_path: Path) -> None:
    rows = [{"reference_data": {"photo": f"{n}.png", "pred": 0.5, "gt": 1}} for n in ("a", "b", "missing")]
    pictures = zipped({"a.png": image(), "b.png": image(shade=5)})
    async with open_file_door(tmp_path, **SEEN) as door:
        path = f"{door.model}/reference_data"
        files = [("reference_data", ("r", lines(rows))), ("image_data", ("i.zip", pictures))]
        answer = (await door.client.post(path, files=files)).json()
        assert answer["counts"] == {"success": 2, "failure": 1, "total": 3}
        assert answer["failures"][0]["message"].startswith("row 3: attribute photo")
        closing = {"status": "uploaded", "total_record_count": 2}
        assert (await door.client.patch(path, json=closing)).status_code == 200
        (file,) = (tmp_path / "tables" / "reference" / "default").glob("*.parquet")
        ids = pq.read_table(file).column("photo").to_pylist()
        assert [(await shown(door, name))[0] for name in ids] == ["image/png"] * 2
        only_images = await door.client.post(path, files=[("image_data", ("i.zip", pictures))])
        assert only_images.status_code in (400, 409)
        assert door.leftovers() == []


LISTS = [
    census.attribute("words", "TOKENS", "PIPELINE_INPUT"),
    census.attribute("seen", "TIME_SERIES", "NON_INPUT_DATA"),
    *(a for a in census.ATTRIBUTES if a["stage"] in ("PREDICTED_VALUE", "GROUND_TRUTH")),
]


async def test_lists_come_in_files_of_inferences_and_of_reference_data(tmp_path: Path) -> None:
    words = [["a", "b"], ["c", None], []]
    seen = [[{"timestamp": f"2026-01-0{day}T00:00:00Z", "value": 1.0} for day in (1, 2)], None, None]
    plain = pa.table({"words": words, "seen": seen, "pred": [0.5] * 3, "gt": [1, 0, 1]})
    async with open_file_door(tmp_path, attributes=LISTS) as door:
        files = [("reference_data", ("r", parquet(plain)))]
        answer = (await door.client.post(f"{door.model}/reference_data", files=files)).json()
        assert (answer["counts"]["success"], answer["counts"]["failure"]) == (2, 1)
        assert answer["failures"][0]["message"].startswith("row 2: attribute words[1]")
        names = pa.array(["x", "y", "z"])
        table = plain.append_column("partner_inference_id", names)
        table = table.append_column("inference_timestamp", pa.array([census.NOW] * 3)).drop_columns(["gt"])
        good, bad, failures = await door.taken(parquet(table))
        assert (good, bad, failures[0].startswith("row 2: words[1]")) == (2, 1, True)
        rows = nested(table.filter(pa.array([True, False, True])))
        assert await door.post(*rows) == [200, 200], "the same rows as a request"
        assert len(door.stored()) == 2
