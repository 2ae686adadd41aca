"""Packs and schemas that are damaged, that expand without limit, or that name files outside."""

import io
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

from harness.pantherctl import Answer
from nodes import Cluster
from texts import text

RULE = "AnalysisType: rule\nRuleID: r{n}\nFilename: r{n}.py\nLogTypes: [Custom.Honest]\nSeverity: Low\nEnabled: true\n"
CODE = "def rule(event):\n    return False\n"
NAMES = (
    "../../escaped.yml", "/tmp/escaped.yml", "a\\..\\b.yml", "r.yml", "rules/r.yml", "r.py", "x/" * 100 + "r.yml", "n" * 300 + ".yml", "", "con.yml",
    "é.yml"
)
REFUSED = (0, 1, 2)


def laughs(depth: int = 9) -> str:
    """YAML of a few hundred bytes that expands to billions of nodes."""
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x]"]
    for level in range(1, depth):
        lines.append(f"a{level}: &a{level} [" + ",".join([f"*a{level - 1}"] * 9) + "]")
    return "\n".join(lines) + "\n"


def yaml(rng: random.Random) -> str:
    kind = rng.randrange(9)
    if kind == 0:
        return laughs()
    if kind == 1:
        return "fields: " + rng.choice(("[", "{a: ")) * rng.choice((50, 1_000, 30_000))
    if kind == 2:
        return "".join("  " * level + "fields:\n" for level in range(rng.choice((100, 1_500))))
    if kind == 3:
        return "a: &a\n  b: *a\n<<: *a\n"
    if kind == 4:
        return "\n".join(f"- &x{number} *x{number - 1}" for number in range(1, 300))
    if kind == 5:
        return rng.choice(
            ("!!python/object/apply:os.system ['id']", "%YAML 9.9\n---\n", "? [a]\n: b\n", "a: 1\na: 2\n", "\0", "--- !x\n...\n---\n", "a: " + "9" * 5_000)
        )
    return f"AnalysisType: {text(rng)!r}\nRuleID: {text(rng)!r}\nschema: {text(rng)!r}\nfields: {text(rng)!r}\n"


def schema(rng: random.Random) -> str:
    """An almost valid schema."""
    kind = rng.randrange(6)
    if kind == 0:
        return yaml(rng)
    if kind == 1:
        depth = rng.choice((20, 200, 3_000))
        return "schema: Custom.Deep\nfields:\n  - name: a\n    type: " + "{type: array, element: " * depth + "{type: string}" + "}" * depth + "\n"
    if kind == 2:
        pattern = rng.choice(("(a+)+$", "(" * 500, "[", "(?<n>" * 99, "a{1,99999}{1,99999}", "\\p{X}", "((a{0,1000}){0,1000}){0,1000}"))
        return f"schema: Custom.Pattern\nparser:\n  regex: {{ match: ['{pattern}'] }}\nfields:\n  - {{ name: n, type: string }}\n"
    if kind == 3:
        fields = "".join(
            f"  - {{ name: f{number}, type: {rng.choice(('string', 'bigint', 'nothing', 'timestamp'))} }}\n" for number in range(rng.choice((3, 5_000)))
        )
        return f"schema: {rng.choice(('Custom.Many', 'AWS.CloudTrail', 'Custom.', '../x', 'Custom.' + 'N' * 500))}\nfields:\n{fields}"
    name, format = text(rng)[:40].replace("'", ""), text(rng)[:40].replace("'", "")
    return f"schema: Custom.Odd\nfields:\n  - {{ name: '{name}', type: timestamp, timeFormats: ['{format}'], isEventTime: true, indicators: ['{name}'], rename: {{ from: '{name}' }} }}\n"


