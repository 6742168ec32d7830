"""A source on disk: its dates, its digest, and what is said about one that cannot be used."""

import pytest

from tasks.core.config import replace
from tasks.core.errors import BadInput
from tasks.data.source import digest_folder, partition_folder, partitions, read_labels
from tests.data.conftest import DAY, HEADER, Source, png


def test_partitions_are_the_dates_within_start_and_end(source: Source) -> None:
    for name in ("date=2026-01-03", "date=2025-12-31", "date=2026-01-09", "date=2026-1-2", "date=soon", "notes"):
        (source.folder.parent / name).mkdir()
    (source.folder.parent / "date=2026-01-02").write_text("a file, not a folder")
    assert partitions(source.spec) == [DAY, "2026-01-03"]


def test_without_an_end_later_dates_count_too(source: Source) -> None:
    (source.folder.parent / "date=2031-05-06").mkdir()
    assert partitions(replace(source.spec, {"end": None})) == [DAY, "2031-05-06"]


def test_a_source_that_does_not_exist_is_named_with_the_fix(source: Source) -> None:
    spec = replace(source.spec, {"source.uri": "nowhere"})
    for use in (lambda: partitions(spec), lambda: partition_folder(spec, DAY)):
        with pytest.raises(BadInput, match="nowhere is not a folder") as caught:
            use()
        assert "source.uri" in caught.value.fix


def test_a_partition_that_does_not_exist_is_named_beside_those_that_do(source: Source) -> None:
    with pytest.raises(BadInput, match="date=2026-01-05 does not exist") as caught:
        partition_folder(source.spec, "2026-01-05")
    assert "2026-01-01 to 2026-01-01" in caught.value.fix


@pytest.mark.parametrize("partition", [None, "", "today", "2026-01-32", "20260101", "../2026-01-01"])
def test_what_is_no_date_is_no_partition(source: Source, partition: str | None) -> None:
    with pytest.raises(BadInput, match="not the date of a partition"):
        partition_folder(source.spec, partition)


def test_the_digest_follows_names_and_bytes_and_nothing_else(source: Source) -> None:
    file = source.folder / "a.png"
    digests = {digest_folder(source.folder)}
    file.write_bytes(png(1))
    digests.add(digest_folder(source.folder))
    file.write_bytes(png(2))
    digests.add(digest_folder(source.folder))
    file.rename(source.folder / "b.png")
    digests.add(digest_folder(source.folder))
    assert len(digests) == 4
    (source.folder / "b.png").touch()
    assert digest_folder(source.folder) in digests
    (source.folder / "link").symlink_to("b.png")
    assert digest_folder(source.folder) not in digests


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "'digit_id' is missing"),
        (b"digit_id,image,label\n", "'event_time' is missing"),
        (b"digit_id,image,label,label,event_time\n", "'label' stands twice"),
        (b"digit_id,image,label,event_time\n\xff\xfe,a,b,c\n", "not UTF-8"),
        (b'digit_id,image,label,event_time\n"a"b,c,d,e\n', "not readable as CSV"),
    ],
)
def test_a_labels_file_that_cannot_be_read_is_refused(source: Source, content: bytes, message: str) -> None:
    path = source.folder / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=message) as caught:
        list(read_labels(path, source.spec.source))
    assert str(path) in caught.value.message


def test_a_missing_column_is_told_with_those_there_are(source: Source) -> None:
    source.write([], header=("id", "image", "label", "event_time"))
    with pytest.raises(BadInput) as caught:
        list(read_labels(source.folder / "labels.csv", source.spec.source))
    assert "source.entity" in caught.value.fix
    assert "id, image, label, event_time" in caught.value.fix


def test_excels_byte_order_mark_line_ends_and_column_order_do_not_matter(source: Source) -> None:
    path = source.folder / "labels.csv"
    path.write_bytes("\ufefflabel, extra,image,event_time,digit_id\r\nä,x,a.png,now,e1\r\n".encode())
    (row,) = read_labels(path, source.spec.source)
    assert {name: row[name] for name in HEADER} == {
        "digit_id": "e1", "image": "a.png", "label": "ä", "event_time": "now"
    }  # fmt: skip
