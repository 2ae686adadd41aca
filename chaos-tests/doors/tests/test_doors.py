"""Tests of the attackers themselves: an attacker with a wrong implementation of the protocol would find every door closed."""

import random
import socket
import sys
import tempfile
import threading
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "cases")]

import http2  # noqa: E402
import ingest  # noqa: E402
import packs  # noqa: E402
from configuration import Configurations  # noqa: E402
from folders import SPARSE_BYTES  # noqa: E402
from neighbour import Noted, longest_wait, percentile  # noqa: E402
from notifications import Notifications  # noqa: E402
from protobuf import field, message, mutated, random_message, varint  # noqa: E402
from texts import as_json, value  # noqa: E402

SAMPLE = HERE.parents[1] / "deploy" / "pantherd.toml"


class Protocol(unittest.TestCase):
    def test_numbers_of_protocol_buffers_and_of_hpack_are_as_their_documents_show_them(self) -> None:
        self.assertEqual(varint(150), b"\x96\x01")
        self.assertEqual(field(2, "testing"), b"\x12\x07testing")
        self.assertEqual(message(f1=150, f3=[b"a", b"b"]), b"\x08\x96\x01\x1a\x01a\x1a\x01b")
        self.assertEqual(http2.integer(10, 5), b"\x0a")
        self.assertEqual(http2.integer(1337, 5), b"\x1f\x9a\x0a")
        self.assertEqual(http2.literal(b"custom-key", b"custom-header"), b"\x00\x0acustom-key\x0dcustom-header")

    def test_frames_say_their_length_or_lie_about_it(self) -> None:
        self.assertEqual(http2.frame(http2.PING, 0, 0, b"12345678"), b"\0\0\x08\x06\0\0\0\0\x0012345678")
        self.assertEqual(http2.frame(http2.DATA, 1, 3, b"", 0xFFFFFF), b"\xff\xff\xff\0\x01\0\0\0\x03")
        self.assertEqual(http2.grpc(b"ab", announced=16 << 20), b"\0\x01\0\0\0ab")
        self.assertEqual(len(http2.body(1, b"x" * 20_000)), 20_000 + 2 * 9)

    def test_a_connection_reads_frames_that_come_in_pieces_and_answers_settings(self) -> None:
        ours, theirs = socket.socketpair()
        whole = http2.settings() + http2.frame(http2.DATA, http2.END_STREAM, 1, b"hello")

        def feed() -> None:
            for at in range(0, len(whole), 4):
                theirs.sendall(whole[at : at + 4])

        thread = threading.Thread(target=feed)
        thread.start()
        with http2.Connection(ours) as connection:
            frames = []
            for came in connection.frames(5.0):
                frames.append(came)
                if came.kind == http2.DATA:
                    break
            thread.join()
            self.assertEqual([came.kind for came in frames], [http2.SETTINGS, http2.DATA])
            self.assertEqual(frames[1].payload, b"hello")
            self.assertEqual(theirs.recv(100), http2.frame(http2.SETTINGS, http2.ACK))
        theirs.close()


class Drawing(unittest.TestCase):
    """The same seed gives the same attacks, and the attacks are of many kinds."""

    def test_a_seed_draws_the_same(self) -> None:
        def drawn(seed: int) -> list[object]:
            rng = random.Random(seed)
            return [random_message(rng), mutated(rng, b"abcdef"), as_json(rng, value(rng)), ingest.Ingest.body(rng), packs.yaml(rng), packs.schema(rng)]

        for seed in range(50):
            self.assertEqual(drawn(seed), drawn(seed))
        self.assertGreater(len({str(drawn(seed)) for seed in range(50)}), 45)

    def test_every_drawn_body_and_schema_can_be_made(self) -> None:
        for seed in range(300):
            rng = random.Random(seed)
            self.assertIsInstance(ingest.Ingest.body(rng), bytes)
            packs.schema(rng).encode(errors="replace")
            Notifications.spoiled(rng, {"Records": [{"s3": {"object": {"key": "k"}}}]})

    def test_bombs_are_small_and_become_large(self) -> None:
        self.assertLess(len(ingest.gzip_bomb(b"\0")), ingest.BOMB_BYTES // 500)
        self.assertLess(len(ingest.zstd_bomb()), 10_000)
        self.assertLess(len(packs.laughs()), 2_000)
        self.assertGreater(SPARSE_BYTES, 1 << 30)

    def test_configurations_know_the_keys_of_the_delivered_file(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            keys = Configurations(Path("none"), SAMPLE, Path(folder), self.fail).keys
        self.assertIn(("", "data_dir"), keys)
        self.assertIn(("listen", "ingest"), keys)
        self.assertIn(("alarm", "command"), keys)


class Judging(unittest.TestCase):
    def test_percentiles(self) -> None:
        self.assertEqual(percentile([], 0.99), 0.0)
        self.assertEqual(percentile([3.0], 0.5), 3.0)
        self.assertEqual(percentile(range(1, 101), 0.99), 99)
        self.assertEqual(percentile(range(1, 101), 0.5), 50)
        self.assertEqual(percentile([1.0] * 50 + [9.0], 0.99), 9.0)

    def test_the_wait_of_a_line_ends_where_it_is_seen_as_stored(self) -> None:
        posts = [Noted("post", float(at), 0.5, None, at) for at in range(4)]
        self.assertEqual(longest_wait([*posts, Noted("stored", 9.0, 0.1, None, 4)]), 0.0)
        self.assertEqual(longest_wait([*posts, Noted("stored", 9.0, 0.1, None, 1), Noted("stored", 10.0, 0.1, None, 4)]), 7.5)
        self.assertEqual(longest_wait([*posts, Noted("stored", 1.0, 0.1, None, 0), Noted("post", 4.0, 0.1, "503", 9)]), 0.5)

    def test_a_try_that_failed_is_no_line_that_was_taken(self) -> None:
        from trial import Settings, Trial

        with tempfile.TemporaryDirectory() as folder:
            trial = Trial(Settings(Path("none"), Path(folder), SAMPLE, 1, 1.0))
            trial.notes = lambda: [Noted("post", 1.0, 0.1, None, 1), Noted("post", 1.0, 0.1, "503", 2), Noted("ask", 1.0, 0.1, None)]  # type: ignore[method-assign]
            self.assertEqual(trial.taken(), {"line-1"})


if __name__ == "__main__":
    unittest.main()