class Packs:
    """Generates packs and schemas and passes them to pantherctl, which passes them to the node."""

    name = "packs"

    def __init__(self, cluster: Cluster, report: Callable[[str], None]) -> None:
        self.cluster, self.report, self.folder = cluster, report, cluster.folder / "packs"
        self.folder.mkdir()

    def once(self, rng: random.Random) -> str:
        kind = rng.choice((self.upload, self.upload, self.check, self.add_schema, self.add_schema, self.test_schema))
        kind(rng)
        return kind.__name__

    def judge(self, answer: Answer, content: bytes) -> None:
        """Checks that pantherctl rejects invalid input, and never crashes on it."""
        if answer.exit_code not in REFUSED or "panicked" in answer.err:
            kept = self.folder / f"kept-{len(list(self.folder.glob('kept-*')))}"
            kept.write_bytes(content)
            self.report(f"pantherctl {' '.join(answer.words)} ended with {answer.exit_code}: {answer.text()[:600]}; its input is {kept}")

    def upload(self, rng: random.Random) -> None:
        content = self.zip(rng)
        (self.folder / "p.zip").write_bytes(content)
        dry = rng.choice((["--dry-run"], []))
        self.judge(rng.choice(self.cluster.nodes).pantherctl.run("detections", "upload", self.folder / "p.zip", "--yes", *dry, timeout=330), content)

    def check(self, rng: random.Random) -> None:
        """A folder instead of a zip, without a node."""
        pack = self.folder / "pack"
        shutil.rmtree(pack, ignore_errors=True)
        pack.mkdir()
        content = yaml(rng).encode(errors="replace")
        (pack / "r.yml").write_bytes(content)
        (pack / "r.py").write_bytes(rng.choice((CODE.encode(), b"(" * 500, rng.randbytes(300), b"def rule(e):\n" + b" return (" * 99)))
        Path(pack / "loop.yml").symlink_to("loop.yml")
        Path(pack / "zero.yml").symlink_to("/dev/zero")
        self.judge(self.cluster.first.pantherctl.run("detections", "check", pack, timeout=120), content)

    def add_schema(self, rng: random.Random) -> None:
        content = schema(rng).encode(errors="replace")
        (self.folder / "s.yml").write_bytes(content)
        self.judge(rng.choice(self.cluster.nodes).pantherctl.run("schemas", "add", self.folder / "s.yml", timeout=120), content)

    def test_schema(self, rng: random.Random) -> None:
        content = schema(rng).encode(errors="replace")
        (self.folder / "s.yml").write_bytes(content)
        (self.folder / "s.log").write_bytes(rng.choice((b"a" * 40 + b"!\n", rng.randbytes(2_000), b'{"a":[[[[1]]]]}\n')))
        self.judge(self.cluster.first.pantherctl.run("schemas", "test", self.folder / "s.yml", self.folder / "s.log", timeout=120), content)

    def zip(self, rng: random.Random) -> bytes:
        kind = rng.randrange(8)
        if kind == 0:
            return rng.randbytes(rng.randrange(5_000))
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for number in range(rng.randrange(5)):
                archive.writestr(f"rules/r{number}.yml", RULE.format(n=number) if rng.random() < 0.7 else yaml(rng).encode(errors="replace"))
                archive.writestr(f"rules/r{number}.py", CODE)
            if kind == 1:
                archive.writestr("rules/bomb.yml", b"a" * rng.choice((70_000_000, 300_000_000)))
            elif kind == 2:
                for number in range(20_000):
                    archive.writestr(f"f{number}", b"")
            elif kind == 3:
                archive.writestr(rng.choice(NAMES) or "x", CODE)
                link = zipfile.ZipInfo("rules/link.py")
                link.external_attr = 0o120777 << 16
                archive.writestr(link, rng.choice(("/etc/passwd", "../../data/sealing.key")))
            elif kind == 4:
                archive.writestr("rules/laughs.yml", laughs())
            elif kind == 5:
                archive.writestr("inner.zip", self.inner())
        whole = bytearray(out.getvalue())
        if kind >= 6 and whole:
            for _ in range(rng.randint(1, 5)):
                # Sizes, offsets and names are near the end.
                at = rng.randrange(max(0, len(whole) - 200), len(whole)) if rng.random() < 0.7 else rng.randrange(len(whole))
                whole[at] = rng.choice((0, 0xFF, rng.randrange(256)))
            if rng.random() < 0.3:
                del whole[rng.randrange(len(whole)) :]
        return bytes(whole)

    @staticmethod
    def inner() -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a", b"\0" * 10_000_000)
        return out.getvalue()
