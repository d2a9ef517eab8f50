"""`dagnats policy`, and the settings of the control plane."""


def test_a_policy_is_shown_granted_and_revoked(cli, file):
    """A table for people, and JSON; a name that nobody registered is worth a warning."""
    step = {"id": "a", "task": "add", "required_capabilities": ["control-plane"]}
    assert cli("workflow", "register", file({"name": "maker", "steps": [step]})).code == 0
    granted = cli("policy", "grant", "maker", "--promote")
    assert (granted.code, granted.err) == (0, "")
    assert granted.out.split()[-2:] == ["maker", "yes"]
    unknown = cli("policy", "grant", "nobody")
    assert unknown.line == 'warning: no workflow "nobody" is registered yet'
    assert cli("policy", "show", "--json").json == {"grant": ["maker", "nobody"], "promote": ["maker"]}  # fmt: skip
    assert cli("policy", "revoke", "maker", "--promote", "--json").json["promote"] == []
    assert cli("policy", "revoke", "nobody").out.split()[-2:] == ["maker", "no"]
    last = cli("policy", "revoke", "maker")
    assert (last.code, last.out) == (0, "")
    assert last.line == "no workflow may use the control plane"


def test_a_wrong_name_is_refused(cli):
    """In one line."""
    said = cli("policy", "grant", "\n")
    assert said.code == 2
    assert "control characters" in said.line


def test_wrong_settings_are_refused_before_anything_starts(offline):
    """Who may promote must be granted; a grace is a duration."""
    promoting = offline("scheduler", "--no-wait", DAGNATS_CONTROL_PLANE_PROMOTE="a")
    assert promoting.code == 1
    assert '"a" may promote, but is not granted' in promoting.line
    grace = offline("serve", "--nats-port", "0", DAGNATS_CONTROL_PLANE_GRACE="1ms")
    assert grace.code == 1
    assert "control_plane_grace is 1ms; it must be at least 1000 ms" in grace.line


def test_settings_are_shown(offline):
    """With where they are from."""
    shown = offline("config", "show", "--json", DAGNATS_CONTROL_PLANE_GRANT="a,b").json
    assert shown["control_plane_grant"] == {"value": "a,b", "source": "environment"}
    assert shown["control_plane_grace"]["source"] == "default"
