"""Our reading of Feast's spelling, held against Feast's own."""

from datetime import UTC, datetime

import numpy as np
import pytest
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import FloatList, StringList, Value
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.names import ENTITY
from tasks.runtime.online.encoding import decode_time, decode_value, entity_key

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXTS)
def test_keys_are_feasts(entity: str) -> None:
    key = EntityKey(join_keys=[ENTITY], entity_values=[Value(string_val=entity)])
    assert entity_key(entity) == serialize_entity_key(key, 3)


@given(st.lists(st.floats(width=32), max_size=300))
def test_floats_come_back(numbers: list[float]) -> None:
    message = Value(float_list_val=FloatList(val=numbers)).SerializeToString()
    found = decode_value(message)
    assert found is not None and found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array(numbers, np.float32))


@given(st.lists(TEXTS))
def test_strings_come_back(texts: list[str]) -> None:
    found = decode_value(Value(string_list_val=StringList(val=texts)).SerializeToString())
    assert found is not None and found.tolist() == texts


def test_an_empty_value_is_none_and_another_kind_too() -> None:
    assert decode_value(Value().SerializeToString()) is None
    assert decode_value(Value(int64_val=7).SerializeToString()) is None
    with pytest.raises(ValueError, match="wire type"):
        decode_value(Value(float_val=1.5).SerializeToString())


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)))
def test_times_come_back(moment: datetime) -> None:
    stamp = Timestamp()
    stamp.FromDatetime(moment.replace(tzinfo=UTC))
    assert decode_time(stamp.SerializeToString()) == moment.replace(tzinfo=UTC)
