"""Many digests at once are what each of them is alone."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashmatch.formats import _digest_batches
from hashmatch.formats._digest_batches import BATCH, digests_of
from hashmatch.formats._values import Refused, digest_of
from hashmatch.model.algorithms import EMPTY_FILE_DIGESTS, Algorithm

ALGORITHMS = tuple(Algorithm)


def one_by_one(algorithm, texts):
    digests, refused = [], {}
    for index, text in enumerate(texts):
        try:
            digests.append(digest_of(algorithm, text, "auto"))
        except Refused as refusal:
            refused[index] = refusal.reason
    return b"".join(digests), refused


def sound(algorithm, seed):
    """A digest that nothing speaks against."""
    return bytes((seed * 31 + index * 73 + 5) % 256 for index in range(algorithm.digest_size))


def written(digest, form):
    text = {"hex": digest.hex(), "HEX": digest.hex().upper(), "base64": base64.b64encode(digest).decode()}
    return text.get(form) or base64.b32encode(digest).decode()


def flawed(algorithm):
    """Texts that are refused, or that are not what the others of a batch are."""
    size = algorithm.digest_size
    usual = sound(algorithm, 3).hex()
    return st.one_of(
        st.text(max_size=8),
        st.sampled_from(
            [
                "00" * size,
                "ff" * size,
                "ab" * size,
                usual[:-1],
                usual + "0",
                usual[:-1] + "=",
                usual[:-1] + "é",
                usual[:-2] + " 0",
                "x" * len(usual),
                written(sound(algorithm, 4), "base64")[:-1] + "=",
                written(sound(algorithm, 4), "base64")[:-1] + "\n",
                written(sound(algorithm, 4), "base64").rstrip("="),
                *(digest.hex() for digest in EMPTY_FILE_DIGESTS.values()),
            ]
        ),
        st.binary(min_size=size, max_size=size).map(bytes.hex),
    )


@given(st.data())
def test_a_batch_is_what_its_texts_are_one_by_one(data):
    algorithm = data.draw(st.sampled_from(ALGORITHMS))
    form = data.draw(st.sampled_from(["hex", "HEX", "base64", "base32"]))
    texts = [written(sound(algorithm, seed), form) for seed in range(data.draw(st.integers(1, BATCH + 8)))]
    for _ in range(data.draw(st.integers(0, 3))):
        texts[data.draw(st.integers(0, len(texts) - 1))] = data.draw(flawed(algorithm))
    assert digests_of(algorithm, texts) == one_by_one(algorithm, texts)


@pytest.mark.parametrize("algorithm", set(ALGORITHMS) - {Algorithm.VPDQ})
@pytest.mark.parametrize("form", ["hex", "base64"])
def test_what_one_text_has_too_many_does_not_make_up_for_the_next(algorithm, form):
    first, second, third = (written(sound(algorithm, seed), form) for seed in (1, 2, 3))
    texts = [first + second[0], second[1:], third]
    assert digests_of(algorithm, texts) == one_by_one(algorithm, texts)
    assert digests_of(algorithm, texts)[1]


def test_base64_that_ends_early_is_refused():
    whole = written(sound(Algorithm.PHOTODNA, 1), "base64")
    refused = {1: "wrong-length"}
    assert digests_of(Algorithm.PHOTODNA, [whole, whole[:-1] + "="]) == (sound(Algorithm.PHOTODNA, 1), refused)


@pytest.mark.parametrize("algorithm", set(ALGORITHMS) - {Algorithm.VPDQ})
def test_sound_texts_are_not_decoded_one_by_one(algorithm, monkeypatch):
    texts = [sound(algorithm, seed).hex() for seed in range(1, 200)]
    expected = one_by_one(algorithm, texts)
    monkeypatch.delattr(_digest_batches, "digest_of")
    assert digests_of(algorithm, texts) == expected
