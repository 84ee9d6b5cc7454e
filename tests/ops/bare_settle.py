"""See `bare_service`: without a registry there is nothing to settle."""


def main(arguments: list[str]) -> None:
    pass
