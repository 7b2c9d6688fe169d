"""Streams of randomness: functions of the seed and of what they are for."""

import pytest

from splitmix.randomness import LazyRngs, rng


def test_streams_of_several_keys_are_those_of_each_and_parts_go_on_with_them():
    keys = [("objective", 3, client) for client in range(4)]
    streams, expected = LazyRngs(1, keys), [rng(1, *key) for key in keys]
    assert len(streams) == 4 and not streams.made
    part = streams[1:3]
    assert len(part) == 2
    assert part[0].random() == expected[1].random()
    assert part[1:][0].random() == expected[2].random()
    assert set(streams.made) == {1, 2}
    assert [stream.random() for stream in streams] == [stream.random() for stream in expected]
    assert streams[-1] is streams[3]
    with pytest.raises(IndexError):
        part[2]
