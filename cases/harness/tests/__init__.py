"""Unit tests of the harness: an expectation that cannot fail would let every case pass."""
