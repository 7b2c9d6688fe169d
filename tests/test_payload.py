"""Entries of a model and the bytes that they take on the way."""

from splitmix.payload import payload_bytes, payload_entries


def test_an_entry_is_a_32_bit_float_and_bytes_tell_the_entries():
    assert payload_bytes(1000) == 4000
    assert payload_entries(payload_bytes(12345)) == 12345
