"""The stand-in's command line: hands its arguments to the service, as the real one does."""

import http.client
import json
import os
import sys


def main() -> int:
    host = os.environ["CODE_QUEUE_STANDIN"].removeprefix("http://")
    stdin = sys.stdin.read() if "--prompt-file" in sys.argv else ""
    body = json.dumps({"argv": sys.argv[1:], "stdin": stdin})
    connection = http.client.HTTPConnection(host)
    try:
        connection.request("POST", "/cli", body)
        answer = connection.getresponse()
        text = answer.read().decode()
    except (OSError, http.client.HTTPException) as error:
        sys.stderr.write(f"the service went away: {error}\n")
        return 1
    if answer.status != 200:
        sys.stderr.write(f"{text}\n")
        return 1
    sys.stdout.write(text)
    return 0


sys.exit(main())
