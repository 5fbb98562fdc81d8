"""Header compression. The examples are those of RFC 7541, appendix C."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_http2.hpack import Decoder, Field, HpackError, encode


def decoder(table_bytes: int = 4096) -> Decoder:
    return Decoder(table_bytes, lambda name, value: 0)


def pairs(fields: list[Field]) -> list[tuple[str, str]]:
    return [(name.decode(), value.decode()) for name, value, _, _ in fields]


GET = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")]
REQUESTS = [
    GET,
    [*GET, ("cache-control", "no-cache")],
    [
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/index.html"),
        (":authority", "www.example.com"),
        ("custom-key", "custom-value"),
    ],
]
DATES = [f"Mon, 21 Oct 2013 20:13:2{second} GMT" for second in (1, 2)]
LOCATION = ("location", "https://www.example.com")
COOKIE = "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"
RESPONSES = [
    [(":status", "302"), ("cache-control", "private"), ("date", DATES[0]), LOCATION],
    [(":status", "307"), ("cache-control", "private"), ("date", DATES[0]), LOCATION],
    [
        (":status", "200"),
        ("cache-control", "private"),
        ("date", DATES[1]),
        LOCATION,
        ("content-encoding", "gzip"),
        ("set-cookie", COOKIE),
    ],
]


@pytest.mark.parametrize(
    ("table_bytes", "blocks", "lists"),
    [
        pytest.param(
            4096,
            ["400a637573746f6d2d6b65790d637573746f6d2d686561646572"],
            [[("custom-key", "custom-header")]],
            id="C.2.1",
        ),
        pytest.param(4096, ["040c2f73616d706c652f70617468"], [[(":path", "/sample/path")]], id="C.2.2"),
        pytest.param(4096, ["100870617373776f726406736563726574"], [[("password", "secret")]], id="C.2.3"),
        pytest.param(4096, ["82"], [[(":method", "GET")]], id="C.2.4"),
        pytest.param(
            4096,
            [
                "828684410f7777772e6578616d706c652e636f6d",
                "828684be58086e6f2d6361636865",
                "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
            ],
            REQUESTS,
            id="C.3",
        ),
        pytest.param(
            4096,
            [
                "828684418cf1e3c2e5f23a6ba0ab90f4ff",
                "828684be5886a8eb10649cbf",
                "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
            ],
            REQUESTS,
            id="C.4",
        ),
        pytest.param(
            256,
            [
                "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d54"
                "6e1768747470733a2f2f7777772e6578616d706c652e636f6d",
                "4803333037c1c0bf",
                "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f"
                "3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076"
                "657273696f6e3d31",
            ],
            RESPONSES,
            id="C.5",
        ),
        pytest.param(
            256,
            [
                "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f"
                "0b97c8e9ae82ae43d3",
                "4883640effc1c0bf",
                "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335df"
                "dfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
            ],
            RESPONSES,
            id="C.6",
        ),
    ],
)
def test_the_examples_of_the_rfc(
    table_bytes: int, blocks: list[str], lists: list[list[tuple[str, str]]]
) -> None:
    own = decoder(table_bytes)
    assert [pairs(own.decode(bytes.fromhex(block))) for block in blocks] == lists


def test_a_field_that_does_not_fit_empties_the_table() -> None:
    own = decoder(64)
    own.decode(b"\x40\x01a\x01b")
    assert pairs(own.decode(b"\xbe")) == [("a", "b")]
    own.decode(b"\x40\x01c\x28" + b"d" * 40)
    with pytest.raises(HpackError):
        own.decode(b"\xbe")


def test_a_smaller_table_forgets_the_oldest_first() -> None:
    own = decoder()
    own.decode(b"\x40\x01a\x01b\x40\x01c\x01d")
    assert pairs(own.decode(b"\x3f\x03\xbe")) == [("c", "d")]
    with pytest.raises(HpackError):
        own.decode(b"\xbf")


def test_blocks_that_change_the_table_are_counted() -> None:
    own = decoder()
    own.decode(b"\x82\x00\x01a\x01b\x10\x01a\x01b")
    assert own.changes == 0
    own.decode(b"\x40\x01a\x01b")
    assert own.changes == 1
    own.decode(b"\x20\x82")
    assert own.changes == 2


@pytest.mark.parametrize(
    "block",
    [
        pytest.param("80", id="index 0"),
        pytest.param("be", id="an index beyond the tables"),
        pytest.param("7e0161", id="a name beyond the tables"),
        pytest.param("4001", id="the end within a name"),
        pytest.param("400161", id="the end behind a name"),
        pytest.param("40016105ff", id="the end within a value"),
        pytest.param("ff", id="the end within an integer"),
        pytest.param("ffffffffffff7f", id="an integer too long"),
        pytest.param("00ff80808080800f", id="a length too long"),
        pytest.param("8220", id="a table size behind a field"),
        pytest.param("3fe21f", id="a table larger than allowed"),
        pytest.param("00018f8118", id="a string that is no Huffman code"),
    ],
)
def test_a_block_that_breaks_the_rules_is_refused(block: str) -> None:
    with pytest.raises(HpackError):
        decoder().decode(bytes.fromhex(block))


FIELDS = st.lists(
    st.tuples(
        st.one_of(st.sampled_from([b":status", b"content-type", b"date"]), st.binary(max_size=200)),
        st.one_of(st.sampled_from([b"200", b"404", b""]), st.binary(max_size=200)),
    ),
    max_size=12,
)


@given(FIELDS, st.booleans())
def test_what_was_encoded_is_decoded_again(fields: list[tuple[bytes, bytes]], compress: bool) -> None:
    own = decoder(0)
    decoded = own.decode(encode(fields, compress=compress))
    assert [(name, value) for name, value, _, _ in decoded] == fields
    assert own.changes == 0


def test_the_encoder_points_into_the_static_table() -> None:
    assert encode([(b":status", b"200")]) == b"\x88"
    assert encode([(b":status", b"415")], compress=False) == b"\x08\x03415"
    assert encode([(b"content-type", b"x")], compress=False) == b"\x0f\x10\x01x"


@given(st.binary(max_size=80))
def test_any_octets_are_a_block_or_refused(block: bytes) -> None:
    own = decoder(128)
    try:
        fields = own.decode(block)
    except HpackError:
        return
    assert all(size == len(name) + len(value) + 32 for name, value, size, _ in fields)
