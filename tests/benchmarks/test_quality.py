"""The arithmetic of ``benchmarks.quality``: protocol, sets, counts of spots, tables."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.quality import __main__ as command
from benchmarks.quality import report
from benchmarks.quality.job import through_command
from benchmarks.quality.networks import network
from benchmarks.quality.peers import in_turn
from benchmarks.quality.place import AbsentError, Place
from benchmarks.quality.protocol import mean_psnr, noisy_image, psnr, rounded
from benchmarks.quality.published import PUBLISHED
from benchmarks.quality.sections import SECTIONS
from benchmarks.quality.spots import COUNT, NEAR, SIDE, matched, simulate
from model.zoo import zoo_uri

_RANDOM = np.random.default_rng(0)


def test_noise_is_white_of_its_level_and_of_a_seed_for_each_image():
    image = np.full((300, 200, 3), 250, np.uint8)
    noisy = noisy_image(image, 25, 3)
    rest = (noisy.astype(np.float64) - image / 255) * 255
    assert noisy.dtype == np.float32
    assert noisy.max() > 1.2  # not clipped
    assert abs(rest.mean()) < 4 * 25 / np.sqrt(rest.size)
    assert rest.std() == pytest.approx(25, rel=0.01)
    assert abs(np.corrcoef(rest[:, 1:].ravel(), rest[:, :-1].ravel())[0, 1]) < 0.01
    np.testing.assert_array_equal(noisy, noisy_image(image, 25, 3))
    assert not np.array_equal(noisy, noisy_image(image, 25, 4))
    np.testing.assert_allclose(noisy_image(image, 50, 3) - image / 255, 2 * (noisy - image / 255), atol=1e-6)


def test_psnr_is_that_of_its_definition():
    clean = _RANDOM.integers(0, 256, (20, 30, 3), np.uint8)
    made = _RANDOM.integers(0, 256, clean.shape, np.uint8)
    error = sum((int(a) - int(b)) ** 2 for a, b in zip(made.ravel(), clean.ravel(), strict=True)) / clean.size
    assert psnr(made / 255, clean) == pytest.approx(10 * np.log10(255**2 / error), abs=1e-9)
    assert psnr(clean / 255, clean) == np.inf


def test_the_mean_of_a_set_is_of_ratios_not_of_errors():
    images = [np.full((8, 8), 100, np.uint8), np.full((8, 8), 200, np.uint8)]
    found = mean_psnr(images, 0, lambda noisy: noisy + (0.1 if noisy[0, 0] < 0.5 else 0.001))
    assert found["noisy"] > 130  # of float32
    assert found["psnr"] == pytest.approx((20 + 60) / 2, abs=0.01)
    assert found["rounded"] == np.inf  # the second image has no error left
    steps = rounded(np.array([-0.3, 0.4 / 255, 0.6 / 255, 99.6 / 255, 1.4])) * 255
    np.testing.assert_allclose(steps, [0, 0, 1, 100, 255], atol=1e-12)
    beyond = mean_psnr(images[:1], 0, lambda noisy: noisy + 9)
    assert beyond["psnr"] == pytest.approx(20 * np.log10(255 / 155), abs=1e-6)  # clipped to white


def test_sets_are_read_from_the_first_directory_that_has_them(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    (other / "Kodak24").mkdir(parents=True)
    one.mkdir()
    pixels = [_RANDOM.integers(0, 256, (4, 6, 3), np.uint8) for _ in range(3)]
    for name, image in zip(("b.tif", "a.png", "c.BMP"), pixels, strict=True):
        Image.fromarray(image).save(other / "Kodak24" / name)
    (other / "Kodak24/readme.txt").write_text("no image")
    place = Place(data=one, testsets=other, zoo=tmp_path)
    found = place.photographs("Kodak24", "RGB")
    np.testing.assert_array_equal(found, [pixels[1], pixels[0], pixels[2]])
    assert place.photographs("Kodak24", "L")[0].shape == (4, 6)


def test_what_is_absent_is_a_row(tmp_path):
    place = Place(data=tmp_path, zoo=tmp_path)
    with pytest.raises(AbsentError, match=r"^no bundle denoiser-color$"):
        network(place, "zoo:denoiser-color", 25, 3)
    with pytest.raises(AbsentError, match=r"^no FFDNet_color\.mat in --weights$"):
        network(place, "FFDNet", 25, 3)
    assert SECTIONS["CBSD68"](place) == {"absent": "no folder CBSD68 in --data or --testsets"}
    (tmp_path / "McMaster").mkdir()
    Image.fromarray(_RANDOM.integers(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / "McMaster/1.tif")
    found = SECTIONS["McMaster"](place)
    assert found["zoo:denoiser-color"] == {"absent": "no bundle denoiser-color"}
    lines = list(report.table_of("McMaster", {"McMaster": found}))
    assert "| zoo:denoiser-color | no bundle denoiser-color |  |  |  |  |  |" in lines
    assert "| BM3D |  |  | (34.06) | (31.66) | (28.51) |  |" in lines  # what a paper has
    assert list(report.table_of("CBSD68", {"CBSD68": {"absent": "no folder CBSD68 in --data or --testsets"}})) == [
        "Not measured: no folder CBSD68 in --data or --testsets."
    ]


def test_the_report_that_is_kept_has_a_table_for_every_section():
    found = json.loads((report.RESULTS / "quality.json").read_text())
    assert set(found) <= {*SECTIONS, "machines"}
    text = (report.RESULTS / "quality.md").read_text()
    for name in found.keys() - {"machines"}:
        assert "\n".join(report.table_of(name, found)) in text


def test_a_set_has_the_times_of_its_peers_and_their_psnr_if_they_saw_all_of_it():
    network = {"mflop_per_pixel": 0.24, "25": {"psnr": 30.0, "rounded": 29.9, "noisy": 20.1}}
    peers = {"images": 12, "FFDNet": {"psnr": 1.0, "seconds_per_megapixel": 1.5}}
    peers |= {"BM3D": {"psnr": 29.9, "seconds_per_megapixel": 70.0}, "wavelets (scikit-image)": {"absent": "no module"}}
    machines = {"set12": {"cpu": "one"}, "peers": {"cpu": "one"}}
    found = {"set12": {"images": 12, "FFDNet": network}, "peers": {"set12": peers}, "machines": machines}
    lines = list(report.table_of("set12", found))
    assert "| FFDNet | 0.24 | 1.50 | (32.75) | 30.00 (30.43) | (27.32) | 29.90 |" in lines
    assert "| BM3D |  | 70.00 | (32.37) | 29.90 (29.97) | (26.72) |  |" in lines
    part = {**found, "peers": {"set12": {**peers, "images": 5}}}
    assert "| BM3D |  | 70.00 | (32.37) | (29.97) | (26.72) |  |" in list(report.table_of("set12", part))
    elsewhere = {**found, "machines": {**machines, "peers": {"cpu": "other"}}}
    assert "| BM3D |  |  | (32.37) | (29.97) | (26.72) |  |" in list(report.table_of("set12", elsewhere))


def test_weights_that_were_converted_give_the_figures_of_their_papers():
    """Of the figures that are kept: within 0.03 dB, rounded to 8 bits as the papers measure."""
    found = json.loads((report.RESULTS / "quality.json").read_text())
    compared = [
        (measured["rounded"], papers[method][int(level)])
        for name, papers in PUBLISHED.items()
        for method in ("FFDNet", "DnCNN-S")
        for level, measured in found.get(name, {}).get(method, {}).items()
        if level != "mflop_per_pixel"
    ]
    assert len(compared) == 3 * (5 + 2)  # levels, sets of FFDNet and of DnCNN
    assert [own for own, _ in compared] == pytest.approx([paper for _, paper in compared], abs=0.03)


def test_photographs_without_noise_that_stay_as_they_are_have_no_number():
    one = {"0": {"noisy": 159, "psnr": np.inf}, "1": {"noisy": 159, "psnr": 50}, "2": {"noisy": 42.1, "psnr": 42.6}}
    found = {"harm": {"zoo:denoiser-gray, L": {"page": {**one, "5": {"noisy": 34.0, "psnr": 37.5}}}}}
    row = "| zoo:denoiser-gray, L | page | ∞, ∞ | ∞, 50.00 | 42.10, 42.60 (+0.50) | 34.00, 37.50 (+3.50) |"
    assert row in list(report.table_of("harm", found))


def test_a_network_that_is_measured_alone_stands_beside_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "_KEPT", tmp_path / "quality.json")
    command._keep("set12", {"images": 12, "FFDNet": {"15": 1}}, partly=False)
    command._keep("peers", {"bsd68": {"images": 5, "BM3D": {"psnr": 1}}, "CBSD68": {"absent": "why"}}, partly=False)
    command._keep("set12", {"images": 12, "DnCNN-S": {"15": 2}}, partly=True)
    command._keep("peers", {name: {"images": 5, "FFDNet": {"psnr": 2}} for name in ("bsd68", "CBSD68")}, partly=True)
    found = command._kept()
    assert found["set12"] == {"images": 12, "FFDNet": {"15": 1}, "DnCNN-S": {"15": 2}}
    other = {"images": 5, "FFDNet": {"psnr": 2}}
    assert found["peers"] == {"bsd68": {**other, "BM3D": {"psnr": 1}}, "CBSD68": other}
    command._keep("set12", {"images": 12}, partly=False)
    assert command._kept()["set12"] == {"images": 12}


def test_sides_are_timed_on_every_image_and_levels_are_told():
    told = []

    def half(noisy, level):
        told.append(level)
        return noisy * 0 + 0.5

    images = [np.full((10, 20), 255, np.uint8), np.zeros((10, 20, 3), np.uint8)]
    found = in_turn({"half": half, "same": lambda noisy, level: noisy}, images, 25)
    assert told == [25, 25]
    assert found["half"][0] == pytest.approx(20 * np.log10(2), abs=1e-6)
    # clipped: half of the noise is left
    assert found["same"][0] == pytest.approx(20 * np.log10(255 / 25) + 10 * np.log10(2), abs=0.5)
    assert all(seconds >= 0 for _, seconds in found.values())


def test_spots_are_simulated_apart_and_again():
    field = simulate(0)
    assert field.spots.shape == (COUNT, 2)
    np.testing.assert_array_equal(field.pixels, simulate(0).pixels)
    far = min(np.hypot(*(a - b)) for a, b in itertools.combinations(field.spots, 2))
    assert far >= 7
    assert field.spots.min() >= 7
    assert field.spots.max() <= SIDE - 7
    centre = field.pixels[tuple(field.spots.round().astype(int).T)]
    assert centre.min() > np.median(field.pixels) - 15  # each stands out of a background of 25 to 55


def test_spots_are_matched_one_to_one():
    """Against the best of all assignments."""
    for _ in range(50):
        found, spots = _RANDOM.uniform(0, 6, (4, 2)), _RANDOM.uniform(0, 6, (5, 2))
        near = np.hypot(*(found[:, None] - spots[None]).transpose(2, 0, 1)) <= NEAR
        best = max(sum(near[i, j] for i, j in enumerate(order)) for order in itertools.permutations(range(5), 4))
        assert matched(found, spots) == best
    assert matched(np.empty((0, 2)), np.zeros((3, 2))) == 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_command_gives_what_the_call_gives(tmp_path):
    place = Place(data=tmp_path, zoo=Path(zoo_uri("zoo:denoiser-gray")).parent)
    noisy = [_RANDOM.normal(0.5, 0.4, shape).astype(np.float32) for shape in ((40, 56), (56, 40), (40, 56))]
    made = through_command(place.bundle("denoiser-gray").uri, noisy, 25)
    called = network(place, "zoo:denoiser-gray", 25, 1)
    for one, given in zip(made, noisy, strict=True):
        np.testing.assert_array_equal(one, called.restore(given, 25))
