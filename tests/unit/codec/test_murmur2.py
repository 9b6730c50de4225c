from __future__ import annotations

import random

from aiokafka.partitioner import DefaultPartitioner

from pipeline.codec.murmur2 import MANY, partition_of, partitions_of


def test_a_key_belongs_to_the_partition_where_other_clients_put_it() -> None:
    elsewhere = DefaultPartitioner()
    rng = random.Random(1)  # noqa: S311  any bytes will do
    # Each remainder of the length by 4 is another way through; 12 and 7 are no powers of two.
    for length in range(70):
        for partitions in (1, 4, 7, 12):
            key, numbers = rng.randbytes(length), list(range(partitions))
            assert partition_of(key, partitions) == elsewhere(key, numbers, numbers), (key, partitions)


def test_keys_side_by_side_belong_where_each_belongs_by_itself() -> None:
    rng = random.Random(2)  # noqa: S311  any bytes will do
    for length in range(40):
        keys = [rng.randbytes(length) for _ in range(MANY + 3)]
        for some in (keys, keys[: MANY - 1], [*keys, b"another length", b""]):
            assert partitions_of(some, 12) == [partition_of(key, 12) for key in some], (length, len(some))
