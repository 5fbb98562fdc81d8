"""What a study searches: sound domains, grids, and the values that are tried before it is accepted."""

import pytest

from lepton_trainer.space import (
    Choice,
    Domain,
    Integer,
    Real,
    Space,
    check_domain,
    grid_point,
    grid_size,
    probes,
)

SPACE: Space = {
    "batch_size": Integer(least=16, greatest=48, step=16),
    "mlp.activation": Choice(("relu", "tanh")),
}


@pytest.mark.parametrize(
    ("domain", "words"),
    [
        (Real(least=0.1, greatest=0.2), ""),
        (Real(least=0.1, greatest=0.1), ""),
        (Real(least=0.2, greatest=0.1), "0.2 is above 0.1"),
        (Real(least=0.0, greatest=0.1, log=True), "above 0"),
        (Integer(least=-1, greatest=4, log=True), "above 0"),
        (Integer(least=1, greatest=64, step=2, log=True), "not both"),
        (Integer(least=5, greatest=4), "5 is above 4"),
        (Choice(([32], [64, 32])), ""),
        (Choice(([32], [32])), "there twice"),
    ],
    ids=str,
)
def test_a_domain_without_sense_is_told(domain: Domain, words: str) -> None:
    assert words in check_domain(domain)
    assert bool(check_domain(domain)) == bool(words)


def test_a_grid_has_every_combination_once() -> None:
    assert grid_size(SPACE) == 6
    points = [grid_point(SPACE, place) for place in range(6)]
    assert [tuple(point.values()) for point in points] == [
        (size, activation) for size in (16, 32, 48) for activation in ("relu", "tanh")
    ]
    assert all([*point] == [*SPACE] for point in points)


def test_a_grid_over_real_numbers_has_no_size() -> None:
    with pytest.raises(ValueError, match=r"optimizer\.learning_rate"):
        grid_size({**SPACE, "optimizer.learning_rate": Real(least=0.1, greatest=0.2)})


def test_every_extreme_is_probed_once_with_the_others_at_their_first() -> None:
    assert [(path, tuple(values.values())) for path, values in probes(SPACE)] == [
        ("batch_size", (16, "relu")),
        ("batch_size", (48, "relu")),
        ("mlp.activation", (16, "tanh")),
    ]
