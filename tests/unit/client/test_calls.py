"""Threads that read their first messages at once."""

from __future__ import annotations

import subprocess
import sys

FIRST_MESSAGES = """
import sys, threading
import msgspec
from pytest_tms.client import calls
sys.setswitchinterval(1e-7)
together = threading.Barrier(8)
def read():
    together.wait()
    for call in calls.ALL:
        for kind in (call.takes, call.gives):
            try:
                calls.decoder(kind).decode(b'{"executionId": "x", "tests": [{"title": "t"}]}')
            except msgspec.MsgspecError:
                pass
threads = [threading.Thread(target=read) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def test_threads_that_read_a_first_message_at_once_do_not_crash_the_process() -> None:
    for _ in range(10):  # a crash comes in about one of three
        completed = subprocess.run([sys.executable, "-c", FIRST_MESSAGES], capture_output=True, check=False)
        assert completed.returncode == 0, completed.stderr
