"""Looks at a wave as the supervisor does, without its lock, its probes or its notes."""

from collections.abc import Sequence

from agent.core.journal.records import Standing
from agent.core.model.nouns import Supervisor
from agent.core.plan import planner
from agent.runtime.context import Supervision, World
from agent.runtime.observe import Observer
from agent.runtime.status import LiveMap, Supervised, live_map


class Onlooker:
    """Makes live maps; changes nothing. Looking again reads only what changed."""

    def __init__(self, world: World, supervision: Supervision) -> None:
        self._world = world
        self._policy = supervision.policy
        self._observer = Observer(world, supervision, probing=False)
        self._open: set[str] | None = None
        self._settled: Sequence[Standing] = ()

    def look(self, supervised_by: str | None) -> LiveMap:
        """The map of this moment. `supervised_by`: who holds the lock."""
        snapshot = self._observer.observe()
        last = snapshot.supervisor.last_tick_at
        if supervised_by is None:
            # The supervisor's absence is no fault of the wave: show what its next look is for.
            absent = Supervisor(
                interval=snapshot.supervisor.interval, host=snapshot.supervisor.host
            )
            snapshot = snapshot.model_copy(update={"supervisor": absent})
        return live_map(
            planner.decide(snapshot, self._policy),
            self._world.store.waves(),
            self._standings(),
            Supervised(by=supervised_by, last_tick_at=last),
            [
                one
                for one in self._world.approvals.cards(live=True)
                if snapshot.now < one.expires_at
            ],
        )

    def _standings(self) -> list[Standing]:
        """All of them; the settled ones are read again only when there are more of them."""
        open_ones = self._world.store.standings(settled=False)
        names = {one.spec.id for one in open_ones}
        if names != self._open:
            self._settled = self._world.store.standings(settled=True)
            self._open = names
        return [*self._settled, *open_ones]
