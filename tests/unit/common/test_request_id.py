import pytest

from lepton_common.request_id import accept


@pytest.mark.parametrize("offered", ["a", "run-7/step".replace("/", ":"), "0123456789abcdef" * 4])
def test_a_well_formed_id_is_taken(offered: str) -> None:
    assert accept(offered) == offered


@pytest.mark.parametrize(
    "offered",
    [
        pytest.param("", id="nothing"),
        pytest.param("x" * 65, id="too long"),
        pytest.param("a b", id="a space"),
        pytest.param("a\n", id="a line break"),
        pytest.param('a","level":"ERROR', id="something that would end up in the log"),
    ],
)
def test_any_other_is_replaced_by_a_new_one(offered: str) -> None:
    made = accept(offered)

    assert made != offered
    assert accept(made) == made
    assert accept(offered) != made
