"""Child of test_crash: commits and acknowledges until it is killed, saying after each step what is durable."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from gnss.clock import SystemClock
from tests.uplink.builders import opened
from uplink.store import SqliteStore

if __name__ == "__main__":
    path, first = Path(sys.argv[1]), int(sys.argv[2])
    store = SqliteStore(path, "car-1", SystemClock())
    print("ready", flush=True)
    for number in itertools.count(first):
        store.commit([opened(number, pictures=2)])
        print(f"case {number}", flush=True)
        envelope = store.outbox.next_event()
        if number % 3 == 0 and envelope is not None:
            store.outbox.ack_event(envelope.key, {"receipt_id": "r"}, 201)
            print(f"acked {envelope.seq}", flush=True)
            blob = store.outbox.next_blob()
            if blob is not None:
                store.outbox.ack_blob(blob.sha256, 201)
                store.outbox.purge()
