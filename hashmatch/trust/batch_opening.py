"""Opens many sealed values at once.

A batch full of matches opens thousands of blocks of a kilobyte each. Called one by one from Python, the library spends
more time on the calls than on the cipher, and holds the interpreter's lock meanwhile. So the same cipher is driven from
a compiled loop, by the OpenSSL that Python itself is linked with. Where there is none to be found, or where it does not
open a value that the library sealed, the library does it, one by one.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hashmatch.trust.openssl_kernels import NONCE_SIZE, open_all, open_few

_FUNCTIONS = ("EVP_DecryptInit_ex", "EVP_DecryptUpdate", "EVP_CIPHER_CTX_ctrl", "EVP_DecryptFinal_ex")
_POINTER = ctypes.c_void_p
# Up to so many bytes are opened without letting go of the interpreter's lock: a tenth of a millisecond.
_FEW_BYTES = 1 << 17


class Opened(NamedTuple):
    """Values in plain: value i is `data[starts[i]:starts[i + 1]]`, empty unless `good[i]`.

    `data` is uint8, `starts` (n + 1,) int64, `good` (n,) bool.
    """

    data: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]
    good: npt.NDArray[np.bool_]

    def parts(self) -> list[bytes | None]:
        """The values one by one; None for one that is not good."""
        data, edges = self.data.tobytes(), self.starts.tolist()
        return [
            data[edges[index] : edges[index + 1]] if good else None for index, good in enumerate(self.good.tolist())
        ]


def open_batch(key: bytes, numbers: Sequence[int], sealed: Sequence[bytes | None], context: bytes) -> Opened:
    """Open values that were sealed with AES-256-GCM under `key`, with their number as nonce and `context` beside them.

    None stands for a value that is missing. Numbers are below 2^63.
    """
    library = _library()
    return (
        _one_by_one(key, numbers, sealed, context) if library is None else library.open(key, numbers, sealed, context)
    )


def _one_by_one(key: bytes, numbers: Sequence[int], sealed: Sequence[bytes | None], context: bytes) -> Opened:
    decrypt = AESGCM(key).decrypt
    plain: list[bytes] = []
    good = np.zeros(len(sealed), np.bool_)
    for index, (number, each) in enumerate(zip(numbers, sealed, strict=True)):
        try:
            plain.append(b"" if each is None else decrypt(number.to_bytes(NONCE_SIZE, "big"), each, context))
            good[index] = each is not None
        except (InvalidTag, ValueError):
            plain.append(b"")
    return Opened(np.frombuffer(b"".join(plain), np.uint8), _starts(plain), good)


class _OpenSsl:
    """The functions of a libcrypto. Raises `OSError` or `AttributeError` if it is not there or lacks one of them."""

    def __init__(self, name: str) -> None:
        # Its functions take less than a microsecond. A `CDLL` would let go of the interpreter's lock for each.
        library = ctypes.PyDLL(name)
        self._new = library.EVP_CIPHER_CTX_new
        self._new.restype = _POINTER
        self._free = library.EVP_CIPHER_CTX_free
        self._free.argtypes = [_POINTER]
        self._initialise = library.EVP_DecryptInit_ex
        self._initialise.argtypes = [_POINTER] * 5
        self._forget_errors = library.ERR_clear_error
        cipher = library.EVP_aes_256_gcm
        cipher.restype = _POINTER
        self._cipher = cipher()
        addresses = [ctypes.cast(getattr(library, each), _POINTER).value for each in _FUNCTIONS]
        self._functions = np.array(addresses, np.uint64)

    def open(self, key: bytes, numbers: Sequence[int], sealed: Sequence[bytes | None], context: bytes) -> Opened:
        parts = [each or b"" for each in sealed]
        data = np.frombuffer(b"".join(parts), np.uint8)
        plain = np.empty(len(data), np.uint8)
        starts = np.empty(len(parts) + 1, np.int64)
        good = np.empty(len(parts), np.bool_)
        cipher = self._new()
        if not cipher:
            raise MemoryError
        try:
            if self._initialise(cipher, self._cipher, None, key, None) != 1:
                raise OSError("this OpenSSL does not take the key")
            used = (open_few if len(data) <= _FEW_BYTES else open_all)(
                self._functions,
                np.uint64(cipher),
                np.frombuffer(context, np.uint8),
                np.fromiter(numbers, np.int64, len(parts)),
                data,
                _starts(parts),
                plain,
                starts,
                good,
            )
        finally:
            self._free(cipher)
        if not good.all():
            # Others in this thread would take them for errors of their own.
            self._forget_errors()
        return Opened(plain[:used], starts, good)


@functools.cache
def _library() -> _OpenSsl | None:
    """The OpenSSL that works here; None if there is none."""
    name = ctypes.util.find_library("crypto")
    key, context = os.urandom(32), b"context"
    samples = [os.urandom(length) for length in (0, 1, 15, 16, 1_000)]
    cipher = AESGCM(key)
    sealed: list[bytes | None] = [
        cipher.encrypt(number.to_bytes(NONCE_SIZE, "big"), each, context) for number, each in enumerate(samples)
    ]
    # One in the place of another.
    sealed.append(sealed[1])
    try:
        library = _OpenSsl(name or "")
        if not name:
            return None
        # A few and many are opened by different loops.
        few = library.open(key, range(len(sealed)), sealed, context).parts()
        large = os.urandom(_FEW_BYTES)
        many = library.open(key, (0,), [cipher.encrypt(bytes(NONCE_SIZE), large, context)], context).parts()
    except (OSError, AttributeError):
        return None
    return library if few == [*samples, None] and many == [large] else None


def _starts(parts: Sequence[bytes]) -> npt.NDArray[np.int64]:
    starts = np.zeros(len(parts) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)), out=starts[1:])
    return starts
