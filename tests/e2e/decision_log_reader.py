"""Decision logs read from docs/decision_log_format.md alone, as a tool of someone else would."""

import struct

VERSION = 1
HEADER, POOL, DECISION, BEGIN, FIRST_TOKEN, END, GAP, LOG_END = range(1, 9)


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7f) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def sized(data, at):
    size, at = varint(data, at)
    assert at + size <= len(data), (at, size, len(data))
    return data[at:at + size], at + size


def records(log):
    """(type, body) of each record of a whole log."""
    assert log[:8] == b"WEIRLOG\n" and struct.unpack_from("<I", log, 8)[0] == VERSION, log[:16]
    at = 16
    while at < len(log):
        size = struct.unpack_from("<I", log, at)[0]
        frame = log[at + 12:at + 12 + size]
        assert len(frame) == size, "a cut frame"
        at += 12 + size
        begin = 0
        while begin < size:
            kind, begin = varint(frame, begin)
            body, begin = sized(frame, begin)
            yield kind, body


def header(body):
    """(weir version, name of the pipeline file, its text)"""
    version, at = sized(body, 0)
    name, at = sized(body, at)
    text, at = sized(body, at + 8)
    return version.decode(), name.decode(), text.decode()


def outcome(body):
    """Outcome and the three token counts of an end record."""
    values, at = [], 0
    while at < len(body):
        value, at = varint(body, at)
        values.append(value)
    zigzag = [(v >> 1) ^ -(v & 1) for v in values]
    return values[2], zigzag[3:6]


def log_end(body):
    """(reason, decisions, missing)"""
    values, at = [], 0
    for _ in range(3):
        value, at = varint(body, at)
        values.append(value)
    return tuple(values)
