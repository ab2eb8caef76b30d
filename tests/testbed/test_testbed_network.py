"""Which addresses a cluster gets, and what the machine is told about them."""

from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import SetupError
from testbed.network import SLOTS, NodeNetwork, choose_slot, masquerade_rules, name_servers

NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,30}", fullmatch=True)
OURS = [IPv4Network(f"10.{second}.0.0/16") for second in (213, 214, 215)]


@given(NAMES, st.sets(st.integers(0, SLOTS - 1), max_size=SLOTS - 1))
def test_a_cluster_never_gets_a_slot_that_is_taken(name: str, taken: set[int]) -> None:
    assert choose_slot(name, taken, []) not in taken


def test_the_same_name_gets_the_same_slot_again() -> None:
    assert choose_slot("demo", [], []) == choose_slot("demo", [], [])


@given(st.integers(0, SLOTS - 1), st.integers(0, SLOTS - 1))
def test_networks_of_two_slots_never_overlap(one: int, other: int) -> None:
    if one == other:
        return
    assert not any(a.overlaps(b) for a in NodeNetwork(one).all for b in NodeNetwork(other).all)


@given(st.integers(0, SLOTS - 1))
def test_every_network_stays_in_our_three_blocks(slot: int) -> None:
    assert all(any(mine.subnet_of(block) for block in OURS) for mine in NodeNetwork(slot).all)


def test_a_slot_the_machine_routes_elsewhere_is_passed_over() -> None:
    wanted = choose_slot("demo", [], [])
    elsewhere = NodeNetwork(wanted).pods
    assert choose_slot("demo", [], [elsewhere]) == (wanted + 1) % SLOTS


def test_a_wide_route_of_a_vpn_is_no_obstacle() -> None:
    assert choose_slot("demo", [], [IPv4Network("10.0.0.0/8")]) == choose_slot("demo", [], [])


def test_a_machine_with_no_slot_left_is_told_how_to_free_one() -> None:
    with pytest.raises(SetupError, match="down --all"):
        choose_slot("demo", range(SLOTS), [])


def test_only_what_leaves_by_another_device_is_masqueraded() -> None:
    network = NodeNetwork(7)
    rules = masquerade_rules(network)
    assert 'oifname != "mw-7"' in rules
    assert str(network.pods) in rules
    assert str(network.services) not in rules


@pytest.mark.parametrize(
    ("resolv_conf", "expected"),
    [
        ("nameserver 192.0.2.53\n", ["192.0.2.53"]),
        ("# comment\nsearch example.com\nnameserver 127.0.0.53\n", []),
        ("nameserver ::1\nnameserver 2001:db8::53\n", ["2001:db8::53"]),
        ("nameserver\n", []),
    ],
)
def test_name_servers_on_the_loopback_are_left_out(resolv_conf: str, expected: list[str]) -> None:
    assert name_servers(resolv_conf) == expected
