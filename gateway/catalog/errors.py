"""What the catalogue raises beyond `protocol.errors`."""


class CatalogUnreadable(Exception):
    """The catalogue's file is damaged, or of a later version. The text names the file."""
