"""Runs pytest repeatedly: reads a folder and arguments from each line of JSON, and runs pytest in a fork."""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module

import pytest

for name in ("client", "sender.uploader", "plugin.session"):
    import_module(f"pytest_tms.{name}")

for line in sys.stdin:
    folder, arguments = json.loads(line)
    child = os.fork()
    if not child:
        os.chdir(folder)
        output = os.open("output.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(output, stream)
        status = 99
        try:
            status = int(pytest.main(arguments))
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
