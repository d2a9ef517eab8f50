"""What `dagnats` exports is sorted, there, and documented."""

import dagnats
from tests.documents import pages


def test_public_names_are_sorted():
    """The list of public names is sorted and names nothing twice."""
    names = list(dagnats.__all__)

    assert names == sorted(set(names))


def test_public_names_exist():
    """Every public name can be imported and says what it is."""
    missing = [name for name in dagnats.__all__ if not hasattr(dagnats, name)]

    assert not missing, f"__all__ promises what dagnats does not have: {missing}"


def test_public_names_are_documented():
    """Every public name has a mention in docs/reference."""
    names = [name for name in dagnats.__all__ if not name.startswith("__")]
    missing = pages.unmentioned(names)

    assert not missing, f"Describe these names in docs/reference: {missing}"
