"""Bytes that travel between clients and server: every entry of a model is a 32-bit float."""

from __future__ import annotations

BYTES_PER_ENTRY = 4


def payload_bytes(entries: int) -> int:
    """Bytes of so many entries of a model, one way."""
    return BYTES_PER_ENTRY * entries


def payload_entries(payload: int) -> float:
    """Entries of a model that so many bytes hold."""
    return payload / BYTES_PER_ENTRY
