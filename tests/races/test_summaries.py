"""The summaries of technicians, and their places on the map, against their records: after any history each summary
repeats its record, and exactly the technicians in a supply index have one.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from engine.process.settings import Settings
from engine.startup import open_engine
from engine.store import keys
from engine.technicians import live
from engine.technicians.live import Fix, TechnicianRecord
from engine.types import ServiceId, TechnicianId, UserId
from tests.races.test_model import PEOPLE, ZONE, Model
from tests.support import people
from tests.support.map_index import check_person
from tests.support.state_machine import run_examples
from tests.support.summaries import expected_summary


class SummaryModel(Model):
    """The random commands of the state machine `Model`, and also changes of ratings and services, and inaccurate and
    late fixes.
    """

    is_all_in_sql = False  # the ratings are written only to Redis

    @rule(name=st.sampled_from(PEOPLE), rating=st.sampled_from([3.25, 5.0]), others=st.integers(0, 2))
    def change_profile(self, name: str, rating: float, others: int) -> None:
        """Write a technician's record with this rating and with ``others`` further services."""
        who, self.versions[name] = TechnicianId(UserId(f"{self.tag}{name}")), self.versions[name] + 1
        tech = self.technician_record(who)
        record = TechnicianRecord(
            id=who,
            version=self.versions[name],
            name="T",
            phone=None,
            services=[*self.others[:others], self.service],
            complete=True,
            kyc="approved",
            account=tech["account"],
            capacity=int(tech["capacity"]),
            rating=rating,
        )
        self.wait(live.write_record(self.engine, record))

    @property
    def others(self) -> list[ServiceId]:
        """The services of this example for which nobody books a job."""
        return [ServiceId(f"{self.tag}other{number}") for number in range(2)]

    @rule(name=st.sampled_from(PEOPLE), accuracy=st.sampled_from([5.0, 150.5]), age_s=st.sampled_from([0, 20]))
    def locate(self, name: str, accuracy: float, age_s: int) -> None:
        """Store a fix with its accuracy in metres, measured ``age_s`` seconds ago."""
        who = self.principal_of(name)
        fix = Fix(
            lat=people.HERE.lat + accuracy / 1e6,
            lon=people.HERE.lon,
            accuracy=accuracy,
            at=self.clock()[0] - age_s * 1000,
        )
        self.wait(live.store_fixes(self.engine, who, who.id, [fix]))

    @invariant()
    def summaries_repeat_records(self) -> None:
        """Each summary repeats its record, and each record names its supply indexes."""
        if not hasattr(self, "service"):
            return
        services = (self.service, *self.others)
        commands = [("ZRANGE", keys.technician_supply(ZONE, service), 0, -1) for service in services]
        commands += [("HGETALL", keys.technician(ZONE, TechnicianId(self.principal_of(n).id))) for n in PEOPLE]
        with self.reading([*commands, ("HGETALL", keys.technician_summaries(ZONE))]):
            self.check_summaries()

    def check_summaries(self) -> None:
        """Compare the summaries with the records, and the records with the supply indexes."""
        summaries = self.live_hash(keys.technician_summaries(ZONE))
        indexes = {s: self.members(keys.technician_supply(ZONE, s)) for s in (self.service, *self.others)}
        for name in PEOPLE:
            who = self.principal_of(name).id
            tech = self.technician_record(who)
            assert summaries.get(who) == expected_summary(tech)
            assert {s for s, members in indexes.items() if who in members} == set(tech.get("indexed", "").split())
            self.wait(check_person(self.engine, who, tech, self.clock()[0]))


def test_each_summary_repeats_its_record_after_any_history(settings: Settings) -> None:
    """In examples of some forty steps exactly the technicians in a supply index have a summary, and it repeats the
    record.
    """
    Path(settings.data).mkdir(exist_ok=True)
    loop, stack = asyncio.new_event_loop(), AsyncExitStack()
    try:
        SummaryModel.loop, Model.log_begins = loop, 0
        SummaryModel.engine = loop.run_until_complete(stack.enter_async_context(open_engine(settings)))
        run_examples(SummaryModel, few=15, many=60, steps=40)
    finally:
        loop.run_until_complete(stack.aclose())
        loop.close()
