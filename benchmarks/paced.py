"""Produce at a steady rate, whatever the broker does: a process of its own, so that nothing beside delays it.

Each event has its moment, start + number / rate, fixed beforehand. What is late is sent at once, and its time counts
from its moment all the same: a broker that stops for a second delays all that was due in it (no coordinated
omission). Ends with a line of JSON: how late an event was handed to the producer at most, how long all
took, and what of CPU time.
"""

from __future__ import annotations

import asyncio
import sys
import time

import orjson
from aiokafka import AIOKafkaProducer

from benchmarks.load import Load

TICK_S = 0.005


async def play(broker: str, load: Load, rate: int, start_s: float) -> None:
    """Send the load, event by event in its order, from `start_s` by the clock (epoch seconds)."""
    records = list(load.records())
    producer = AIOKafkaProducer(bootstrap_servers=broker, linger_ms=5, max_batch_size=1 << 18)
    await producer.start()
    latest_s, sent, cpu_before_s = 0.0, 0, time.process_time()
    try:
        while sent < len(records):
            now_s = time.time()
            due = min(len(records), int((now_s - start_s) * rate) + 1) if now_s >= start_s else 0
            if due > sent:
                latest_s = max(latest_s, now_s - (start_s + sent / rate))
            for record in records[sent:due]:
                await producer.send(record.topic, record.value, key=record.key)
            sent = max(sent, due)
            await asyncio.sleep(TICK_S)
        await producer.flush()
    finally:
        await producer.stop()
    taken_s = time.process_time() - cpu_before_s
    told = {"latest_s": latest_s, "seconds": time.time() - start_s, "events": sent, "cpu_s": taken_s}
    sys.stdout.write(orjson.dumps(told).decode() + "\n")


if __name__ == "__main__":
    address, decisions, seed, rate_text, start_text = sys.argv[1:]
    what = Load(int(decisions), 16, "json", int(seed), lead_ms=60_000)
    asyncio.run(play(address, what, int(rate_text), float(start_text)))
