"""Images: kept byte for byte where they can be, checked always, and never read from outside the source."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data_prep.errors import Skip
from data_prep.images import MIN_SIDE, read_image, store_image, target_size


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "LA"])
def test_png_is_kept_byte_for_byte(kit, mode):
    data = kit.png(1, mode=mode)
    assert store_image(data) == (data, 64, 56, 64, 56)
    assert store_image(data, max_side=64).data == data


def test_jpeg_is_kept_with_everything_in_it(kit):
    file = io.BytesIO()
    kit.picture(1).save(file, "JPEG", comment=b"taken in May", quality=30)
    assert store_image(file.getvalue()).data == file.getvalue()


@pytest.mark.parametrize("kind", ["WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_other_formats_become_png_with_the_same_pixels(kit, kind):
    data = kit.encoded(kit.picture(1), kind)
    stored = Image.open(io.BytesIO(store_image(data).data))
    assert stored.format == "PNG"
    with Image.open(io.BytesIO(data)) as original:
        assert stored.convert("RGB").tobytes() == original.convert("RGB").tobytes()


def test_cmyk_tiff_becomes_rgb(kit):
    data = kit.encoded(kit.picture(1, mode="CMYK"), "TIFF")
    assert Image.open(io.BytesIO(store_image(data).data)).mode == "RGB"


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "LA"])
def test_shrinking_keeps_the_aspect_ratio_and_the_format(kit, mode):
    stored = store_image(kit.png(1, 640, 320, mode), max_side=100)
    opened = Image.open(io.BytesIO(stored.data))
    assert opened.format == "PNG" and opened.size == (100, 50) == (stored.width, stored.height)
    assert (stored.original_width, stored.original_height) == (640, 320)
    assert Image.open(io.BytesIO(store_image(kit.jpeg(1, 640, 320), max_side=100).data)).format == "JPEG"


@given(st.integers(1, 4000), st.integers(1, 4000), st.none() | st.integers(28, 2000))
def test_sizes_keep_to_the_limits(width, height, most):
    new = target_size(width, height, most)
    assert min(new) >= MIN_SIDE
    if most and min(new) > MIN_SIDE:
        assert max(new) <= most
    if min(width, height) >= MIN_SIDE and (most is None or max(width, height) <= most):
        assert new == (width, height)
    assert abs(new[0] / new[1] - width / height) <= (width / height) * (1 / min(new))


def test_small_images_are_enlarged_or_dropped(kit):
    assert store_image(kit.png(1, 14, 30))[1:] == (28, 60, 14, 30)
    with pytest.raises(Skip, match="image side under 28 pixels"):
        store_image(kit.png(1, 27, 300), drop_small=True)
    assert store_image(kit.png(1, 28, 300), drop_small=True).width == 28


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:20],
        lambda data: b"",
        lambda data: b"%!PS-Adobe-3.0 EPSF",
    ],
)
@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_broken_images_are_skipped(kit, kind, damage):
    with pytest.raises(Skip, match="broken image"):
        store_image(damage(getattr(kit, kind)(1, 300, 300)))


def test_strips_that_no_processor_takes_are_skipped(kit):
    with pytest.raises(Skip, match="aspect ratio over 200"):
        store_image(kit.png(1, 5700, 28))


def test_sources_hold_images_in_three_ways(kit, tmp_path):
    data = kit.png(1)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.png").write_bytes(data)
    for value in (
        data,
        {"bytes": data, "path": "x.png"},
        {"bytes": None, "path": "a/b.png"},
        "a/b.png",
        "./a/../a/b.png",
    ):
        assert read_image(value, (tmp_path / "none", tmp_path)) == data


@pytest.mark.parametrize("value", [None, 7, "", [], {"bytes": None, "path": None}, "no.png", "a" * 5000, "a\0b"])
def test_what_is_no_image_is_skipped(tmp_path, value):
    with pytest.raises(Skip):
        read_image(value, (tmp_path,))


@pytest.mark.parametrize("inside", ["../secret.png", "/etc/hostname", "link.png", "a/../../secret.png"])
def test_a_source_cannot_name_files_outside_its_folder(kit, tmp_path, inside):
    (tmp_path / "secret.png").write_bytes(kit.png(1))
    folder = tmp_path / "source"
    (folder / "a").mkdir(parents=True)
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(Skip, match="not found"):
        read_image(inside, (folder,))
