"""The tree over a log: its roots are those of RFC 6962."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashmatch.trust.merkle import MerkleTree

# The test vectors of Certificate Transparency: the leaves, and the root after each.
_LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def test_roots_are_those_of_certificate_transparency():
    tree = MerkleTree()
    assert tree.root == hashlib.sha256(b"").digest()
    for leaf, root in zip(_LEAVES, _ROOTS, strict=True):
        tree.add(bytes.fromhex(leaf))
        assert tree.root.hex() == root


@given(st.integers(0, 70))
def test_a_tree_that_is_taken_up_grows_like_the_one_before(size: int):
    tree = MerkleTree()
    for number in range(size):
        tree.add(b"%d" % number)
    again = MerkleTree(size, tree.frontier)
    for each in (tree, again):
        each.add(b"next")
    assert (again.root, again.frontier, again.size) == (tree.root, tree.frontier, size + 1)


def test_a_copy_does_not_grow_along():
    tree = MerkleTree()
    tree.add(b"a")
    before = tree.copy()
    tree.add(b"b")
    assert (before.size, before.root) == (1, hashlib.sha256(b"\x00a").digest())


@pytest.mark.parametrize(("size", "frontier"), [(1, []), (0, [bytes(32)]), (3, [bytes(32)]), (1, [bytes(31)])])
def test_a_frontier_that_does_not_fit_the_size_is_refused(size: int, frontier: list[bytes]):
    with pytest.raises(ValueError, match="frontier"):
        MerkleTree(size, frontier)
