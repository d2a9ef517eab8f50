"""`dagnats run stream`: text as it comes, what is void, offsets, JSON."""

from __future__ import annotations

import json

GIVEN = json.dumps(["a ", "b\n", "\x1b[31mc", " d"])
SHOWN = 'a b\n�[31mc d\n{"words":4}\n'


def streamed(cli, name="stutter", given=GIVEN) -> str:
    """A run of a task that emits; its id."""
    said = cli("run", "start", name, given, "--json")
    return said.json["run_id"]


def test_text_is_printed_as_it_was_emitted(cli):
    """Nothing between the chunks, nothing that steers the terminal; objects on lines of their own."""
    said = cli("run", "stream", streamed(cli))

    assert said.code == 0
    assert said.out == f"a b\n{SHOWN}"
    assert said.line == "── stutter begins again (attempt 2): forget its text above"


def test_one_step_or_the_last_run(cli):
    """STEP narrows; with --last the one argument is STEP."""
    run = streamed(cli)
    of_step = cli("run", "stream", run, "stutter")
    of_last = cli("run", "stream", "--last", "stutter")
    of_other = cli("run", "stream", run, "other")

    assert of_step.out == of_last.out == f"a b\n{SHOWN}"
    assert (of_other.code, of_other.out, of_other.err) == (0, "", "")


def test_json_has_offsets_to_go_on_from(cli):
    """An object on each line; --from begins at one of them."""
    run = streamed(cli)
    said = cli("run", "stream", run, "--json")
    items = [json.loads(line) for line in said.out.splitlines()]
    rest = cli("run", "stream", run, "--json", "--from", str(items[3]["offset"]))
    void = items[2]

    assert [item.get("data") for item in items] == [
        "a ", "b\n", None, "a ", "b\n", "\x1b[31mc", " d", {"words": 4},
    ]  # fmt: skip
    assert (void["type"], void["step"], void["attempt"]) == ("superseded", "stutter", 2)
    assert [item["type"] for item in items if item is not void] == ["chunk"] * 7
    assert [json.loads(line) for line in rest.out.splitlines()] == items[3:]


def test_the_end_of_a_run_that_failed_is_told(cli):
    """Exit code 1 and the reason, whatever it streamed; nothing streamed is nothing printed."""
    run = streamed(cli, "refuse", '"no paper"')
    said, told = cli("run", "stream", run), cli("run", "stream", run, "--json")

    assert (said.code, said.out, told.code, told.out) == (1, "", 1, "")
    assert "no paper" in said.err


def test_an_offset_is_a_number(offline):
    """And not below zero."""
    for offset in ("-1", "x"):
        said = offline("run", "stream", "12345678", "--from", offset)

        assert said.code == 2
        assert "--from" in said.err
