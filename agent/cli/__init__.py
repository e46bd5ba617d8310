"""Commands, and nothing else."""


def main() -> int:
    """Run the command that the process's arguments name; the exit code."""
    try:
        # Imported here, so that Ctrl-C ends quietly while they load, too.
        from agent.cli.app import call  # noqa: PLC0415
    except KeyboardInterrupt:
        return 130
    return call()
