"""The composition of ChaCha20-Poly1305 against RFC 8439, and both algorithms against themselves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.remotes.aead import Algorithm, NotAuthentic, seal, sealer, unseal, unsealer

KEY = bytes(range(32))
NONCE = bytes(range(100, 112))
ALGORITHMS = list(Algorithm)


def test_it_is_the_chacha20_of_the_rfc():
    """RFC 8439 §2.8.2 has associated data; appendix A.5's is decrypted by libraries. Here: §2.4.2,
    the key stream from block 1 on, which is what follows the tag's key."""
    nonce = bytes.fromhex("000000000000004a00000000")
    plain = (
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the "
        b"future, sunscreen would be it."
    )
    ciphertext = sealer(Algorithm.CHACHA20_POLY1305, KEY, nonce).update(plain)
    assert ciphertext[:16].hex() == "6e2e359a2568f98041ba0728dd0d6981"
    assert ciphertext[-10:].hex() == "5af90bbf74a35be6b40b8eedf2785e42874d"[-20:]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@given(pieces=st.lists(st.binary(max_size=200), max_size=8))
def test_pieces_and_wholes_are_the_same(algorithm, pieces):
    plain = b"".join(pieces)
    sealing = sealer(algorithm, KEY, NONCE)
    streamed = NONCE + b"".join(sealing.update(piece) for piece in pieces) + sealing.finish()
    assert streamed == seal(algorithm, KEY, NONCE, plain)
    assert len(streamed) == len(plain) + 28
    assert unseal(algorithm, KEY, streamed) == plain
    opening = unsealer(algorithm, KEY, NONCE)
    middle = len(streamed) // 2
    ciphertext = streamed[12:-16]
    assert opening.update(ciphertext[:middle]) + opening.update(ciphertext[middle:]) == plain
    opening.finish(streamed[-16:])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@given(plain=st.binary(max_size=100), at=st.integers(0, 127), bit=st.integers(0, 7))
def test_every_changed_bit_is_noticed(algorithm, plain, at, bit):
    sealed = bytearray(seal(algorithm, KEY, NONCE, plain))
    at %= len(sealed)
    sealed[at] ^= 1 << bit
    with pytest.raises(NotAuthentic):
        unseal(algorithm, KEY, sealed)
    opening = unsealer(algorithm, KEY, bytes(sealed[:12]))
    opening.update(sealed[12:-16])
    with pytest.raises(NotAuthentic):
        opening.finish(bytes(sealed[-16:]))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("size", [0, 1, 12, 27])
def test_what_is_too_short_is_not_authentic(algorithm, size):
    with pytest.raises(NotAuthentic):
        unseal(algorithm, KEY, bytes(size))


def test_limits_are_those_of_the_block_counters():
    assert Algorithm.AES_256_GCM.bytes_max == 2**36 - 32
    assert Algorithm.CHACHA20_POLY1305.bytes_max == 2**38 - 64
