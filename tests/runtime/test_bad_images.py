"""Files that are damaged, cut short, too large or no images: refused, each with the reason."""

import struct
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.runtime.images import FORMATS, BadImage, decode, inspect, read
from tests.runtime.pictures import GREY, PNG, RAMP, RGB, chunk, encode, photograph


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("left", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("use", [inspect, lambda data: decode(data, RGB)])
def test_a_file_without_its_end_is_refused(form: str, left: float, use: Callable[[bytes], object]) -> None:
    data = encode(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8), form)
    with pytest.raises(BadImage) as caught:
        use(data[: int(len(data) * left)])
    whole = form in ("WEBP", "TIFF") or (form == "BMP" and left > 0.1)
    assert caught.value.reason in ({"truncated_image"} if whole else {"truncated_image", "unreadable_image"})
    assert len(caught.value.detail) < 200


@pytest.mark.parametrize("cut", [1, 20])
def test_a_jpeg_or_png_that_lacks_only_its_last_bytes_is_truncated(cut: int) -> None:
    for data in (encode(photograph(), "JPEG"), encode(photograph(), "PNG")[:-8]):
        with pytest.raises(BadImage) as caught:
            inspect(data[:-cut])
        assert caught.value.reason == "truncated_image"


def test_a_jpeg_whose_data_are_damaged_is_refused() -> None:
    data = bytearray(encode(photograph(), "JPEG"))
    middle = len(data) * 3 // 4
    data[middle : middle + 100] = bytes(100)
    with pytest.raises(BadImage) as caught:
        inspect(bytes(data))
    assert caught.value.reason in {"unreadable_image", "truncated_image"}


def test_a_jpeg_with_a_header_that_phones_write_wrong_is_read() -> None:
    sound = encode(photograph(), "JPEG")
    scan = sound.index(b"\xff\xda")
    spectral_end = scan + 2 + int.from_bytes(sound[scan + 2 : scan + 4], "big") - 2
    assert sound[spectral_end] == 63
    odd = sound[:spectral_end] + b"\x00" + sound[spectral_end + 1 :]
    assert np.abs(decode(odd, RGB).astype(int) - decode(sound, RGB)).max() <= 4
    with pytest.raises(BadImage):
        decode(odd[:-40], RGB)


def test_a_flipped_bit_in_a_png_is_noticed() -> None:
    data = bytearray(encode(photograph()))
    data[len(data) // 2] ^= 1
    with pytest.raises(BadImage):
        inspect(bytes(data))


def test_no_bytes_and_other_bytes_have_their_own_reasons() -> None:
    for data, reason in ((b"", "empty_file"), (b"%PDF-1.7 nothing", "unreadable_image")):
        with pytest.raises(BadImage) as caught:
            decode(data, GREY)
        assert caught.value.reason == reason
        assert caught.value.fix


def test_a_bomb_is_refused_by_its_header_alone() -> None:
    for side in (9_000, 60_000):
        header = PNG + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
        with pytest.raises(BadImage) as caught:
            inspect(header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
        assert caught.value.reason == "too_many_pixels"


def test_the_limit_is_the_callers() -> None:
    assert inspect(encode(RAMP), max_pixels=64).width == 8
    with pytest.raises(BadImage) as caught:
        decode(encode(RAMP), GREY, max_pixels=63)
    assert caught.value.reason == "too_many_pixels"


SEEDS = [encode(photograph(16), form) for form in FORMATS]


@given(data=st.binary(max_size=200))
def test_random_bytes_are_a_bad_image_and_nothing_else(data: bytes) -> None:
    with pytest.raises(BadImage):
        decode(data, GREY)


@given(seed=st.sampled_from(SEEDS), at=st.integers(0, 10_000), value=st.binary(min_size=1, max_size=8))
def test_a_damaged_file_is_an_image_or_a_bad_image(seed: bytes, at: int, value: bytes) -> None:
    at %= len(seed)
    data = seed[:at] + value + seed[at + len(value) :]
    try:
        pixels = decode(data, RGB, max_pixels=1_000_000)
    except BadImage as error:
        assert error.reason
    else:
        assert (pixels.shape, pixels.dtype) == ((8, 8, 3), np.uint8)


@given(seed=st.sampled_from(SEEDS), left=st.floats(0, 1, exclude_max=True))
def test_a_cut_file_is_an_image_or_a_bad_image(seed: bytes, left: float) -> None:
    try:
        info, pixels = read(seed[: int(len(seed) * left)], RGB)
    except BadImage as error:
        assert error.detail
    else:
        assert (info.width, info.height, pixels.shape, pixels.dtype) == (16, 16, (8, 8, 3), np.uint8)
