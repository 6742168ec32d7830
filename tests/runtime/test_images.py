"""The decoder: right pixels for every kind of image, and a reason code for whatever is none."""

import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from tasks.core.spec import Image
from tasks.runtime.images import FORMATS, BadImage, decode, inspect, read
from tasks.runtime.pixels import resize
from tests.runtime.pictures import GREY, PNG, RAMP, RGB, chunk, encode, photograph


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


@pytest.mark.parametrize("mode", ["I", "F"])
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (RAMP, RAMP),
        (RAMP.astype(int) * 257, RAMP),
        (RAMP.astype(int) * 1000 - 7, np.round(np.arange(64) * (255 / 63)).reshape(8, 8)),
        (-RAMP.astype(int), np.round(np.arange(64)[::-1] * (255 / 63)).reshape(8, 8)),
    ],
    ids=["8 bits", "16 bits", "more", "negative"],
)
def test_wide_pixels_are_scaled_from_the_usual_range_that_holds_them(
    mode: str, values: np.ndarray, expected: np.ndarray
) -> None:
    picture = Pillow.fromarray(values.astype(np.int32 if mode == "I" else np.float32))
    data = encode(picture, "TIFF")
    assert inspect(data).mode == mode
    assert np.array_equal(decode(data, GREY)[:, :, 0], expected)


def test_floating_point_pixels_up_to_one_are_shares() -> None:
    shares = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    assert np.array_equal(decode(encode(Pillow.fromarray(shares), "TIFF"), GREY)[:, :, 0], np.round(shares * 255))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixels_that_are_no_numbers_are_refused(value: float) -> None:
    pixels = RAMP.astype(np.float32)
    pixels[3, 3] = value
    with pytest.raises(BadImage) as caught:
        decode(encode(Pillow.fromarray(pixels), "TIFF"), GREY)
    assert caught.value.reason == "unsupported_mode"


def test_16_bit_colour_keeps_its_upper_bytes() -> None:
    colours = photograph(8)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in colours.astype(np.uint16) * 256 + 99)
    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    data = PNG + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert np.array_equal(decode(data, RGB), colours)


def test_one_bit_pixels_are_black_and_white() -> None:
    picture = Pillow.fromarray(RAMP > 100)
    for form in ("PNG", "TIFF", "BMP"):
        assert np.array_equal(decode(encode(picture, form), GREY)[:, :, 0], (RAMP > 100) * 255)


def test_cmyk_shows_its_colours() -> None:
    picture = Pillow.fromarray(photograph())
    expected = decode(encode(picture), RGB).astype(int)
    for form in ("JPEG", "TIFF"):
        data = encode(picture.convert("CMYK"), form)
        assert inspect(data).mode == "CMYK"
        assert np.abs(decode(data, RGB) - expected).max() <= 6


def test_colours_that_nothing_converts_are_refused() -> None:
    with pytest.raises(BadImage) as caught:
        decode(encode(Pillow.new("LAB", (8, 8)), "TIFF"), RGB)
    assert caught.value.reason == "unsupported_mode"
    assert "LAB" in caught.value.detail


TURNS = {
    1: lambda p: p,
    2: np.fliplr,
    3: lambda p: np.rot90(p, 2),
    4: np.flipud,
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, 1),
    7: lambda p: np.rot90(p, 2).swapaxes(0, 1),
    8: lambda p: np.rot90(p, -1),
}
"""EXIF orientation to how a camera that is held so stores the upright picture."""


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP", "JPEG"])
@pytest.mark.parametrize("orientation", TURNS)
def test_orientation_is_undone(form: str, orientation: int) -> None:
    upright = photograph(64)[:40]
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if form == "WEBP" else {"quality": 95, "subsampling": 0} if form == "JPEG" else {}
    stored = np.ascontiguousarray(TURNS[orientation](upright))
    data = encode(stored, form, exif=exif, **options)
    info, pixels = read(data, Image(height=40, width=64, channels=3))
    assert (info.width, info.height, info.format) == (64, 40, form)
    assert np.abs(pixels.astype(int) - upright).max() <= (4 if form == "JPEG" else 0)
    small = decode(data, Image(height=10, width=16, channels=3))
    assert np.abs(small.astype(int) - resize(upright, 16, 10)).max() <= (4 if form == "JPEG" else 0)


def test_damaged_metadata_of_a_sound_image_does_no_harm() -> None:
    for exif in (b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12"):
        assert inspect(encode(photograph(16), "JPEG", exif=exif))[:2] == (16, 16)
    exif = Pillow.Exif()
    exif[0x0112] = 99
    assert inspect(encode(photograph(16)[:8], "JPEG", exif=exif))[:2] == (16, 8)


def test_a_jpeg_with_a_second_picture_behind_is_a_jpeg() -> None:
    first, second = Pillow.fromarray(photograph()), Pillow.new("RGB", (64, 64))
    data = encode(first, "MPO", save_all=True, append_images=[second])
    assert inspect(data).format == "JPEG"
    assert np.array_equal(decode(data, RGB), decode(encode(first, "JPEG"), RGB))


def test_of_an_animation_the_first_frame_counts() -> None:
    frames = [Pillow.new("L", (8, 8), level) for level in (40, 90, 200)]
    for form in ("GIF", "PNG", "TIFF"):
        data = encode(frames[0], form, save_all=True, append_images=frames[1:])
        assert set(decode(data, GREY).ravel()) == {40}


@given(seed=st.integers(0, 99), size=st.tuples(st.integers(1, 70), st.integers(1, 70)), colour=st.booleans())
def test_lossless_formats_give_the_same_pixels(seed: int, size: tuple[int, int], colour: bool) -> None:
    shape = (*size, 3) if colour else size
    picture = Pillow.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))
    forms = [
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
    ]
    for image in (GREY, RGB):
        first, *others = (decode(encode(picture, form, **options), image) for form, options in forms)
        assert all(np.array_equal(first, other) for other in others)


def test_many_threads_give_the_pixels_of_one() -> None:
    image = Image(height=50, width=60, channels=3)
    files = [encode(photograph(side), form) for side in (200, 333, 500) for form in ("JPEG", "PNG")]
    expected = [decode(data, image) for data in files]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            found = pool.map(lambda data: decode(data, image), files)
            assert all(map(np.array_equal, expected, found))


@pytest.mark.parametrize("factor", [2, 3, 31, 70])
def test_shrinking_takes_means_of_boxes(factor: int) -> None:
    boxes = np.random.default_rng(1).integers(0, 256, (4, factor, 5, factor, 3), np.uint8)
    found = resize(boxes.reshape(4 * factor, 5 * factor, 3), 5, 4)
    # Beyond 32 it goes by steps, of which the last may interpolate.
    assert np.abs(found - boxes.mean(axis=(1, 3))).max() <= (0.6 if factor < 32 else 8)


def test_shrinking_keeps_the_level() -> None:
    for side in (100, 257, 1000, 4001):
        for level in (3, 255):
            assert set(resize(np.full((side, 300), level, np.uint8), 7, 9).ravel()) == {level}


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


def test_inspect_and_decode_agree_with_read() -> None:
    for form in FORMATS:
        data = encode(photograph(), form)
        info, pixels = read(data, RGB)
        assert inspect(data) == info
        assert np.array_equal(decode(data, RGB), pixels)
