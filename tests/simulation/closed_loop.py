"""The guard in a closed loop: any action at any time, in a world that moves when it likes.

The proposer is an adversary with a person's yes to everything. Breadth first over all reachable
states of a small world; each effect is held to what must be true at that very moment, in plain
words and not in the guard's.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from functools import cache

from agent.core.guard.facts import FACTS, FOOTPRINT
from agent.core.guard.guard import judge
from agent.core.model.actions import READING, SENDS_PROMPT, WINDOW_ACTIONS, Action
from tests.core import worlds as w


@dataclass(frozen=True)
class Task:
    """One piece of work, its possible replacement, and the supervisor's own condition."""

    status: str = "planned"
    alive: bool = False
    read: bool = True
    proof: str = "missing"
    infrastructure: bool = False
    defect: str = "none"
    continuable: bool = True
    attempts: int = 1
    """Those it may still be given."""
    twin: str = "none"
    """The replacement: none, queued or over."""
    sending: int = 0
    """Submits under way."""
    suspended: bool = False

    @property
    def over(self) -> bool:
        return self.status in ("settled", "cancelled")

    @property
    def broken_off(self) -> bool:
        """So far only without a guard; what follows is not looked at."""
        return self.sending > 1 or self.over

    @property
    def at_work(self) -> bool:
        return self.status in ("queued", "working") or self.twin == "queued"

    def facts(self) -> dict[str, str]:
        ended = self.status in ("finished", "cancelled")
        return {
            "suspended": "yes" if self.suspended else "no",
            "submit_slot": "taken" if self.sending else "free",
            "lanes": "full" if self.at_work else "free",
            "status": self.status,
            "result": ("read" if ended else "none") if self.read else "unread",
            "liveness": ("live" if self.alive else "dead")
            if self.status == "working"
            else "not-running",
            "proof": self.proof,
            "criteria": "met" if self.proof == "proven" else "unmet",
            "truth": "remote" if self.proof == "proven" else "local",
            "failure": "infrastructure" if self.infrastructure else "own",
            "defect": self.defect,
            "continuable": "yes" if self.continuable else "no",
            "budget": "left" if self.attempts else "spent",
        }

    def moves(self) -> Iterator["Task"]:
        """What the world may do next."""
        yield replace(self, suspended=not self.suspended)
        if self.sending:
            yield replace(self, sending=self.sending - 1)
        if self.status == "queued":
            yield replace(self, status="working", alive=True)
        if self.status == "working":
            yield replace(self, alive=not self.alive)
            yield from self._ends()
        if self.status == "finished":
            # Evidence is looked at, and what was on the remote may be gone again.
            yield replace(self, proof={"claimed": "proven"}.get(self.proof, "contradicted"))
            yield replace(self, status="queued", proof="missing", read=True)  # by another hand
        if self.status == "parked":
            yield replace(self, read=False)  # a superseded attempt reports late
        if self.defect == "recorded":
            yield replace(self, defect="fixed")
        if self.defect == "fixed":
            yield replace(self, defect="recorded")  # it comes back
        if self.twin == "queued":
            yield replace(self, twin={"queued": "over"}[self.twin])

    def _ends(self) -> Iterator["Task"]:
        done = replace(self, status="finished", alive=False, read=False)
        yield replace(done, proof="claimed", infrastructure=False)
        yield replace(done, proof="missing", infrastructure=False)
        yield replace(done, proof="missing", infrastructure=False, continuable=False)
        yield replace(done, proof="missing", infrastructure=True, defect="unrecorded")

    def after(self, action: Action) -> "Task":
        """The world once the action has been carried out."""
        sent = {"sending": self.sending + (action in SENDS_PROMPT)}
        again = {**sent, "status": "queued", "proof": "missing", "read": True}
        change = {
            Action.SUBMIT: again,
            Action.RELEASE: again,
            Action.RETRY: {**again, "attempts": max(0, self.attempts - 1)},
            Action.REPLACE: {**sent, "status": "settled", "twin": "queued"},
            Action.SPLIT_DEFECT: sent,
            Action.ACCEPT: {"status": "settled"},
            Action.HAND_OVER: {"status": "settled"},
            Action.CANCEL: {"status": "cancelled", "alive": False, "read": False},
            Action.INTERRUPT: {
                "status": "finished", "alive": False, "read": False, "proof": "missing",
            },
            Action.PARK: {"status": "parked", "read": True},
            Action.INSPECT: {"read": True},
            Action.OPEN_ISSUE: {"defect": "recorded"},
        }  # fmt: skip
        return replace(self, **change.get(action, {}))

    def wrongs(self, action: Action) -> Iterator[str]:
        """What is wrong with doing this now."""
        starts = action in (Action.SUBMIT, Action.RETRY, Action.RELEASE, Action.REPLACE)
        stops = action in (Action.INTERRUPT, Action.CANCEL)
        sends_back = action in (Action.SUBMIT, Action.RETRY)
        changes = action not in READING
        on_a_task = changes and action not in (*WINDOW_ACTIONS, Action.RUN_HEAVY_CHECK)
        known = self.defect in ("unrecorded", "recorded")
        told = {
            "the same work runs twice": starts and self.at_work,
            "work that was over begins again": starts and self.over,
            "a live worker is stopped": stops and self.alive,
            "accepted without evidence": action is Action.ACCEPT and self.proof != "proven",
            "two submits under way": action in SENDS_PROMPT and self.sending,
            "replaced although it can go on": action is Action.REPLACE and self.continuable,
            "sent into a known defect": sends_back and known,
            "a defect is mended that nobody wrote down": action is Action.SPLIT_DEFECT
            and self.defect != "recorded",
            "sent back without an attempt left": action is Action.RETRY and not self.attempts,
            "acted on an unread result": on_a_task and not self.read,
            "acted while suspended": changes and self.suspended,
        }
        return (what for what, is_so in told.items() if is_so)


