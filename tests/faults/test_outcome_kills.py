"""kill -9 while outcomes are counted: sums of late, early and repeated labels stay those of the rows."""

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import census_like as census
import httpx
import pytest
from store_process import ANSWER_SECONDS, KEY, START_SECONDS, StoreProcess, running, wait_for

pytestmark = pytest.mark.faults
LONG = os.environ.get("MODELWARDEN_LONG") == "1"
KILLS = 60 if LONG else 4
ROWS = 40


class Sender:
    """Sends rows and labels until they are acknowledged, and remembers the newest label of each id."""

    def __init__(self, store: StoreProcess, chance: random.Random) -> None:
        self.store, self.chance = store, chance
        self.scores: dict[str, float] = {}
        self.labels: dict[str, int] = {}
        self.sent = 0

    def send(self) -> None:
        body = []
        for _ in range(ROWS):
            score = round(self.chance.random(), 4)
            body.append(census.row(f"r-{self.sent}", pred=score))
            self.scores[f"r-{self.sent}"] = score
            self.sent += 1
        self._acknowledged("POST", body)

    def label(self) -> None:
        # Some of them a second time, and some before their inference.
        ids = {f"r-{self.chance.randrange(self.sent + ROWS)}" for _ in range(ROWS)}
        given = {name: self.chance.randrange(2) for name in ids}
        body = [
            {
                "partner_inference_id": name,
                "ground_truth_timestamp": census.NOW,
                "ground_truth_data": {"gt": value},
            }
            for name, value in given.items()
        ]
        self._acknowledged("PATCH", body)
        self.labels |= given

    def _acknowledged(self, method: str, body: list[dict[str, object]]) -> None:
        url = f"{self.store.url}{self.store.inferences_path}"
        answer = httpx.request(method, url, json=body, headers={"Authorization": KEY}, timeout=ANSWER_SECONDS)
        assert answer.json()["counts"]["success"] == len(body), answer.text

    def expected(self) -> list[list[int]]:
        """Predicted by true class, the positive one first."""
        table = [[0, 0], [0, 0]]
        for name, score in self.scores.items():
            if name in self.labels:
                table[score < 0.5][1 - self.labels[name]] += 1
        return table

    def told(self, **asked: str) -> Iterator[tuple[str, int, list[list[int]]]]:
        path = f"{self.store.url}/api/v3/models/{self.store.identity.model_id}/performance"
        day = {"start": "2026-11-21T00:00:00Z", "end": "2026-11-22T00:00:00Z"}
        answer = httpx.get(path, params=day | asked, headers={"Authorization": KEY}, timeout=ANSWER_SECONDS)
        if answer.status_code == 200:
            (window,) = answer.json()["query_result"]
            yield answer.json()["source"], window["rows"], window["confusion"]["predicted_by_true"]

    def check(self) -> None:
        answer = wait_for(lambda: next(self.told(), None), START_SECONDS)
        assert answer == ("partials", self.sent, self.expected())


@pytest.mark.timeout(1800)
def test_sums_survive_kill_9_at_random_moments(tmp_path: Path) -> None:
    chance = random.Random(11)
    store = StoreProcess(tmp_path, commit_seconds=0.05, module="eager_store")
    sender = Sender(store, chance)
    with running(store):
        for kill in range(KILLS):
            for _ in range(4):
                sender.send()
                sender.label()
            if kill % 2:
                sender.check()
            else:
                time.sleep(chance.uniform(0, 0.2))  # some of it is counted, some is on the disk
            store.kill()
            store.start()
        sender.check()
        everybody = '[{"property": "age", "comparator": "NotNull"}]'
        by_rows = wait_for(lambda: next(sender.told(filter=everybody), None), START_SECONDS)
        assert by_rows == ("rows", sender.sent, sender.expected())
