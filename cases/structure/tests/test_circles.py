"""Circles among the files and parts of a crate are found, and what only looks like one is not."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
ROOT = HERE.parents[1]


def listed(folder, *options):
    """The exit code of a run over a crate, and what it printed."""
    ran = subprocess.run([sys.executable, str(HERE / "circles.py"), str(folder), *options], capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout


class Circles(unittest.TestCase):
    def crate(self, **files):
        folder = tempfile.TemporaryDirectory(prefix="panther-circles-")
        self.addCleanup(folder.cleanup)
        source = Path(folder.name) / "src"
        for name, text in files.items():
            path = source / (name.replace("__", "/") + ".rs")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return Path(folder.name)

    def test_a_circle_of_files_is_listed_with_the_names_that_make_it(self):
        folder = self.crate(lib="mod a;\nmod b;", a="use crate::b::{B, other};\npub struct A;", b="pub struct B;\nfn f() { super::a::A; }")
        code, said = listed(folder)
        self.assertEqual(code, 1)
        self.assertIn("circle of 2 files", said)
        self.assertIn("src/a.rs -> src/b.rs: B", said)
        self.assertIn("src/b.rs -> src/a.rs: A", said)

    def test_a_longer_circle_is_found_through_re_exports_and_globs(self):
        folder = self.crate(
            lib="mod a; mod b; mod c;",
            a__mod="mod inner;\npub use inner::*;",
            a__inner="use crate::b::from_c as x;\npub(crate) struct Inner;",
            b="pub use crate::c::from_c;",
            c="use crate::a::Inner;\npub fn from_c() {}",
        )
        code, said = listed(folder)
        self.assertEqual(code, 1)
        self.assertIn("src/a/inner.rs -> src/c.rs: from_c", said)
        self.assertIn("src/c.rs -> src/a/inner.rs: Inner", said)
        self.assertNotIn("src/b.rs", said)

    def test_parts_may_have_a_circle_where_files_have_none(self):
        folder = self.crate(
            lib="mod a; mod b;", a__mod="mod low; mod high;", a__low="pub struct Low;", a__high="use crate::b::B;", b="use crate::a::low::Low;\npub struct B;"
        )
        code, said = listed(folder)
        self.assertEqual(code, 1)
        self.assertNotIn("files\n", said)
        self.assertIn("circle of 2 parts", said)
        self.assertIn("src/a -> src/b: src/a/high.rs", said)

    def test_texts_comments_and_tests_import_nothing(self):
        folder = self.crate(
            lib="mod a; mod b;",
            a="use crate::b::B;\npub struct A;",
            b='/// See [`crate::a::A`].\npub struct B<\'a>(&\'a str);\nconst T: &str = "crate::a::A { ";\n// use crate::a::A;\n'
            "#[cfg(test)]\nmod tests { use crate::a::A; fn f() { loop {} } }",
        )
        self.assertEqual(listed(folder), (0, ""))

    def test_a_circle_that_may_stay_is_named_as_a_whole(self):
        folder = self.crate(lib="mod a; mod b;", a="use crate::b::B;\npub struct A;", b="use crate::a::A;\npub struct B;")
        allowed = folder / "allowed.toml"
        circle = '[[circle]]\nfiles = ["{}"]\nreason = "they call each other"\n'
        allowed.write_text("".join(circle.format('", "'.join(files)) for files in (("src/a.rs", "src/b.rs"), ("src/a", "src/b"))))
        self.assertEqual(listed(folder, "--allowed", str(allowed))[0], 0)
        allowed.write_text(circle.format("src/a.rs"))
        self.assertEqual(listed(folder, "--allowed", str(allowed))[0], 1)

    def test_a_folder_without_a_crate_is_no_crate_without_circles(self):
        self.assertEqual(listed(self.crate(other="x"))[0], 2)

    def test_the_detections_have_no_circle(self):
        self.assertEqual(listed(ROOT / "detections"), (0, ""))

    def test_the_actors_have_only_the_circles_that_may_stay(self):
        self.assertEqual(listed(ROOT / "actors", "--allowed", str(HERE / "actors.toml")), (0, ""))


if __name__ == "__main__":
    unittest.main()
