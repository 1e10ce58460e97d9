"""The linear readout against scikit-learn, and on data that make it hard."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from transfer.training.readout import NotFinite, choose_strength, linear_readout, solve


def features_of(labels, d, *, seed=0, spread=1.0):
    """Rows that depend on their labels, with features of different scales and means, some of them correlated."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(labels.max() + 1, d))
    rows = spread * centres[labels] + rng.normal(size=(len(labels), d)) @ rng.normal(size=(d, d)) / np.sqrt(d)
    return (rows * rng.uniform(0.1, 30, d) + rng.normal(size=d) * 10).astype("float32")


def standard(rows, weights=None):
    mean = np.average(rows, axis=0, weights=weights)
    deviation = np.sqrt(np.average((rows - mean) ** 2, axis=0, weights=weights))
    return (rows - mean) / deviation


def reference(rows, labels, strength, weights):
    model = LogisticRegression(C=1 / (strength * weights.sum()), tol=1e-10, max_iter=20000)
    x = standard(rows.astype(float), weights)
    return model.fit(x, labels, sample_weight=weights).predict_proba(x)


@pytest.mark.parametrize(("n", "d"), [(60, 7), (40, 90)], ids=["more photos", "more features"])
@pytest.mark.parametrize("strength", [10.0, 0.1, 1e-3])
def test_softmax_is_that_of_scikit_learn(n, d, strength):
    labels = np.random.default_rng(1).integers(0, 3, n)
    rows = features_of(labels, d)
    weights = np.random.default_rng(2).uniform(0.2, 3, n)
    readout = solve(rows, np.eye(3)[labels], "softmax", strength, weights=weights)
    np.testing.assert_allclose(readout(rows), reference(rows, labels, strength, weights), atol=1e-5)


def test_each_label_is_a_problem_of_its_own():
    rng = np.random.default_rng(3)
    tags = rng.integers(0, 2, (50, 3))
    rows = features_of(tags @ [1, 2, 4], 9)
    readout = solve(rows, tags, "sigmoid", 0.05)
    for column in range(3):
        expected = reference(rows, tags[:, column], 0.05, np.ones(50))[:, 1]
        np.testing.assert_allclose(readout(rows)[:, column], expected, atol=1e-5)


@pytest.mark.parametrize("d", [6, 80])
def test_numbers_are_those_of_ridge(d):
    rng = np.random.default_rng(4)
    rows, weights = features_of(rng.integers(0, 4, 40), d), rng.uniform(0.2, 3, 40)
    numbers = rng.normal(size=(40, 2)) * [1, 1000] + [0, 5000]
    readout = solve(rows, numbers, "linear", 0.3, weights=weights)
    x = standard(rows.astype(float), weights)
    expected = Ridge(alpha=0.3 * weights.sum(), tol=1e-12).fit(x, numbers, sample_weight=weights).predict(x)
    np.testing.assert_allclose(readout(rows), expected, rtol=1e-6, atol=1e-6)


def test_soft_labels_are_rows_of_both_classes():
    """A row that is 0.3 of one class and 0.7 of another is two rows of these weights."""
    labels = np.arange(30) % 3
    rows = features_of(labels, 5)
    targets = 0.7 * np.eye(3)[labels] + 0.3 * np.eye(3)[(labels + 1) % 3]
    twice = np.concatenate([np.eye(3)[labels], np.eye(3)[(labels + 1) % 3]])
    weights = np.repeat([0.7, 0.3], 30)
    soft = solve(rows, targets, "softmax", 0.1)
    hard = solve(np.concatenate([rows, rows]), twice, "softmax", 0.1, weights=weights)
    np.testing.assert_allclose(soft(rows), hard(rows), atol=1e-6)


def test_the_strength_is_chosen_by_what_is_left_out():
    """Where features say nothing, the strongest is best; where they say all, a weak one is."""
    rng = np.random.default_rng(5)
    labels = np.arange(120) % 2
    noise = choose_strength(rng.normal(size=(120, 60)), np.eye(2)[labels], "softmax")
    clear = choose_strength(features_of(labels, 60, spread=4.0), np.eye(2)[labels], "softmax")
    assert noise.strength > 100 * clear.strength
    assert clear.losses[clear.strength] == min(clear.losses.values())


def test_the_loss_of_what_is_left_out_is_that_of_a_naive_loop():
    labels = np.arange(12) % 3
    rows = features_of(labels, 4)
    choice = choose_strength(rows, np.eye(3)[labels], "softmax", folds=12)  # Each photo is left out by itself.
    x = standard(rows.astype(float))
    strength = list(choice.losses)[-1]
    losses = []
    for out in range(12):
        kept = np.arange(12) != out
        model = LogisticRegression(C=1 / (strength * 11), max_iter=500).fit(x[kept], labels[kept])
        losses.append(-np.log(model.predict_proba(x[[out]])[0, labels[out]]))
    assert choice.losses[strength] == pytest.approx(np.mean(losses), rel=0.02)


