"""Every single edit of the shipped rule table, offered to the load gate.

A rule deleted or flipped, a condition dropped, a value changed, a fact swapped for another, the
scope changed. Target: every edit that changes a decision is refused. Ends with 1 if one is not.

    python benchmarks/policy_edits.py
"""

import sys

from tests.core import worlds as w
from tests.core.policy_edits import Report, edits


def main() -> None:
    report = Report()
    for edit in edits(w.policy().guard.rule):
        report.count(edit)
    print(report)
    for name in report.unnoticed:
        print(f"unnoticed: {name}")
    sys.exit(1 if report.unnoticed else 0)


if __name__ == "__main__":
    main()
