"""Names of what we create at providers: who owns it is in the name, so that lost answers and orphans can be found."""


def resource(install: str, stream_id: str, number: int) -> str:
    """`kt-<installation>-<run>-g<generation>`. The end of the id is used: its beginning is only the time."""
    return f"kt-{install}-{stream_id[-8:].lower()}-g{number}"


def parts(install: str, name: str) -> tuple[str, int] | None:
    """The end of the run's id (small letters) and the generation that a name of ours speaks of; None for any other name."""
    rest = name.removeprefix(prefix(install))
    stream, dash, number = rest.partition("-g")
    return (stream, int(number)) if rest != name and dash and number.isdigit() else None


def prefix(install: str) -> str:
    """What every resource of this installation begins with."""
    return f"kt-{install}-"


def double(name: str, resource_id: str) -> str:
    """The row's name of a further machine that bears `name` at its provider."""
    return f"{name}+{resource_id}"[:100]
