"""Authenticated encryption of whole objects as Xen Orchestra has it: nonce, ciphertext, tag.

    0            12                     n + 12        n + 28
    ├─ nonce ────┼─ ciphertext (n) ─────┼─ tag (16) ──┤

One message an object, without associated data; both algorithms take a key of 32 bytes. Long
objects go through piece by piece: AES-GCM as the library has it, ChaCha20-Poly1305 composed of its
two halves (RFC 8439 §2.8), since the library has it for whole messages only.

Pure: no I/O. Never knows where keys or nonces come from.
"""

from enum import StrEnum
from typing import Protocol

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.poly1305 import Poly1305

from reconciler.remotes.filesystem import Piece

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
OVERHEAD_BYTES = NONCE_BYTES + TAG_BYTES

_BLOCK_BYTES = 64  # of ChaCha20; the first one of the key stream makes the key of the tag


class Algorithm(StrEnum):
    """By its name in `encryption.json`."""

    CHACHA20_POLY1305 = "chacha20-poly1305"
    AES_256_GCM = "aes-256-gcm"

    @property
    def bytes_max(self) -> int:
        """Of one message: block counters have 32 bits, GCM's start at 2, ChaCha20's at 1."""
        if self is Algorithm.AES_256_GCM:
            return (2**32 - 2) * 16
        return (2**32 - 1) * _BLOCK_BYTES


class NotAuthentic(Exception):
    """The key is another, or the bytes are not those that were sealed."""


def seal(algorithm: Algorithm, key: bytes, nonce: bytes, plain: Piece) -> bytes:
    """Encrypt an object whole: what lies on the remote."""
    return nonce + _aead(algorithm, key).encrypt(nonce, plain, None)


def unseal(algorithm: Algorithm, key: bytes, sealed: Piece) -> bytes:
    """Decrypt an object whole. Raises NotAuthentic."""
    view = memoryview(sealed)
    if len(view) < OVERHEAD_BYTES:
        raise NotAuthentic
    try:
        return _aead(algorithm, key).decrypt(bytes(view[:NONCE_BYTES]), view[NONCE_BYTES:], None)
    except InvalidTag:
        raise NotAuthentic from None


class Sealer(Protocol):
    """Encrypts one message."""

    def update(self, plain: Piece) -> bytes: ...

    def finish(self) -> bytes:
        """Return the tag."""


class Unsealer(Protocol):
    """Decrypts one message; what comes out is worth something once `finish` has returned."""

    def update(self, ciphertext: Piece) -> bytes: ...

    def finish(self, tag: bytes) -> None:
        """Raises NotAuthentic."""


def sealer(algorithm: Algorithm, key: bytes, nonce: bytes) -> Sealer:
    if algorithm is Algorithm.AES_256_GCM:
        return _GcmSealer(key, nonce)
    return _ChaChaSealer(key, nonce)


def unsealer(algorithm: Algorithm, key: bytes, nonce: bytes) -> Unsealer:
    if algorithm is Algorithm.AES_256_GCM:
        return _GcmUnsealer(key, nonce)
    return _ChaChaUnsealer(key, nonce)


def _aead(algorithm: Algorithm, key: bytes) -> AESGCM | ChaCha20Poly1305:
    return AESGCM(key) if algorithm is Algorithm.AES_256_GCM else ChaCha20Poly1305(key)


class _GcmSealer:
    def __init__(self, key: bytes, nonce: bytes) -> None:
        self._context = Cipher(algorithms.AES(key), modes.GCM(nonce)).encryptor()

    def update(self, plain: Piece) -> bytes:
        return self._context.update(plain)

    def finish(self) -> bytes:
        self._context.finalize()
        return self._context.tag


class _GcmUnsealer:
    def __init__(self, key: bytes, nonce: bytes) -> None:
        self._context = Cipher(algorithms.AES(key), modes.GCM(nonce)).decryptor()

    def update(self, ciphertext: Piece) -> bytes:
        return self._context.update(ciphertext)

    def finish(self, tag: bytes) -> None:
        try:
            self._context.finalize_with_tag(tag)
        except InvalidTag:
            raise NotAuthentic from None


class _ChaCha:
    """RFC 8439 §2.8: the key stream from block 1 on, and the tag over the ciphertext."""

    def __init__(self, key: bytes, nonce: bytes) -> None:
        counter = bytes(4)  # little-endian, 32 bits, before the nonce
        cipher = Cipher(algorithms.ChaCha20(key, counter + nonce), mode=None)
        self._stream: CipherContext = cipher.encryptor()  # decrypting is the same
        self._poly = Poly1305(self._stream.update(bytes(_BLOCK_BYTES))[:32])
        self._bytes = 0

    def _authenticate(self, ciphertext: Piece) -> None:
        self._poly.update(ciphertext)
        self._bytes += memoryview(ciphertext).nbytes

    def _end(self) -> Poly1305:
        self._poly.update(bytes(-self._bytes % 16))
        self._poly.update(bytes(8) + self._bytes.to_bytes(8, "little"))
        return self._poly


class _ChaChaSealer(_ChaCha):
    def update(self, plain: Piece) -> bytes:
        ciphertext = self._stream.update(plain)
        self._authenticate(ciphertext)
        return ciphertext

    def finish(self) -> bytes:
        return self._end().finalize()


class _ChaChaUnsealer(_ChaCha):
    def update(self, ciphertext: Piece) -> bytes:
        self._authenticate(ciphertext)
        return self._stream.update(ciphertext)

    def finish(self, tag: bytes) -> None:
        try:
            self._end().verify(tag)
        except InvalidSignature:
            raise NotAuthentic from None
