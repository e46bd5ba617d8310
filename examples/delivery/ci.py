"""The demonstration's CI: the origin's post-receive hook, which builds images of what was pushed.

One image for each service, made of the commit's own files and of nothing else, and tagged with it.
"""

import io
import os
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

from agent.adapters.common import git
from examples.delivery.images import REVISION, Pusher, image


def files_of(repository: Path, commit: str, service: str) -> dict[str, bytes]:
    """A service's files in `commit`."""
    archived = git.run("archive", "--format=tar", commit, folder=repository)
    with tarfile.open(fileobj=io.BytesIO(archived.encode("utf-8", "surrogateescape"))) as tar:
        members = [one for one in tar.getmembers() if one.name.startswith(f"{service}/")]
        opened = {one.name: tar.extractfile(one) for one in members if one.isfile()}
        return {name: file.read() for name, file in opened.items() if file is not None}


def build(
    registry: str,
    repository: Path,
    commit: str,
    service: str,
    more: Mapping[str, bytes] | None = None,
) -> str:
    """Make the image of `service` at `commit` and push it, tagged unless it holds more; digest."""
    pusher = Pusher(registry, f"kiosk/{service}")
    try:
        files = {**files_of(repository, commit, service), **(more or {})}
        made = image(files, {REVISION: commit})
        return pusher.push(made, tag=None if more else commit)
    finally:
        pusher.close()


def main() -> None:
    """Build what was pushed: one line per reference on standard input, as git gives them."""
    registry, services = os.environ["DEMO_REGISTRY"], os.environ["DEMO_SERVICES"].split()
    for line in sys.stdin:
        _, commit, _ = line.split()
        for service in services:
            build(registry, Path.cwd(), commit, service)


if __name__ == "__main__":
    main()