@dataclass(frozen=True)
class Lanes:
    """The window: how many lanes there are, and how many are busy."""

    limit: int = 1
    busy: int = 0
    slipping: bool = False
    overlapping: bool = False
    MOST = 3

    over = True  # a window has no end that must be reached

    @property
    def broken_off(self) -> bool:
        """So far only without a guard; what follows is not looked at."""
        return self.limit > self.MOST or self.busy > self.MOST

    def facts(self) -> dict[str, str]:
        return {
            "status": "planned",
            "quality": "slipping" if self.slipping else "steady",
            "scopes": "overlapping" if self.overlapping else "distinct",
            "ceiling": "reached" if self.limit >= self.MOST else "below",
            "lanes": "free" if self.busy < self.limit else "full",
        }

    def moves(self) -> Iterator["Lanes"]:
        yield replace(self, slipping=not self.slipping)
        yield replace(self, overlapping=not self.overlapping)
        if self.busy:
            yield replace(self, busy=self.busy - 1)
        if self.busy < self.limit:
            yield replace(self, busy=self.busy + 1)  # another task takes a lane

    def after(self, action: Action) -> "Lanes":
        match action:
            case Action.WIDEN_WINDOW:
                return replace(self, limit=self.limit + 1)
            case Action.NARROW_WINDOW:
                return replace(self, limit=max(1, self.limit - 1))
            case Action.SUBMIT:
                return replace(self, busy=self.busy + 1)
        return self

    def wrongs(self, action: Action) -> Iterator[str]:
        if action is Action.WIDEN_WINDOW and self.slipping:
            yield "widened while slipping"
        if action is Action.WIDEN_WINDOW and self.overlapping:
            yield "widened over overlapping scopes"
        if action is Action.WIDEN_WINDOW and self.limit >= self.MOST:
            yield "widened past the maximum"
        if action is Action.SUBMIT and self.busy >= self.limit:
            yield "more lanes busy than there are"


World = Task | Lanes
_WELL = {
    "mode": "auto", "consent": "given", "approval": "granted", "suspended": "no",
    "api": "reachable", "submit_slot": "free", "lanes": "free", "prompt": "self-contained",
    "result": "none", "defect": "none",
}  # fmt: skip


@cache
def permits(action: Action, state: World) -> bool:
    known = dict.fromkeys(FACTS, "unknown") | _WELL | state.facts()
    facts = {fact: known[fact] for fact in FOOTPRINT[action]}
    return _judged(action, tuple(facts.items()))


@cache
def _judged(action: Action, facts: tuple[tuple[str, str], ...]) -> bool:
    return judge(action, dict(facts), w.policy().guard)[0]


@dataclass
class Walk:
    """Every state that can be reached, what went wrong on the way, and where no end can be seen."""

    first: World
    guarded: bool = True
    meanwhile: bool = False
    """The world may move between the decision and the effect."""
    looks_again: bool = False
    """The guard is asked again directly before the effect."""
    wrongs: set[str] = field(default_factory=set)
    after: dict[World, set[World]] = field(default_factory=dict)

    def run(self, enough: Collection[str] = ()) -> "Walk":
        """All of it, or until everything of `enough` has gone wrong."""
        waiting = deque([self.first])
        while waiting and not (enough and self.wrongs >= set(enough)):
            state = waiting.popleft()
            if state not in self.after:
                self.after[state] = {*state.moves(), *self._effects(state)}
                waiting.extend(one for one in self.after[state] if one not in self.after)
        return self

    def _effects(self, state: World) -> Iterator[World]:
        for action in Action:
            if self.guarded and not permits(action, state):
                continue
            for there in (state, *(state.moves() if self.meanwhile else ())):
                if self.looks_again and not permits(action, there):
                    continue
                self.wrongs |= set(there.wrongs(action))
                if not there.broken_off:
                    yield there.after(action)

    def stuck(self, luck: Callable[[World, World], bool] = lambda _a, _b: False) -> set[World]:
        """The states from which no end can be reached."""
        before: dict[World, set[World]] = {}
        for state, following in self.after.items():
            for one in following:
                if not luck(state, one):
                    before.setdefault(one, set()).add(state)
        good = {state for state in self.after if state.over}
        waiting = deque(good)
        while waiting:
            for state in before.get(waiting.popleft(), ()):
                if state not in good:
                    good.add(state)
                    waiting.append(state)
        return set(self.after) - good
