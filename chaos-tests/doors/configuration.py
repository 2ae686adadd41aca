"""Configuration files and environments of any kind: invalid ones are rejected with exit code 3."""

import random
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from harness.pantherctl import environment
from texts import text

SECONDS = 60
WRITTEN_KEY = re.compile(r"^#?([a-z_]+) = (.*)$")
SECTION = re.compile(r"^\[([a-z]+)\]$")
VALUES = (
    "true", "-1", "0", "99999999999999999999", "1e400", "nan", "[]", "{}", '""', '"::"', '"127.0.0.1:99999"', '"\\u0000"', "1979-05-27", "[[1]]",
    "'x'", '"s3://"', '"file://x"', "inf"
)


class Configurations:
    """Generates configurations. Needs no node."""

    name = "configuration"

    def __init__(self, binaries: Path, sample: Path, folder: Path, report: Callable[[str], None]) -> None:
        self.pantherd, self.sample, self.report = binaries / "pantherd", sample.read_text(), report
        self.folder = folder / "configurations"
        self.folder.mkdir()
        self.keys: list[tuple[str, str]] = []
        section = ""
        for line in self.sample.splitlines():
            if found := SECTION.match(line):
                section = found[1]
            elif found := WRITTEN_KEY.match(line):
                self.keys.append((section, found[1]))

    def once(self, rng: random.Random) -> str:
        kind = rng.choice((self.of_keys, self.of_keys, self.of_bytes, self.of_sample))
        content = kind(rng)
        file = self.folder / "c.toml"
        file.write_bytes(content)
        variables = environment()
        if rng.random() < 0.5:
            for section, key in rng.sample(self.keys, rng.randint(1, 3)):
                name = "__".join(part for part in ("PANTHER", section, key) if part).upper()
                given = rng.choice((*VALUES, text(rng))).replace("\0", "")
                variables[rng.choice((name, name + "__X", "PANTHER__"))] = given.encode(errors="replace").decode()
        words = rng.choice((["check"], ["check"], ["show"]))
        done = subprocess.run(
            [self.pantherd, "config", "--config", file, *words], env=variables, capture_output=True, stdin=subprocess.DEVNULL, timeout=SECONDS,
            cwd=self.folder
        )
        said = done.stderr.decode(errors="replace")
        if done.returncode not in (0, 3) or "panicked" in said:
            kept = self.folder / f"kept-{len(list(self.folder.glob('kept-*')))}.toml"
            kept.write_bytes(content)
            own = {name: given for name, given in variables.items() if name.startswith("PANTHER_")}
            self.report(f"pantherd config {words[0]} of {kept} with {own} ended with {done.returncode}: {said[:600]}")
        return kind.__name__

    def of_keys(self, rng: random.Random) -> bytes:
        """Existing keys with values of any type."""
        lines = []
        for section, key in sorted(rng.sample(self.keys, rng.randint(1, 6)), key=lambda one: (one[0] != "", one[0])):
            if section and f"[{section}]" not in lines:
                lines.append(f"[{section}]")
            lines.append(f"{key} = {rng.choice(VALUES)}")
        return "\n".join(lines).encode()

    def of_bytes(self, rng: random.Random) -> bytes:
        nested = rng.choice(("a = ", "[")) + rng.choice(("[", "{a=")) * rng.choice((100, 3_000, 60_000))
        return rng.choice(
            (
                rng.randbytes(500), nested.encode(), ".".join("a" * 5_000).encode() + b" = 1", text(rng).encode(errors="replace"), b"[a]\n" * 3_000,
                b"\xef\xbb\xbf[log]\n"
            )
        )

    def of_sample(self, rng: random.Random) -> bytes:
        """The shipped configuration file with some bytes changed."""
        content = bytearray(self.sample.replace("\n#", "\n").encode() if rng.random() < 0.3 else self.sample.encode())
        for _ in range(rng.randint(1, 30)):
            at = rng.randrange(len(content))
            content[at : at + rng.randrange(3)] = rng.choice((b'"', b"\n", b"=", b"#", b"[", rng.randbytes(2)))
        return bytes(content)
