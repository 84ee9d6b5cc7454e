"""See `bare_service`."""

import bare_service


def main(arguments: list[str]) -> None:
    bare_service.serve(arguments[0])
