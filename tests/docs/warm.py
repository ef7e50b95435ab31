"""The program without its start: a process that has imported everything forks itself for every command.

A page has a dozen commands, and most of them take longer to start than to run. `python -m tests.docs.warm SOCKET`.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import traceback
from pathlib import Path

CLIENT = """#!{python} -S
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as there:
    there.connect({socket!r})
    call = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(there, [b"%8d" % len(call)], [0, 1, 2])
    there.sendall(call)
    sys.exit(there.recv(1)[0])
"""


def install(folder: Path, socket_path: Path) -> None:
    """Put a command `curation` into the folder that has the process at the socket do the work."""
    command = folder / "curation"
    command.write_text(CLIENT.format(python=sys.executable, socket=str(socket_path)))
    command.chmod(0o755)


def serve(path: str) -> None:
    """Import what commands need, then run each in a process of its own, for ever."""
    from curation.cli.commands import COMMANDS, load

    for entries in COMMANDS.values():
        for entry in entries:
            load(entry.name)
    __import__("curation.sqsd.load")
    __import__("curation.report.render")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as here:
        here.bind(path)
        here.listen()
        while True:
            caller, _ = here.accept()
            if os.fork() == 0:
                _answer(caller)
            caller.close()


def _answer(caller: socket.socket) -> None:
    from curation.cli.main import main

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    length, files, _, _ = socket.recv_fds(caller, 8, 3)
    argv, cwd, environment = json.loads(caller.recv(int(length), socket.MSG_WAITALL))
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["curation", *argv]
    code = 1
    try:
        main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        caller.sendall(bytes([code]))
        os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
