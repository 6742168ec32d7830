"""Which workers there are, on whatever machines, and what they answer with."""

import sqlalchemy as sa

from tasks.core.registry import Registry, Worker
from tasks.core.registry.workers import FRESH_SECONDS

CANARY = {"tiny": {"version": 2, "mode": "canary", "share": 0.05}}


def age(url: str, name: str, seconds: int) -> None:
    """Has a worker have said nothing for so long."""
    engine = sa.create_engine(url)
    with engine.begin() as db:
        db.execute(
            sa.text("UPDATE workers SET seen = seen - :seconds WHERE worker = :name"),
            {"seconds": seconds, "name": name},
        )
    engine.dispose()


def names(url: str) -> set[str]:
    """Of all rows."""
    engine = sa.create_engine(url)
    with engine.begin() as db:
        found = set(db.execute(sa.text("SELECT worker FROM workers")).scalars())
    engine.dispose()
    return found


def test_workers_say_what_they_answer_with_until_they_end_or_fall_silent(url: str) -> None:
    registry = Registry(url)
    assert registry.workers() == []
    one, other = Worker("http://a:3000", {"tiny": 1}, {}), Worker("http://b:3000", {"tiny": 1}, CANARY)
    registry.tell_worker("one", one)
    registry.tell_worker("other", other)
    assert sorted(registry.workers(), key=lambda worker: worker.address) == [one, other]
    later = Worker("http://a:3000", {"tiny": 2}, CANARY)
    registry.tell_worker("one", later)
    assert sorted(registry.workers(), key=lambda worker: worker.address) == [later, other]
    age(url, "other", FRESH_SECONDS + 1)
    assert registry.workers() == [later]
    registry.tell_worker("one", later)
    assert names(url) == {"one"}, "a worker that was killed leaves no row behind for ever"
    registry.forget_worker("one")
    assert registry.workers() == []
    registry.close()
