from collections.abc import Callable, Mapping

VERSION: int

class Cutter:
    def __init__(
        self,
        layout: Mapping[bytes, Mapping[bytes, int]],
        completes: bytes,
        destroys: bytes,
        ended: dict[bytes, bytes],
        max_ended: int,
        max_body: int,
        max_number: int,
        other: Callable[[bytes], bytes | None],
    ) -> None: ...
    def counted(self) -> tuple[int, int]: ...
    def cut(self, chunk: bytes, at: int, bodies: list[bytes], /) -> int: ...
    def take(self, body: bytes, bodies: list[bytes], /) -> None: ...
