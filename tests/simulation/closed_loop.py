"""The guard in a closed loop: any action at any time, in a world that moves when it likes.

The proposer is an adversary with a person's yes to everything. Breadth first over all reachable
states of a small world; each effect is held to what must be true at that very moment, in plain
words and not in the guard's.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

from agent.core.guard.facts import FACTS, FOOTPRINT
from agent.core.guard.guard import judge
from agent.core.model.actions import READING, SENDS_PROMPT, WINDOW_ACTIONS, Action
from tests.core import worlds as w

BEFORE_IT_IS_JUDGED = (Action.INSPECT, Action.JUDGE, Action.HAND_OVER)
UNPUSHED = {
    "proof": "missing", "judged": "nothing", "shown": False, "lingering": False, "heavy": False,
}  # fmt: skip


class Task(NamedTuple):
    """One piece of work, its possible replacement, and the supervisor's own condition."""

    status: str = "planned"
    alive: bool = False
    read: bool = True
    proof: str = "missing"
    judged: str = "nothing"
    """Of what this attempt pushed: nothing, missing, ordered, failed or passed."""
    shown: bool = False
    """The judgement shows that the change does something."""
    lingering: bool = False
    """The attempt is over, and its agent may still write."""
    heavy: bool = False
    """Its commands are too heavy for the machine that would run them."""
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

    @property
    def unjudged(self) -> bool:
        return self.judged in ("missing", "ordered")

    def facts(self, action: Action) -> dict[str, str]:
        ended = self.status in ("finished", "cancelled", "parked")
        known = self.read and not (self.unjudged and action not in BEFORE_IT_IS_JUDGED)
        return {
            "suspended": "yes" if self.suspended else "no",
            "submit_slot": "taken" if self.sending else "free",
            "lanes": "full" if self.at_work else "free",
            "status": self.status,
            "result": ("read" if known else "unread") if ended or not self.read else "none",
            "backlog": "read" if self.read else "unread",
            "liveness": ("live" if self.alive else "dead")
            if self.status == "working"
            else "not-running",
            "proof": self.proof,
            "criteria": "met" if self.proof == "proven" else "unmet",
            "truth": "remote" if self.proof == "proven" else "local",
            "judge": self.judged if self.judged in ("failed", "passed") else "unknown",
            "shown": "yes" if self.shown else "no",
            "agent": "alive" if self.lingering else "gone",
            "load": "heavy" if self.heavy else "light",
            "failure": "infrastructure" if self.infrastructure else "own",
            "defect": self.defect,
            "continuable": "yes" if self.continuable else "no",
            "budget": "left" if self.attempts else "spent",
        }

    def moves(self) -> Iterator["Task"]:
        """What the world may do next."""
        yield self._replace(suspended=not self.suspended)
        if self.sending:
            yield self._replace(sending=self.sending - 1)
        if self.status == "queued":
            yield self._replace(status="working", alive=True)
        if self.status == "working":
            yield self._replace(alive=not self.alive)
            yield from self._ends()
        yield from self._proof_moves()
        if self.status == "parked":
            yield self._replace(read=False)  # a superseded attempt reports late
        if self.defect == "recorded":
            yield self._replace(defect="fixed")
        if self.defect == "fixed":
            yield self._replace(defect="recorded")  # it comes back
        if self.twin == "queued":
            yield self._replace(twin={"queued": "over"}[self.twin])

    def _proof_moves(self) -> Iterator["Task"]:
        if self.status == "finished":
            # Evidence is looked at, and what was on the remote may be gone again.
            if self.proof == "claimed":
                yield self._replace(proof="proven")
            else:
                yield self._replace(**{**UNPUSHED, "proof": "contradicted"})
            yield self._replace(status="queued", read=True, **UNPUSHED)  # by another hand
        if self.judged == "ordered":
            yield self._replace(judged="passed", shown=True)
            yield self._replace(judged="passed", shown=False)
            yield self._replace(judged="failed", infrastructure=False)
            yield self._replace(judged="failed", infrastructure=True, defect="unrecorded")
        if self.lingering:
            yield self._replace(lingering=False)
            yield self._replace(judged="missing", shown=False)  # it pushes once more

    def _ends(self) -> Iterator["Task"]:
        done = self._replace(status="finished", alive=False, read=False)
        pushed = done._replace(proof="claimed", judged="missing", infrastructure=False)
        yield pushed
        yield pushed._replace(lingering=True)
        yield pushed._replace(heavy=True)
        yield done._replace(proof="missing", infrastructure=False)
        yield done._replace(proof="missing", infrastructure=False, continuable=False)
        yield done._replace(proof="missing", infrastructure=True, defect="unrecorded")

    def after(self, action: Action) -> "Task":
        """The world once the action has been carried out."""
        sent = {"sending": self.sending + (action in SENDS_PROMPT)}
        again = {**sent, "status": "queued", "read": True, **UNPUSHED}
        judged = {"judged": "ordered", "shown": False}
        stopped = {"alive": False, "read": False, **UNPUSHED}
        change = {
            Action.SUBMIT: again,
            Action.RELEASE: again,
            Action.RETRY: {**again, "attempts": max(0, self.attempts - 1)},
            Action.REPLACE: {**sent, "status": "settled", "twin": "queued", **UNPUSHED},
            Action.SPLIT_DEFECT: sent,
            Action.JUDGE: judged if self.status != "parked" else {**judged, "status": "finished"},
            Action.ACCEPT: {"status": "settled", **UNPUSHED},
            Action.HAND_OVER: {"status": "settled", **UNPUSHED},
            Action.CANCEL: {**stopped, "status": "cancelled"},
            Action.INTERRUPT: {**stopped, "status": "finished"},
            Action.PARK: {"status": "parked", "read": True},
            Action.INSPECT: {"read": True},
            Action.OPEN_ISSUE: {"defect": "recorded"},
        }  # fmt: skip
        return self._replace(**change[action]) if action in change else self

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
            "accepted unjudged": action is Action.ACCEPT and self.judged != "passed",
            "accepted, and nothing shows the change": action is Action.ACCEPT and not self.shown,
            "accepted while its agent may write": action is Action.ACCEPT and self.lingering,
            "a heavy check runs on the master": action is Action.JUDGE and self.heavy,
            "acted on a result before it was judged": on_a_task
            and self.status == "finished"
            and self.unjudged
            and action not in BEFORE_IT_IS_JUDGED,
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


