"""The compiled loop that opens sealed values with OpenSSL.

OpenSSL is called through the addresses of its functions, which the caller passes in: they differ from process to
process, while the compiled code is kept between them.
"""

from __future__ import annotations

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

TAG_SIZE = 16
NONCE_SIZE = 12
_NUMBER_SIZE = 8
# EVP_CTRL_AEAD_SET_TAG of openssl/evp.h
_SET_TAG = np.int32(0x11)
_NULL = np.uint64(0)


@intrinsic
def _call(typing_context, address, arguments):  # noqa: ARG001
    """Call the C function at `address`, which returns an int. Pointers are passed as uint64, ints as int32."""
    signature = types.int32(types.uint64, arguments)

    def codegen(context, builder, signature, values):
        kinds = [context.get_value_type(each) for each in signature.args[1]]
        pointer = builder.inttoptr(values[0], ir.FunctionType(ir.IntType(32), kinds).as_pointer())
        return builder.call(pointer, [builder.extract_value(values[1], index) for index in range(len(kinds))])

    return signature, codegen


@numba.njit(nogil=True, cache=True, boundscheck=False)
def open_all(functions, cipher, additional, numbers, sealed, sealed_starts, plain, plain_starts, good):
    """Open value i, `sealed[sealed_starts[i]:sealed_starts[i + 1]]`, whose nonce is `numbers[i]`, big-endian.

    `functions` are the addresses of EVP_DecryptInit_ex, EVP_DecryptUpdate, EVP_CIPHER_CTX_ctrl, EVP_DecryptFinal_ex;
    `cipher` is an EVP_CIPHER_CTX that has its key. What verifies goes to `plain` one after the other, from
    `plain_starts[i]` on; of what does not, `good[i]` is False and nothing is left. Returns the length of it all.
    """
    initialise, update, control, finish = functions[0], functions[1], functions[2], functions[3]
    written = np.zeros(1, np.int32)
    nonce = np.zeros(NONCE_SIZE, np.uint8)
    written_at = np.uint64(written.ctypes.data)
    nonce_at = np.uint64(nonce.ctypes.data)
    additional_at = np.uint64(additional.ctypes.data)
    at = 0
    for index in range(numbers.shape[0]):
        plain_starts[index] = at
        good[index] = False
        size = sealed_starts[index + 1] - sealed_starts[index] - TAG_SIZE
        if size < 0:
            continue
        for byte in range(_NUMBER_SIZE):
            nonce[NONCE_SIZE - 1 - byte] = (numbers[index] >> (8 * byte)) & 0xFF
        source = np.uint64(sealed.ctypes.data) + np.uint64(sealed_starts[index])
        target = np.uint64(plain.ctypes.data) + np.uint64(at)
        good[index] = (
            _call(initialise, (cipher, _NULL, _NULL, _NULL, nonce_at)) == 1
            and _call(update, (cipher, _NULL, written_at, additional_at, np.int32(additional.shape[0]))) == 1
            and _call(update, (cipher, target, written_at, source, np.int32(size))) == 1
            and _call(control, (cipher, _SET_TAG, np.int32(TAG_SIZE), source + np.uint64(size))) == 1
            and _call(finish, (cipher, target + np.uint64(size), written_at)) == 1
        )
        if good[index]:
            at += size
        else:
            plain[at : at + size] = 0
    plain_starts[numbers.shape[0]] = at
    return at


# For a few values: whoever lets go of the interpreter's lock may wait a millisecond to get it back, which is many times
# as long as it takes to open them.
open_few = numba.njit(cache=True, boundscheck=False)(open_all.py_func)
