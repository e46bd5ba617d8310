"""Decisions only: no I/O, no clock, no randomness, no logging, no async.

Time comes in with the snapshot (`Snapshot.now`), numbers and rules come in with the policy, and
each result is a value with its reason. `lint-imports` and `tests/test_house.py` check this.

A newcomer's tour: `model/nouns.py` (the terms), `plan/planner.py` (the four questions and
`decide`), `guard/guard.py` (what must never happen), then `runtime/tick.py` (observe, decide, act)
and `wiring.py` (which adapter is used).
"""
