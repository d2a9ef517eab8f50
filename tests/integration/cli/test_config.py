"""``dagnats config`` and ``dagnats completion``, as processes."""

import json
import subprocess
import sys

from tests.integration.cli.conftest import environment


def test_each_value_with_its_source(offline, tmp_path):
    """Defaults, the two files, the environment and an option, the stronger over the weaker."""
    (tmp_path / "dagnats.toml").write_text('lease = "20s"\nreplicas = 3\n')
    (tmp_path / "pyproject.toml").write_text("[tool.dagnats]\nreplicas = 5\nprocesses = 2\n")
    found = offline(
        "config", "show", "--json", "--url", "nats://here:1", DAGNATS_PROCESSES="7"
    ).json

    assert found["lease"] == {"value": "20s", "source": "dagnats.toml"}
    assert found["replicas"] == {"value": 5, "source": "pyproject.toml"}
    assert found["processes"] == {"value": 7, "source": "environment"}
    assert found["url"] == {"value": "nats://here:1", "source": "argument"}
    assert found["partitions"]["source"] == "default"
    assert "dagnats.toml" in offline("config", "show").out


def test_passwords_are_not_shown(offline):
    """A URL's password or token is replaced."""
    said = offline("config", "show", DAGNATS_URL="nats://me:secret@here:4222")
    token = offline("config", "show", "--json", DAGNATS_URL="nats://secret@here:4222")

    assert "secret" not in said.out + token.out
    assert "nats://me:***@here:4222" in said.out
    assert "cr@t" not in offline("config", "show", DAGNATS_URL="me:se@cr@t@here").out


def test_a_mistyped_setting_is_told(offline, tmp_path):
    """One line with the file and the likely name, exit code 1."""
    (tmp_path / "dagnats.toml").write_text("concurency = 3\n")
    said = offline("config", "show")

    assert said.code == 1
    assert "did you mean concurrency?" in said.line
    assert "dagnats.toml" in said.line


def test_a_setting_out_of_bounds_is_told(offline, tmp_path):
    """Wherever it is from: what an option refuses is refused in the environment and in files, too."""
    few = offline("config", "show", DAGNATS_CONCURRENCY="0")
    odd = offline("config", "show", DAGNATS_CONCURRENCY="²")
    (tmp_path / "pyproject.toml").write_text("[tool]\ndagnats = 5\n")
    table = offline("config", "show")

    assert (few.code, odd.code, table.code) == (1, 1, 1)
    assert "it must be 1 to 10000" in few.line
    assert "a whole number" in odd.line
    assert "[tool.dagnats] is 5" in table.line


def test_completion_scripts(offline):
    """A script for each shell; another shell is refused."""
    for shell in ("bash", "zsh", "fish"):
        said = offline("completion", shell)

        assert said.code == 0
        assert "_DAGNATS_COMPLETE" in said.out
    assert offline("completion", "csh").code == 2


def test_an_address_of_another_kind_is_refused(offline):
    """Asking it would look as if no server answered; the variable is named."""
    said = offline("run", "list", "--url", "http://localhost:4222")

    assert said.code == 1
    assert said.line.endswith("begins with http://; addresses of NATS begin with nats://")


def complete(url, words):
    """What bash would be offered after these words."""
    said = subprocess.run(
        [sys.executable, "-m", "dagnats"],
        check=True, capture_output=True, text=True, timeout=60,
        env={
            **environment(url), "_DAGNATS_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1),
        },
    )  # fmt: skip
    return [line.partition(",")[2] for line in said.stdout.splitlines() if line]


def test_names_are_completed(site, cli):
    """Workflows and runs of the server; quietly nothing without one."""
    run_id = json.loads(cli("run", "start", "sums", '{"a": 1, "b": 2}', "--json").out)["run_id"]

    assert complete(site.url, ["dagnats", "run", "start", "su"]) == ["sums"]
    assert complete(site.url, ["dagnats", "run", "status", run_id[:6]]) == [run_id]
    assert complete("nats://127.0.0.1:1", ["dagnats", "run", "start", "su"]) == []
    assert "--watch" in complete("nats://127.0.0.1:1", ["dagnats", "run", "start", "--w"])
