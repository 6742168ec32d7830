"""More requests than the endpoint can take, over real HTTP: the rest is told when to come again, and it recovers."""

import json
from collections import Counter

import pytest

from benchmarks.crowd import Crowd, Question
from benchmarks.endpoint import Running, until
from serving.batching import MAX_WAITING, RETRY_SECONDS
from tests.packages import people, png, register

# Hundreds of predictions each: clients are quicker than the model.
SLOW = Question("/v1/people/explain", json.dumps({"instances": people(2)}).encode(), "application/json")


@pytest.mark.slow
def test_what_is_too_much_is_told_when_to_come_again_and_the_next_requests_are_answered(endpoint: Running) -> None:
    for name in ("tiny", "people"):
        endpoint.make_champion(register(endpoint.registry, endpoint.store, "first", name=name).version, name)
    with Crowd(endpoint.port, [SLOW], 4 * MAX_WAITING, pause=RETRY_SECONDS) as crowd:
        until(lambda: {200, 429} <= {answer.status for answer in crowd.answers})
        others = [
            endpoint.client.get("/livez"),
            endpoint.client.post("/v1/tiny/predict", content=png(200), headers={"content-type": "image/png"}),
        ]
    assert [response.status_code for response in others] == [200, 200], "others have a queue of their own"
    assert not crowd.lost and not crowd.refused
    seen = Counter(answer.status for answer in crowd.answers)
    assert set(seen) == {200, 429} and seen[200] >= MAX_WAITING
    for answer in crowd.answers:
        if answer.status == 429:
            assert answer.retry_after == str(RETRY_SECONDS)
            assert set(answer.value["error"]) == {"code", "message", "request_id"}
            assert answer.value["error"]["code"] == "overloaded"
    with Crowd(endpoint.port, [SLOW], 4) as later:
        until(lambda: len(later.answers) >= 12)
    assert {answer.status for answer in later.answers} == {200} and not later.lost
