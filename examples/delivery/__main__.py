"""Plays the delivery; `--keep` leaves its folder, to look around."""

import argparse
import sys

from agent.cli.console import standard
from agent.cli.errors import run_command
from examples.delivery.demo import deliver

asked = argparse.ArgumentParser(prog="python -m examples.delivery", description=__doc__)
asked.add_argument("--keep", action="store_true")
keep = asked.parse_args().keep
console = standard()
sys.exit(run_command(lambda: deliver(console, keep=keep), console))
