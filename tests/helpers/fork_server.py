"""A process that has imported the server, and forks a process for each `tms serve` that a test starts.

A start takes a tenth of the CPU time that the imports would take. ``server_processes`` runs the text of this
file and sends the requests. Each is one message on the socket whose file descriptor is the argument: a JSON
object with ``arguments`` and ``environ``, and three file descriptors: a socket for the response, standard
output and standard error. The response is the process id, and after the end of the process its exit status.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import site
import socket
import sys
from importlib import import_module

from pytest_tms.cli import main

MODULES = (
    "psycopg",
    "pytest_tms.cli.serve",
    "pytest_tms.server.app",
    "pytest_tms.server.listeners",
    "pytest_tms.server.serving",
    "pytest_tms.server.store.object_store",
    "pytest_tms.server.webhooks.encryption",
)
"""What a server imports when it starts."""
MAX_REQUEST = 1 << 20


def serve_requests(control: socket.socket) -> None:
    """Fork a process for each request until the other end is closed. Returns in the processes, too."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody reads how the processes below end
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        text, files, _, _ = socket.recv_fds(control, MAX_REQUEST, 3)
        if not text:
            return
        if os.fork():
            for file in files:
                os.close(file)
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        control.close()
        start(json.loads(text), *files)
        return


def start(request: dict[str, object], response: int, stdout: int, stderr: int) -> None:
    """Fork the process of `tms serve`, and respond with its id and its exit status."""
    if pid := os.fork():
        os.write(response, str(pid).encode())
        os.write(response, str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())
        os._exit(0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.close(response)
    for file, number in ((stdout, 1), (stderr, 2)):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(request["environ"])  # type: ignore[call-overload]  # JSON
    if path := os.environ.get("PYTHONPATH"):  # of a test that changes the interpreter
        sys.path[:0] = path.split(os.pathsep)
        site.execsitecustomize()
    sys.argv = ["tms", *request["arguments"]]  # type: ignore[misc]  # JSON
    main()


if __name__ == "__main__":
    for module in MODULES:
        import_module(module)
    gc.freeze()  # no process copies the memory of these objects to count their references
    serve_requests(socket.socket(fileno=int(sys.argv[1])))
