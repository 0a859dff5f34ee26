"""What a caller of the case room can have done wrong."""


class CaseError(Exception):
    """The call can't be carried out: a missing path, an output folder that is no case, a damaged manifest."""
