"""Files of a model folder: only what lies in it is read, whatever its links say."""

from pathlib import Path

from accord.errors import AccordError


def inside(path: Path) -> Path:
    """The path of a folder's file, as it was given.

    A link may lead to another place in the folder, or into the `blobs` of the hub's cache, whose
    folders are links.

    Raises:
        AccordError: It is a link that leads elsewhere.
    """
    if not path.is_symlink():
        return path
    folder, target = path.parent.resolve(), path.resolve()
    # models--owner--name/snapshots/<revision>/file -> ../../blobs/<hash>
    blobs = folder.parent.parent / "blobs" if folder.parent.name == "snapshots" else folder
    if target.is_relative_to(folder) or target.is_relative_to(blobs):
        return path
    raise AccordError(
        f"'{path.name}' is a link that leads out of its folder.",
        str(path),
        "Copy the file in its place, if you trust what it points to.",
    )
