"""The checksum of a kept result."""

import hashlib
import zlib

from hypothesis import given
from hypothesis import strategies as st

from studio_worker.jobs.checksum import checksum_like, checksum_of


@given(st.lists(st.binary(max_size=300)))
def test_is_that_of_all_bytes_however_they_come(blocks):
    assert checksum_of(blocks) == f"{zlib.crc32(b''.join(blocks)):08x}"


@given(st.binary(min_size=1, max_size=300), st.data())
def test_tells_one_flipped_bit(data, draw):
    bit = draw.draw(st.integers(0, 8 * len(data) - 1))
    flipped = (int.from_bytes(data) ^ (1 << bit)).to_bytes(len(data))
    assert checksum_of([flipped]) != checksum_of([data])


@given(st.binary(max_size=300))
def test_of_a_journal_of_schema_1_is_sha_256(data):
    for known in (hashlib.sha256(data).hexdigest(), checksum_of([data])):
        summed = checksum_like(known)
        summed.update(data)
        assert summed.hexdigest() == known
