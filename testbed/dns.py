"""Asks one name server one question, to know whether names work. Not a resolver."""

import os
import socket
import struct

QUESTION_A, CLASS_IN = 1, 1


def query(name: str, identifier: int) -> bytes:
    """A question for an address (RFC 1035 §4.1)."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.rstrip(".").split("."))
    return (
        struct.pack("!6H", identifier, 0x0100, 1, 0, 0, 0)
        + labels
        + b"\0"
        + struct.pack("!2H", QUESTION_A, CLASS_IN)
    )


def answers(server: str, name: str, seconds: float = 1.0) -> bool:
    """Whether `server` knows an address of `name`, asked over UDP."""
    identifier = int.from_bytes(os.urandom(2), "big")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(seconds)
        try:
            asking.connect((server, 53))
            asking.send(query(name, identifier))
            answer = asking.recv(512)
        except OSError:
            return False
    if len(answer) < 12:
        return False
    answered, flags, _, count = struct.unpack("!4H", answer[:8])
    return bool(answered == identifier and flags & 0x000F == 0 and count > 0)
