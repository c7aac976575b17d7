import numpy as np
import pytest
from PIL import Image
from scipy import integrate, stats

from model.training.augment import _transforms, random_affine
from model.training.losses import disagreement, divergence, negative_elbo, squared_error
from model.training.networks import build_autoencoder, build_vae


@pytest.mark.parametrize(("mean", "variance"), [(0.0, 1.0), (1.5, 1.0), (-0.3, 0.2), (2.0, 4.0)])
def test_divergence_is_the_integral(layers, mean, variance):
    q, p = stats.norm(mean, np.sqrt(variance)), stats.norm()
    wanted = integrate.quad(lambda z: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), -30, 30, limit=200, points=[mean])[0]
    given = np.array([[mean, 0.0, mean]], np.float32), np.log(np.array([[variance, 1.0, variance]], np.float32))
    assert divergence(*given).numpy() == pytest.approx([2 * wanted], abs=1e-5)


def test_the_bound_of_a_known_model(layers):
    # Every weight 0 but for biases: the latent's distribution and the pixels' probability are the same for all images.
    model = build_vae((6, 5, 2), 3)
    model.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    mean, log_variance, logit = np.array([0.5, -1.0, 2.0]), np.array([-2.0, 0.0, 1.0]), 0.7
    for name, bias in [("z_mean", mean), ("z_log_var", log_variance), ("logits", np.full(2, logit))]:
        model.get_layer(name).bias.assign(bias)
    images = np.random.default_rng(0).random((400, 6, 5, 2), np.float32)
    objective = negative_elbo()
    shown, wanted = objective.prepare(images, np.random.default_rng(1))
    assert set(np.unique(shown)) == {0.0, 1.0}
    white = shown.reshape(400, -1).sum(axis=1).mean()
    surprise = white * np.log1p(np.exp(-logit)) + (60 - white) * np.log1p(np.exp(logit))
    apart = 0.5 * (np.exp(log_variance) + mean**2 - 1 - log_variance).sum()
    got = float(objective.loss(model, np.ones(1)).value((shown, wanted), False))
    assert got == pytest.approx(surprise + apart, rel=1e-5)


def test_pixels_are_drawn_with_the_grey_value_as_probability():
    grey = np.linspace(0, 1, 11, dtype=np.float32).reshape(1, 11, 1, 1).repeat(20_000, axis=0)
    shown, wanted = negative_elbo().prepare(grey, np.random.default_rng(0))
    assert shown is wanted
    np.testing.assert_allclose(shown.mean(axis=0), grey[0], atol=5 * 0.5 / np.sqrt(20_000))
    assert (shown[:, 0] == 0).all()
    assert (shown[:, -1] == 1).all()


def test_noise_is_on_what_is_shown_alone():
    batch = np.random.default_rng(0).random((50, 9, 8, 1), np.float32)
    shown, wanted = squared_error(noise=0.2).prepare(batch, np.random.default_rng(1))
    assert np.array_equal(wanted, batch)
    noise = (shown - batch).ravel()
    assert abs(noise.mean()) < 5 * 0.2 / np.sqrt(noise.size)
    assert noise.std() == pytest.approx(0.2, rel=0.05)
    plain = squared_error().prepare(batch, np.random.default_rng(1))
    assert plain[0] is batch
    assert plain[1] is batch


def test_squared_error_weighs_elements_by_their_variance(layers):
    model = layers.Identity()
    shown, wanted = np.zeros((4, 3), np.float32), np.tile(np.array([1.0, 2.0, 30.0], np.float32), (4, 1))
    got = float(squared_error().loss(model, np.array([1.0, 4.0, 100.0])).value((shown, wanted), False))
    assert got == pytest.approx((1 + 1 + 9) / 3)


