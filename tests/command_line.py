"""The command line, called within the process of the tests."""

from click.testing import CliRunner

from gdncodec.cli import main


def run(*arguments, code=0):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    if code:
        assert not result.stdout
        assert result.stderr.count("\n") == 1
        assert "Traceback" not in result.output
    return result


def names(folder):
    return sorted(p.name for p in folder.iterdir())
