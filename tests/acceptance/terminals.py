"""Plays a script of expected texts and keys on a terminal: a desk in this process, or a program."""

import fcntl
import os
import pty
import struct
import sys
import termios
import threading

import pexpect
import pexpect.fdpexpect

from agent import wiring
from agent.adapters.files.policy import rule_lines
from agent.cli.approval.prompt import ApprovalPrompt
from agent.cli.approval.terminal import Keys
from agent.cli.console import Console
from tests.acceptance.program import COMMAND, environment, heeding_signals

QUESTION = r"\? \[y.*?digest [0-9a-f]{12} "


def desk(project, script, *, size=(24, 80)):
    """What a desk on a terminal of `size` lines and columns showed while the script was played.

    A step is a text to wait for and the keys to press then.
    """
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    seen, faults, over = [], [], threading.Event()

    def driver():
        child = pexpect.fdpexpect.fdspawn(master, timeout=20, encoding="utf-8")
        try:
            for wanted, keys in script:
                child.expect(wanted)
                seen.append(child.before + child.after)
                child.send(keys)
            child.expect(pexpect.EOF)
            seen.append(child.before)
        except (pexpect.ExceptionPexpect, OSError) as error:
            faults.append(error)
            while not over.wait(0.05):
                child.send("\x04")  # quit, whatever it is at

    thread = threading.Thread(target=driver)
    settings = wiring.settings_above(project.folder)
    policy = wiring.policy_of(settings)
    places = rule_lines(wiring.shipped("policies"))
    environ = {"TERM": "xterm-256color", "COLUMNS": str(size[1])}
    with wiring.open_answering(settings, policy) as answering:
        out = os.fdopen(slave, "w", encoding="utf-8")
        console = Console(out, sys.stderr, environ)
        thread.start()
        ApprovalPrompt(console, Keys(slave, 0.01), answering, policy, places, supervised=True).run()
        over.set()
        out.close()
        thread.join()
        os.close(master)
    if faults:
        raise faults[0]
    return "".join(seen)


def program(project, *arguments, size=(24, 80), **more):
    """The real program on a real terminal."""
    with heeding_signals():
        return pexpect.spawn(
            COMMAND[0],
            [*COMMAND[1:], *arguments],
            cwd=str(project.folder),
            env=environment(**more),
            dimensions=size,
            encoding="utf-8",
            timeout=30,
        )