def _vicreg(one, other):
    """The paper's formulas, with the sums written out."""
    total = ((one - other) ** 2).mean()
    for view in (one, other):
        covariance = np.cov(view.T, bias=True)
        short = [max(0.0, 1 - np.sqrt(value + 1e-4)) for value in np.diag(covariance)]
        off = covariance[~np.eye(len(covariance), dtype=bool)]
        total += (np.mean(short) + 0.04 * (off**2).sum() / len(covariance)) / 2
    return total


def test_disagreement_is_that_of_the_paper(layers):
    rng = np.random.default_rng(0)
    one = rng.normal(size=(64, 5)) @ rng.normal(size=(5, 5))
    other = one + rng.normal(0, 0.3, one.shape)
    got = float(disagreement(one.astype(np.float32), other.astype(np.float32)))
    assert got == pytest.approx(_vicreg(one, other), rel=1e-4)
    collapsed = np.zeros((64, 5), np.float32)
    assert float(disagreement(collapsed, collapsed)) == pytest.approx(1 - 0.01, rel=1e-5)


def test_agreement_is_added_to_the_error_and_trains_a_projection(layers):
    model = build_autoencoder((8, 8, 1), 6)
    objective = squared_error(agreement=0.5)
    loss = objective.loss(model, np.ones(1))
    shown, wanted, other = objective.prepare(
        np.random.default_rng(0).random((32, 8, 8, 1), np.float32), np.random.default_rng(1)
    )
    (projection,) = [v for v in loss.variables if "projection" in v.path]
    assert len(loss.variables) == len(model.trainable_variables) + 1
    encoder = type(model)(model.input, model.get_layer("encoded").output)
    views = [encoder(images).numpy() @ projection.numpy() for images in (shown, np.asarray(other))]
    error = ((model(shown).numpy() - wanted) ** 2).mean()
    assert float(loss.value((shown, wanted, other), False)) == pytest.approx(error + 0.5 * _vicreg(*views), rel=1e-3)


def test_moved_images_are_those_of_pillow(layers):
    images = np.random.default_rng(0).random((6, 24, 31, 1), np.float32)
    got = np.asarray(random_affine(images, np.random.default_rng(5)))
    inside = 0
    for image, made, (a, b, c, d, e, f, *_) in zip(
        images, got, _transforms(np.random.default_rng(5), 6, 24, 31), strict=True
    ):
        # Pillow's coordinates are of pixels' corners.
        corners = (a, b, c + 0.5 - 0.5 * (a + b), d, e, f + 0.5 - 0.5 * (d + e))
        wanted = Image.fromarray(image[..., 0]).transform((31, 24), Image.Transform.AFFINE, corners, Image.BILINEAR)
        y, x = np.mgrid[:24, :31]
        from_x, from_y = a * x + b * y + c, d * x + e * y + f
        there = (from_x >= 0) & (from_x <= 30) & (from_y >= 0) & (from_y <= 23)
        np.testing.assert_allclose(made[there, 0], np.asarray(wanted)[there], atol=1e-4)
        inside += there.sum()
    assert inside > 0.7 * images.size


def test_the_border_goes_on_outwards(layers):
    gray = np.full((50, 9, 12, 2), 0.3, np.float32)
    np.testing.assert_allclose(np.asarray(random_affine(gray, np.random.default_rng(0))), gray, rtol=1e-6)


def test_moves_are_small_and_drawn_anew():
    moves = _transforms(np.random.default_rng(0), 2000, 28, 28)
    centre = np.array([13.5, 13.5])
    shift = (
        np.stack([moves[:, 0] * 13.5 + moves[:, 1] * 13.5 + moves[:, 2], moves[:, 3:6] @ [13.5, 13.5, 1]], 1) - centre
    )
    assert 1.8 < np.abs(shift).max() <= 0.07 * 28 + 1e-4
    assert np.abs(np.linalg.det(moves[:, [0, 1, 3, 4]].reshape(-1, 2, 2)) - 1).max() < 0.4
    assert len(np.unique(moves[:, 0])) == 2000