class Lanes(NamedTuple):
    """The window: how many lanes there are, and how many are busy."""

    limit: int = 1
    busy: int = 0
    slipping: bool = False
    overlapping: bool = False
    unread: bool = False
    """Some task's result that nobody has read."""
    MOST = 3

    over = True  # a window has no end that must be reached

    @property
    def broken_off(self) -> bool:
        """So far only without a guard; what follows is not looked at."""
        return self.limit > self.MOST or self.busy > self.MOST

    def facts(self, _action: Action) -> dict[str, str]:
        return {
            "status": "planned",
            "backlog": "unread" if self.unread else "read",
            "quality": "slipping" if self.slipping else "steady",
            "scopes": "overlapping" if self.overlapping else "distinct",
            "ceiling": "reached" if self.limit >= self.MOST else "below",
            "lanes": "free" if self.busy < self.limit else "full",
        }

    def moves(self) -> Iterator["Lanes"]:
        yield self._replace(slipping=not self.slipping)
        yield self._replace(overlapping=not self.overlapping)
        yield self._replace(unread=not self.unread)
        if self.busy:
            yield self._replace(busy=self.busy - 1)
        if self.busy < self.limit:
            yield self._replace(busy=self.busy + 1)  # another task takes a lane

    def after(self, action: Action) -> "Lanes":
        match action:
            case Action.WIDEN_WINDOW:
                return self._replace(limit=self.limit + 1)
            case Action.NARROW_WINDOW:
                return self._replace(limit=max(1, self.limit - 1))
            case Action.SUBMIT:
                return self._replace(busy=self.busy + 1)
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
        if action is Action.SUBMIT and self.unread:
            yield "new work goes out beside an unread result"


World = Task | Lanes
_WELL = {
    "mode": "auto", "consent": "given", "approval": "granted", "suspended": "no",
    "api": "reachable", "submit_slot": "free", "lanes": "free", "prompt": "self-contained",
    "result": "none", "defect": "none",
}  # fmt: skip


@cache
def permits(action: Action, state: World) -> bool:
    known = dict.fromkeys(FACTS, "unknown") | _WELL | state.facts(action)
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
    _permitted: dict[World, frozenset[Action]] = field(default_factory=dict)

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
        decided = self._permits(state)
        for there in (state, *(state.moves() if self.meanwhile else ())):
            for action in decided & self._permits(there) if self.looks_again else decided:
                self.wrongs |= set(there.wrongs(action))
                if not there.broken_off:
                    yield there.after(action)

    def _permits(self, state: World) -> frozenset[Action]:
        if state not in self._permitted:
            self._permitted[state] = frozenset(
                action for action in Action if not self.guarded or permits(action, state)
            )
        return self._permitted[state]

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
