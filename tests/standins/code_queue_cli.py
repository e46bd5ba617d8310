"""The stand-in's command line: hands its arguments to the service, as the real one does.

It is started for every call, so it imports next to nothing.
"""

import json
import os
import socket
import sys


def asked(host: str, body: bytes) -> tuple[int, bytes]:
    """Status and body of the service's answer; OSError if there is none."""
    name, _, port = host.partition(":")
    with socket.create_connection((name, int(port))) as connection:
        head = f"POST /cli HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        with connection.makefile("rb") as answer:
            first, _, rest = answer.read().partition(b"\r\n")
    if not first:
        raise OSError("it closed the connection")
    return int(first.split()[1]), rest.partition(b"\r\n\r\n")[2]


def main() -> int:
    stdin = sys.stdin.read() if "--prompt-file" in sys.argv else ""
    body = json.dumps({"argv": sys.argv[1:], "stdin": stdin}).encode()
    try:
        status, text = asked(os.environ["CODE_QUEUE_STANDIN"].removeprefix("http://"), body)
    except OSError as error:
        sys.stderr.write(f"the service went away: {error}\n")
        return 1
    if status != 200:
        sys.stderr.write(f"{text.decode()}\n")
        return 1
    sys.stdout.write(text.decode())
    return 0


sys.exit(main())
