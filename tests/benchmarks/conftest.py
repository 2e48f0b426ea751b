import pytest


@pytest.fixture
def report(capsys):
    """Print a line of the report past pytest's capture."""

    def say(text: str) -> None:
        with capsys.disabled():
            print(f"\n  {text}", end="")

    return say
