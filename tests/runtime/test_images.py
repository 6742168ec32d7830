"""The decoder: right pixels for every kind of image, and a reason code for whatever is none."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from tasks.core.spec import Image
from tasks.runtime.images import FORMATS, BadImage, decode, inspect

GREY = Image(height=8, width=8, channels=1)
RGB = Image(height=8, width=8, channels=3)
RAMP = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4


def encode(picture: Pillow.Image | np.ndarray, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture = picture if isinstance(picture, Pillow.Image) else Pillow.fromarray(picture)
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def photograph(side: int = 64) -> np.ndarray:
    """Smooth colours, so that JPEG loses little."""
    x, y = np.meshgrid(np.linspace(0, 255, side), np.linspace(0, 255, side))
    return np.stack([x, y, (x + y) / 2], axis=2).astype(np.uint8)


def test_grey_of_the_right_size_comes_through_untouched() -> None:
    pixels = decode(encode(RAMP), GREY)
    assert (pixels.shape, pixels.dtype) == ((8, 8, 1), np.uint8)
    assert np.array_equal(pixels[:, :, 0], RAMP)


def test_grey_becomes_three_equal_channels() -> None:
    pixels = decode(encode(RAMP), RGB)
    assert all(np.array_equal(pixels[:, :, channel], RAMP) for channel in range(3))


def test_colour_becomes_luminance() -> None:
    colours = np.zeros((8, 8, 3), np.uint8)
    colours[:, :4], colours[:, 4:] = (255, 0, 0), (0, 255, 0)
    pixels = decode(encode(colours), GREY)[:, :, 0]
    assert set(pixels[:, :4].ravel()) == {76}
    assert set(pixels[:, 4:].ravel()) == {149} or set(pixels[:, 4:].ravel()) == {150}


def test_a_palette_shows_its_colours() -> None:
    picture = Pillow.fromarray(photograph(8)).quantize(64)
    assert np.array_equal(decode(encode(picture), RGB), np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_shows_white(mode: str) -> None:
    layer = Pillow.new("RGBA", (8, 8), (0, 0, 0, 0))
    layer.paste((0, 0, 0, 255), (0, 0, 4, 8))
    pixels = decode(encode(layer.quantize(2) if mode == "P" else layer.convert(mode)), GREY)[:, :, 0]
    assert set(pixels[:, :4].ravel()) == {0}
    assert set(pixels[:, 4:].ravel()) == {255}


def test_16_bit_grey_keeps_its_upper_byte() -> None:
    assert np.array_equal(decode(encode(RAMP.astype(np.uint16) * 256 + 17), GREY)[:, :, 0], RAMP)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("size", [(64, 64), (8, 8), (5, 31)])
def test_every_format_is_read_and_resized(form: str, size: tuple[int, int]) -> None:
    picture = Pillow.fromarray(photograph()).resize(size)
    data = encode(picture, form)
    assert inspect(data)[:2] == size
    assert inspect(data).format == form
    expected = np.asarray(picture.resize((8, 8), Pillow.Resampling.BILINEAR)).astype(int)
    assert np.abs(decode(data, RGB) - expected).mean() < 8


def test_a_large_jpeg_decoded_small_looks_like_the_large_one_resized() -> None:
    picture = Pillow.fromarray(photograph(512))
    expected = np.asarray(picture.resize((8, 8), Pillow.Resampling.BILINEAR)).astype(int)
    assert np.abs(decode(encode(picture, "JPEG"), RGB) - expected).max() <= 6


def test_inspect_tells_size_mode_and_format() -> None:
    assert inspect(encode(photograph(20), "JPEG")) == (20, 20, "RGB", "JPEG")
    assert inspect(encode(Pillow.new("1", (3, 5)))) == (3, 5, "1", "PNG")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("left", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("use", [inspect, lambda data: decode(data, RGB)])
def test_a_file_without_its_end_is_refused(form: str, left: float, use: Callable[[bytes], object]) -> None:
    data = encode(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8), form)
    with pytest.raises(BadImage) as caught:
        use(data[: int(len(data) * left)])
    assert caught.value.reason in {"truncated_image", "unreadable_image"}


@pytest.mark.parametrize("cut", [1, 20])
def test_a_jpeg_or_png_that_lacks_only_its_last_bytes_is_truncated(cut: int) -> None:
    for data in (encode(photograph(), "JPEG"), encode(photograph(), "PNG")[:-8]):
        with pytest.raises(BadImage) as caught:
            inspect(data[:-cut])
        assert caught.value.reason == "truncated_image"


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


def test_floating_point_pixels_are_refused_not_guessed() -> None:
    with pytest.raises(BadImage) as caught:
        decode(encode(Pillow.fromarray(RAMP.astype(np.float32)), "TIFF"), GREY)
    assert caught.value.reason == "unsupported_mode"


def test_a_bomb_is_refused_by_its_header_alone() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    for side in (9_000, 60_000):
        header = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
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
        assert pixels.shape == (8, 8, 3)
