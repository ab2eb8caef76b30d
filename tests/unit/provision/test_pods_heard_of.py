"""What is known of the server's pods, and for how long."""

from modelwarden.resources.server import PodReport
from modelwarden_server.provision.pods import HEARD_SECONDS, MOST_PODS, Pods


def test_a_pod_is_forgotten_half_a_minute_after_it_was_heard() -> None:
    now = [0.0]
    pods = Pods(lambda: now[0])
    pods.hear(PodReport(pod="b"))
    now[0] = HEARD_SECONDS / 2
    pods.hear(PodReport(pod="a"))
    assert [pod.pod for pod in pods.all()] == ["a", "b"]
    now[0] = HEARD_SECONDS + 1
    assert [pod.pod for pod in pods.all()] == ["a"]


def test_a_pod_that_tells_again_replaces_what_it_told() -> None:
    pods = Pods(lambda: 0.0)
    pods.hear(PodReport(pod="a"))
    pods.hear(PodReport(pod="a", predicted=3))
    assert [pod.predicted for pod in pods.all()] == [3]


def test_no_more_pods_are_remembered_than_there_can_be() -> None:
    pods = Pods(lambda: 0.0)
    for number in range(MOST_PODS + 5):
        pods.hear(PodReport(pod=f"{number:05}"))
    assert len(pods.all()) == MOST_PODS