def test_views_of_a_photo_are_left_out_together():
    """Labels that say nothing are learned by heart from a second view, unless it is left out, too."""
    rng = np.random.default_rng(6)
    photos, labels = rng.normal(size=(60, 40)), np.eye(2)[rng.integers(0, 2, 60)]
    views = np.concatenate([photos, photos + 1e-3 * rng.normal(size=(60, 40))])
    targets, groups = np.concatenate([labels, labels]), np.tile(np.arange(60), 2)
    together = choose_strength(views, targets, "softmax", groups=groups).strength
    apart = choose_strength(views, targets, "softmax").strength
    assert apart < 0.1 * together
    copies = np.concatenate([photos, photos])  # Equal rows are known as such.
    assert (
        choose_strength(copies, targets, "softmax").strength
        == choose_strength(copies, targets, "softmax", groups=groups).strength
    )


def test_the_same_again_is_the_same_to_the_bit():
    labels = np.arange(40) % 4
    rows, targets = features_of(labels, 70), np.eye(4)[labels]
    one, other = (linear_readout(rows, targets, "softmax", seed=3) for _ in range(2))
    np.testing.assert_array_equal(one.kernel, other.kernel)
    np.testing.assert_array_equal(one.bias, other.bias)


# What is hard


def test_constant_features_do_nothing():
    labels = np.arange(24) % 2
    rows = features_of(labels, 5)
    more = np.concatenate([rows, np.full((24, 1), 0.1, "float32"), np.zeros((24, 2), "float32")], axis=1)
    readout = linear_readout(more, np.eye(2)[labels], "softmax")
    np.testing.assert_array_equal(readout.kernel[5:], 0)
    np.testing.assert_allclose(readout(more), linear_readout(rows, np.eye(2)[labels], "softmax")(rows), atol=1e-6)


def test_features_that_are_all_constant_leave_the_shares_of_the_classes():
    readout = linear_readout(np.ones((8, 3)), np.eye(2)[[0, 0, 0, 0, 0, 0, 1, 1]], "softmax")
    np.testing.assert_allclose(readout(np.zeros((1, 3))), [[0.75, 0.25]], atol=1e-6)


def test_a_class_whose_features_are_all_the_same_is_solved():
    labels = np.arange(24) % 2
    rows = features_of(labels, 5, spread=9.0)
    rows[labels == 0] = 0
    readout = linear_readout(rows, np.eye(2)[labels], "softmax")
    assert np.isfinite(readout.kernel).all()
    assert (readout(rows).argmax(axis=1) == labels).all()


def test_a_class_without_photos_is_unlikely_and_finite():
    labels = np.array([0, 2] * 10)
    rows = features_of(labels, 5)
    readout = linear_readout(rows, np.eye(3)[labels], "softmax")
    assert np.isfinite(readout(rows)).all()
    assert (readout(rows)[:, 1] < 0.05).all()
    with_two = linear_readout(rows, np.eye(2)[labels // 2], "softmax")(rows)
    found = readout(rows)[:, [0, 2]]
    np.testing.assert_allclose(found / found.sum(axis=1, keepdims=True), with_two, atol=1e-5)


def test_a_label_that_no_photo_has_and_one_that_all_have():
    tags = np.stack([np.zeros(9), np.ones(9), np.arange(9) % 2], axis=1)
    answers = linear_readout(features_of(np.arange(9) % 2, 5), tags, "sigmoid")(np.zeros((1, 5)))
    np.testing.assert_allclose(answers[0, :2], [0.05, 0.95])


def test_one_photo_a_class_takes_the_usual_strength_and_says_why():
    labels = np.arange(5)
    rows = features_of(labels, 12)
    readout = linear_readout(rows, np.eye(5)[labels], "softmax")
    assert readout.choice.reason == "no class has two different photos"
    assert (readout(rows).argmax(axis=1) == labels).all()


def test_one_photo_alone():
    readout = linear_readout(np.array([[1.0, 2.0]]), np.array([[1.0, 0.0]]), "softmax")
    assert "fewer than two" in readout.choice.reason
    assert readout(np.array([[1.0, 2.0]])).argmax() == 0


def test_what_is_not_finite_is_named():
    rows = np.ones((6, 3))
    rows[4, 1], rows[2, 0] = np.nan, np.inf
    with pytest.raises(NotFinite, match="rows 2, 4") as caught:
        linear_readout(rows, np.eye(2)[[0, 1] * 3], "softmax")
    assert caught.value.rows.tolist() == [2, 4]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": np.ones((5, 2)) / 2}, r"as many rows.*\[6, 3\] and \[5, 2\]"),
        ({"targets": np.ones((6, 2))}, "sum 1"),
        ({"targets": np.full((6, 2), 1.5)}, r"in 0\.\.1; got 1\.5"),
        ({"targets": np.full((6, 2), np.nan)}, "targets that are finite"),
        ({"weights": np.zeros(6)}, "not all 0"),
        ({"weights": -np.ones(6)}, "0 or more"),
        ({"link": "probit"}, "link is"),
        ({"groups": np.arange(4)}, "number for each of 6 rows"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    arguments = {"features": np.eye(6, 3), "targets": np.eye(2)[[0, 1] * 3], "link": "softmax"} | changes
    with pytest.raises(ValueError, match=message):
        linear_readout(**arguments)
