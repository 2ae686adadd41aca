"""Every command of a page is found, and an incorrect page is detected."""

import sys
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HERE))

from listing import Entry, Listing, ListingError, Page, load, made  # noqa: E402
from pages import Block, blocks, commands, inline, is_command  # noqa: E402

PAGE = """# Title

Text with `pantherctl alerts list` and
`pantherctl cluster
status` in it.

```
pantherctl alerts list   # what is open
TOKEN=$(pantherctl sources rotate-token web)
curl -H "Authorization: Bearer $TOKEN" \\
     --data-binary @f http://127.0.0.1:8686/ingest/web

# a comment
pantherclt status
```

```yaml
pantherctl: no command
```

Then:

    pantherctl cluster invite     # one line
    sudo -u panther pantherd join -

- a list

  with indented text that is no block

    NODE  NAME
"""


class Blocks(unittest.TestCase):
    """The blocks of a page, and the commands of a block."""

    def setUp(self) -> None:
        self.blocks = blocks("p", PAGE)

    def test_fenced_and_indented_blocks_are_found_and_other_languages_are_not(self) -> None:
        self.assertEqual([block.first().split()[0] for block in self.blocks], ["pantherctl", "pantherctl", "NODE"])
        self.assertEqual([block.is_shell() for block in self.blocks], [True, True, False])

    def test_commands_lose_their_comment_and_keep_their_second_line(self) -> None:
        found, strange = commands(self.blocks[0])
        self.assertEqual(found[0].text, "pantherctl alerts list")
        self.assertEqual(found[1].text, "TOKEN=$(pantherctl sources rotate-token web)")
        self.assertEqual(found[2].text, 'curl -H "Authorization: Bearer $TOKEN" --data-binary @f http://127.0.0.1:8686/ingest/web')
        self.assertEqual([PAGE.splitlines()[one.line - 1].split()[0].split("=")[0] for one in found], ["pantherctl", "TOKEN", "curl"])
        # A typing error in a program's name is not a command, and is reported.
        self.assertEqual(strange, ["pantherclt status"])

    def test_an_indented_block_is_read_too(self) -> None:
        self.assertEqual([one.text for one in commands(self.blocks[1])[0]], ["pantherctl cluster invite", "sudo -u panther pantherd join -"])

    def test_commands_within_the_text_may_go_over_a_line_end(self) -> None:
        self.assertEqual(inline(PAGE), ["pantherctl alerts list", "pantherctl cluster status"])

    def test_a_number_sign_within_a_word_is_no_comment(self) -> None:
        found, _ = commands(Block("p", 1, ["curl http://127.0.0.1/#part"]))
        self.assertEqual(found[0].text, "curl http://127.0.0.1/#part")

    def test_what_a_command_begins_with(self) -> None:
        self.assertTrue(is_command("  make test"))
        self.assertFalse(is_command("NODE  NAME"))


class List(unittest.TestCase):
    """Entries are used in their order, and the list is validated."""

    def test_entries_of_one_line_are_taken_in_order_and_the_last_goes_on(self) -> None:
        page = Page("p", commands=[Entry("a", exit=1), Entry("b"), Entry("a", exit=2)])
        self.assertEqual([page.entry("a").exit for _ in range(3)], [1, 2, 2])
        self.assertEqual(page.entry("c"), Entry("c", used=1))

    def test_a_reason_for_all_pages(self) -> None:
        listing = Listing({}, {"make ": "long"}, {})
        self.assertEqual(listing.entry(Page("p"), "make demo").left_out, "long")
        self.assertEqual(listing.entry(Page("p"), "pantherctl status").left_out, "")

    def test_an_unknown_key_is_an_error(self) -> None:
        with self.assertRaises(ListingError):
            made(Entry, {"line": "a", "exitt": 1}, "p")

    def test_the_list_can_be_read(self) -> None:
        self.assertIn("docs/ingest.md", load(HERE / "commands.toml").pages)


if __name__ == "__main__":
    unittest.main()
