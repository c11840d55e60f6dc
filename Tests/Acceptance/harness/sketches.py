"""Histograms and sketches of rollup rows, decoded by what docs/formats/sketches.md says."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable

from harness.checks import Failure

REGISTERS = 4096
DENSE_BYTES = 3073


def _varint(data: bytes, start: int) -> tuple[int, int]:
    value, shift = 0, 0
    for place in range(start, len(data)):
        byte = data[place]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if byte == 0 and place > start:
                raise Failure(f"a varint is longer than needed: {data.hex()[:80]}")
            return value, place + 1
        shift += 7
    raise Failure(f"a varint is cut short: {data.hex()[:80]}")


def _put_varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def histogram_index(value: int) -> int:
    """The bucket of a duration in microseconds: exact below 64, then 64 buckets per octave."""
    if value < 64:
        return value
    exponent = value.bit_length() - 1
    return (exponent - 5) * 64 + (value >> (exponent - 6) & 63)


def decode_histogram(data: bytes) -> dict[int, int]:
    """Counts by bucket index."""
    result, place, following = {}, 0, 0
    while place < len(data):
        gap, place = _varint(data, place)
        count, place = _varint(data, place)
        if count == 0:
            raise Failure(f"a histogram has an empty bucket: {data.hex()[:80]}")
        result[following + gap] = count
        following += gap + 1
    return result


def encode_histogram(counts: dict[int, int]) -> bytes:
    """The canonical encoding."""
    out, following = bytearray(), 0
    for index in sorted(counts):
        out += _put_varint(index - following) + _put_varint(counts[index])
        following = index + 1
    return bytes(out)


def merge_histograms(encoded: Iterable[bytes]) -> bytes:
    """The encoding of all together."""
    total: dict[int, int] = {}
    for data in encoded:
        for index, count in decode_histogram(data).items():
            total[index] = total.get(index, 0) + count
    return encode_histogram(total)


def histogram_of(values: Iterable[int]) -> bytes:
    """The encoding of some durations."""
    total: dict[int, int] = {}
    for value in values:
        index = histogram_index(value)
        total[index] = total.get(index, 0) + 1
    return encode_histogram(total)


def decode_sketch(data: bytes) -> dict[int, int]:
    """Rank by register, of a sparse or dense HyperLogLog with p = 12."""
    if not data:
        return {}
    result: dict[int, int] = {}
    if data[0] == 1:
        place, following = 1, 0
        while place < len(data):
            value, place = _varint(data, place)
            register, rank = following + (value >> 6), value & 63
            if register >= REGISTERS or not 1 <= rank <= 53:
                raise Failure(f"a sketch has register {register} with rank {rank}")
            result[register] = rank
            following = register + 1
        return result
    if data[0] == 2 and len(data) == DENSE_BYTES:
        bits = int.from_bytes(data[1:], "little")
        for register in range(REGISTERS):
            rank = bits >> 6 * register & 63
            if rank:
                result[register] = rank
        return result
    raise Failure(f"no sketch: {data[:8].hex()}… of {len(data)} bytes")


def encode_sketch(ranks: dict[int, int]) -> bytes:
    """The canonical encoding: the shorter of both forms."""
    if not ranks:
        return b""
    out, following = bytearray(b"\x01"), 0
    for register in sorted(ranks):
        out += _put_varint((register - following) << 6 | ranks[register])
        following = register + 1
    if len(out) <= DENSE_BYTES:
        return bytes(out)
    bits = sum(rank << 6 * register for register, rank in ranks.items())
    return b"\x02" + bits.to_bytes(DENSE_BYTES - 1, "little")


def merge_sketches(encoded: Iterable[bytes]) -> bytes:
    """The encoding of all together."""
    total: dict[int, int] = {}
    for data in encoded:
        for register, rank in decode_sketch(data).items():
            total[register] = max(total.get(register, 0), rank)
    return encode_sketch(total)


def nearest_rank(ordered: list[int], quantile: float) -> int:
    """The value at rank ⌈q × n⌉ of sorted values, as `percentile_disc`."""
    # Decimal places of the usual quantiles: 0.999 × 1000 must be 999, not 999.0000000001.
    rank = math.ceil(round(quantile * len(ordered), 6))
    return ordered[max(1, rank) - 1]


# The hash that decides registers and the cardinality bound ---------------------------------------

_K0, _K1, _K2 = 0xA0761D6478BD642F, 0xE7037ED1A0B428DB, 0x8EBC6AF09C88C6E3
_MASK = (1 << 64) - 1


def _mix(left: int, right: int) -> int:
    product = left * right
    return product & _MASK ^ product >> 64


@functools.cache
def stable_hash(data: bytes) -> int:
    """The 64-bit hash of docs/formats/sketches.md."""
    state = _K2
    padded = data + bytes(-len(data) % 16) if data else bytes(16)
    for start in range(0, len(padded), 16):
        first = int.from_bytes(padded[start:start + 8], "little")
        second = int.from_bytes(padded[start + 8:start + 16], "little")
        state = _mix(first ^ _K0, second ^ state)
    return _mix(state ^ _K1, len(data) ^ _K0)


def sketch_of(values: Iterable[str]) -> bytes:
    """The encoding of the sketch of some texts."""
    ranks: dict[int, int] = {}
    for value in set(values):
        hashed = stable_hash(value.encode())
        register, rest = hashed >> 52, hashed & (1 << 52) - 1
        ranks[register] = max(ranks.get(register, 0), 53 - rest.bit_length())
    return encode_sketch(ranks)


def key_rank(dimensions: list[str], values: Iterable[str]) -> int:
    """The order in which keys are kept when there are too many."""
    state, number, is_unmatched = _K2, 0, False
    for name, value in zip(dimensions, values):
        is_unmatched |= name == "route" and value == "__unmatched__"
        data = int(value or 0).to_bytes(8, "little", signed=True) if name == "status" else value.encode()
        state = _mix(stable_hash(data) ^ _K0, state ^ number)
        number += 1
    return (_mix(state ^ _K1, number ^ _K0) >> 1) + (is_unmatched << 63)
