import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_http2 import huffman


@given(st.binary(max_size=200))
def test_what_was_encoded_is_decoded_again(text: bytes) -> None:
    encoded = huffman.encode(text)
    assert len(encoded) == huffman.encoded_bytes(text)
    assert huffman.decode(encoded) == text


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"www.example.com", "f1e3c2e5f23a6ba0ab90f4ff"),
        (b"no-cache", "a8eb10649cbf"),
        (b"custom-key", "25a849e95ba97d7f"),
        (b"Mon, 21 Oct 2013 20:13:21 GMT", "d07abe941054d444a8200595040b8166e082a62d1bff"),
        (b"", ""),
    ],
)
def test_the_examples_of_the_rfc(text: bytes, code: str) -> None:
    assert huffman.encode(text).hex() == code
    assert huffman.decode(bytes.fromhex(code)) == text


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("ffffffff", id="end of string"),
        pytest.param("1fff", id="a whole octet of padding"),
        pytest.param("18", id="padding of zeros"),
        pytest.param("fffffffc", id="end of string and then zeros"),
    ],
)
def test_what_is_no_string_is_refused(code: str) -> None:
    with pytest.raises(huffman.HuffmanError):
        huffman.decode(bytes.fromhex(code))


@given(st.binary(max_size=60))
def test_any_octets_are_decoded_to_what_encodes_to_them_or_refused(code: bytes) -> None:
    try:
        text = huffman.decode(code)
    except huffman.HuffmanError:
        return
    assert huffman.encode(text) == code
