"""Images of a source: found under any name, kept as received, and refused with a reason."""

import errno
import io
import os
import struct
import unicodedata
import zlib
from datetime import datetime
from pathlib import Path

import pytest
from PIL import Image as Pillow

from tasks.core.config import replace
from tasks.core.files import LocalFiles
from tests.data.conftest import DAY, NOON, Source, png


def huge() -> bytes:
    """A PNG that says it has 400 million pixels."""
    data = bytearray(png(1))
    data[16:24] = struct.pack(">II", 20_000, 20_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


@pytest.mark.parametrize(
    ("change", "defect", "detail"),
    [
        ({0: ""}, "null_entity", "digit_id"),
        ({2: " "}, "null_label", "label"),
        ({3: ""}, "null_event_time", "event_time"),
        ({3: "yesterday"}, "bad_event_time", 'event_time: "yesterday"'),
        ({3: "0001-01-01T00:00:00+10:00"}, "bad_event_time", 'event_time: "0001-01-01T00:00:00+10:00"'),
        ({1: ""}, "null_image", "image"),
        ({1: "absent.png"}, "missing_file", "absent.png"),
        ({1: "x" * 5000}, "missing_file", "x" * 199 + "…"),
        ({1: "."}, "missing_file", "."),
        ({1: "good.png/x.png"}, "missing_file", "good.png/x.png"),
        ({1: "a\0.png"}, "missing_file", "a\0.png"),
        ({1: "../labels.csv"}, "path_outside_source", "../labels.csv"),
        ({1: "sub/../good.png"}, "path_outside_source", "sub/../good.png"),
        ({1: "/etc/hostname"}, "path_outside_source", "/etc/hostname"),
        ({1: "link.png"}, "path_outside_source", "link.png"),
        ({1: "empty.png"}, "empty_file", "empty.png: it has no bytes"),
        ({1: "cut.png"}, "truncated_image", None),
        ({1: "huge.png"}, "too_many_pixels", None),
        ({1: "labels.csv"}, "unreadable_image", None),
        ({1: "lab.tif"}, "unsupported_mode", None),
        ({1: "good.jpg"}, "wrong_extension", "good.jpg holds PNG"),
    ],
)
def test_a_row_that_cannot_be_used_is_published_with_its_defect(
    source: Source, tmp_path: Path, change: dict[int, str], defect: str, detail: str | None
) -> None:
    (tmp_path / "secret.png").write_bytes(png(9))
    (source.folder / "link.png").symlink_to(tmp_path / "secret.png")
    lab = io.BytesIO()
    Pillow.new("LAB", (8, 8)).save(lab, "TIFF")
    row = ["e1", "good.png", "3", NOON]
    for position, value in change.items():
        row[position] = value
    names = {"good.png": png(1), "good.jpg": png(1), "empty.png": b"", "cut.png": png(1)[:-20], "huge.png": huge()}
    source.write([row], {**names, "lab.tif": lab.getvalue()})
    manifest = source.run("ingest")
    (found,) = source.rows(manifest)
    assert found["defect"] == defect
    assert found["detail"] == detail if detail else found["detail"].startswith(f"{row[1]}: ")
    assert manifest.rows.published == 1
    assert manifest.metrics["defects"] == 1


def test_a_file_that_cannot_be_read_is_a_defect_of_its_row(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    source.write([["e1", "a.png", "3", NOON], ["e2", "b.png", "3", NOON]], {"a.png": png(1), "b.png": png(2)})
    read = LocalFiles.read_bytes

    def broken(files: LocalFiles, path: str) -> bytes:
        if path.endswith("a.png"):
            raise OSError(errno.EIO, "Input/output error")
        return read(files, path)

    # A failing disk; permissions would not stop a test that runs as root.
    monkeypatch.setattr(LocalFiles, "read_bytes", broken)
    rows = source.rows(source.run("ingest"))
    assert [row["defect"] for row in rows] == ["unreadable_file", None]
    assert rows[0]["detail"] == "a.png: Input/output error"


@pytest.mark.parametrize(
    "name",
    [
        "Ünïcödé.png",
        "e\u0301.png",
        "\u00e9.png",
        "日本 語.png",
        "🦜 %20.png",
        "a b/c#d?.png",
        "-.png",
        "'\"\\.png",
        "\u202eabc.png",
    ],
)
def test_any_name_is_read_and_kept_as_it_stands(source: Source, name: str) -> None:
    source.write([[name, name, "3", NOON]], {name: png(1)})
    (row,) = source.rows(source.run("ingest"))
    assert (row["entity"], row["image"], row["defect"]) == (name, name, None)


@pytest.mark.parametrize(("written", "named"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_may_be_spelled_differently_in_labels_and_file_names(source: Source, written: str, named: str) -> None:
    label, file = (f"{unicodedata.normalize(form, 'crème')}.png" for form in (named, written))
    source.write([["e1", label, "3", NOON]], {file: png(1)})
    (row,) = source.rows(source.run("ingest"))
    assert (row["image"], row["defect"]) == (label, None)


def test_an_image_in_a_folder_has_the_folders_name_as_its_label(
    source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    names = ["cat/a.png", "cat/deep/er/b.png", "dog/Ö 1.png", "dog/notes.txt", "loose.png"]
    source.write([], {name: png(number) if name.endswith("png") else b"text" for number, name in enumerate(names)})
    (source.folder / "labels.csv").rename(source.folder / "cat" / ".DS_Store")
    caplog.set_level("INFO", "updraft")
    manifest = source.run("ingest", spec=replace(source.spec, {"source.format": "image_folders"}))
    found = [(row["entity"], row["label"], row["defect"]) for row in source.rows(manifest)]
    assert found == [
        (f"date={DAY}/cat/a.png", "cat", None),
        (f"date={DAY}/cat/deep/er/b.png", "cat", None),
        (f"date={DAY}/dog/notes.txt", "dog", "unreadable_image"),
        (f"date={DAY}/dog/Ö 1.png", "dog", None),
        (f"date={DAY}/loose.png", None, "null_label"),
    ]
    assert source.rows(manifest)[0]["event_time"] == datetime.fromisoformat(f"{DAY}T00:00:00Z")
    assert f"1 files are no data: date={DAY}/cat/.DS_Store" in caplog.text


def test_a_file_name_that_is_no_unicode_is_a_row_too(source: Source) -> None:
    path = os.path.join(os.fsencode(source.folder), b"caf\xe9.png")
    with open(path, "wb") as file:
        file.write(png(1))
    (row,) = source.rows(source.run("ingest", spec=replace(source.spec, {"source.format": "image_folders"})))
    assert row["image"] == f"date={DAY}/caf\\udce9.png"
    assert row["defect"] == "null_label"


def test_damaged_bytes_are_archived_too(source: Source) -> None:
    source.write([["e1", "cut.png", "3", NOON]], {"cut.png": png(1)[:40]})
    (row,) = source.rows(source.run("ingest"))
    assert source.store.read_bytes(row["uri"]) == png(1)[:40]
    assert row["width"] is None
