"""A person whose git configuration breaks or bends every git that heeds it."""

import os
import stat
import subprocess
from pathlib import Path

NOWHERE = "file:///nowhere/"
VARIABLES = {
    "GIT_DEFAULT_HASH": "sha256",
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_EXTERNAL_DIFF": "{fails}",
    "GIT_EDITOR": "{fails}",
    "GIT_TEMPLATE_DIR": "{home}/template",
    "GIT_INDEX_FILE": "{home}/no-index",
    "GIT_COMMITTER_DATE": "no date",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "commit.gpgSign",
    "GIT_CONFIG_VALUE_0": "true",
    "GIT_CONFIG_PARAMETERS": "'core.hooksPath'='{home}/hooks'",
}
"""What may stand in the person's environment, as in a git hook or in a shell's profile."""


class Person:
    """With a home of their own; `world` is the folder in which all repositories are."""

    def __init__(self, home: Path, world: Path) -> None:
        self.home = home
        self.asked = home / "asked"
        """It is there if a program was run that the configuration names."""
        self.fails = self._program("fails")
        hooks = "pre-commit commit-msg post-checkout pre-push reference-transaction"
        for hook in hooks.split():
            self._program(f"hooks/{hook}")
        self._program("template/hooks/reference-transaction")
        own = home / ".config" / "git"
        own.mkdir(parents=True)
        (own / "attributes").write_text("* filter=broken\n", encoding="utf-8")
        (own / "ignore").write_text("*\n", encoding="utf-8")
        fails, at = self.fails, f"{world}/"
        self.pieces = {
            "signed commits": f"[commit]\ngpgSign\n[tag]\ngpgSign\n[gpg]\nprogram = {fails}",
            "hooks that fail": f"[core]\nhooksPath = {home}/hooks",
            "a template with a hook": f"[init]\ntemplateDir = {home}/template",
            "line ends of Windows": "[core]\nautocrlf = true",
            "a filter that fails": (
                f'[filter "broken"]\nclean = {fails}\nsmudge = {fails}\nrequired = true'
            ),
            "nothing is pushed": "[push]\ndefault = nothing",
            "no bare repositories": "[safe]\nbareRepository = explicit",
            "another default branch": "[init]\ndefaultBranch = trunk",
            "fetched from elsewhere": f'[url "{NOWHERE}"]\ninsteadOf = {at}',
            "pushed to elsewhere": f'[url "{NOWHERE}"]\npushInsteadOf = {at}',
            "no paths as remotes": '[protocol "file"]\nallow = never',
            "an editor that fails": f"[core]\neditor = {fails}\n[commit]\ntemplate = /nowhere",
            "a monitor": f"[core]\nfsmonitor = {fails}",
            "another diff": f"[diff]\nexternal = {fails}\n[color]\nui = always",
        }

    def at_home(self, *names: str) -> dict[str, str]:
        """What puts the settings `names` in force, or all of them."""
        file = self.home / ".gitconfig"
        text = "\n".join(self.pieces[name] for name in names or self.pieces)
        file.write_text(f"{text}\n", encoding="utf-8")
        more = {"GIT_CONFIG_GLOBAL": str(file), "XDG_CONFIG_HOME": str(self.home / ".config")}
        return {"HOME": str(self.home), "GIT_CONFIG_NOSYSTEM": "1", **more}

    def environment(self, *names: str, more: bool = False) -> dict[str, str]:
        """All of it, with these settings and no others; `more`: with `VARIABLES` as well."""
        plain = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("GIT_", "XDG_", "EMAIL"))
        }
        fills = {"home": str(self.home), "fails": str(self.fails)}
        variables = {name: value.format(**fills) for name, value in VARIABLES.items()}
        return plain | self.at_home(*names) | (variables if more else {})

    def git(self, folder: Path, *arguments: str, env: dict[str, str]) -> str | None:
        """What their own git prints; None: it fails."""
        done = subprocess.run(
            ["git", "-c", "user.name=Ann", "-c", "user.email=ann@example.org", *arguments],
            cwd=folder,
            env=env,
            check=False,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=30,
        )
        return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None

    def _program(self, name: str) -> Path:
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        script = (
            f"#!/bin/sh\ntouch {self.asked}\necho 'a program of the person fails' >&2\nexit 1\n"
        )
        path.write_text(script, encoding="utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path
