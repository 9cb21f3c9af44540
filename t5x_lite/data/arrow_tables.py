"""Tables of typed columns: Parquet, and Arrow's own files (`datasets`' shards, Feather)."""

from __future__ import annotations

import pathlib
from collections.abc import Collection, Iterable
from typing import Any

from t5x_lite.data.text_files import WHERE, Records, open_bytes, refuse_twice
from t5x_lite.errors import InputError
from t5x_lite.foreign.pointers import refuse_pointer_file

_ROWS = 1024  # read at a time


def read_parquet(path: str, wanted: Collection[str], split: str) -> Records:
    """The records of a Parquet file. Args: as `read_table`."""
    import pyarrow
    import pyarrow.parquet

    with open_bytes(path, WHERE) as file:
        try:
            table = pyarrow.parquet.ParquetFile(file)
        except pyarrow.ArrowInvalid as error:
            refuse_pointer_file(pathlib.Path(path))
            raise InputError(
                f"{WHERE}: {path} is not a Parquet file ({str(error).splitlines()[0]})"
            ) from error
        refuse_twice(table.schema_arrow.names, wanted, path)
        yield from records_of(f"{path}:", table.iter_batches(batch_size=_ROWS))


def read_arrow(path: str, wanted: Collection[str], split: str) -> Records:
    """The records of an Arrow file, streamed or not. Args: as `read_table`."""
    import pyarrow

    with open_bytes(path, WHERE) as file:
        data = file.read()
    try:
        if data.startswith(b"ARROW1"):
            whole = pyarrow.ipc.open_file(data)
            schema, batches = whole.schema, map(whole.get_batch, range(whole.num_record_batches))
        else:
            stream = pyarrow.ipc.open_stream(data)
            schema, batches = stream.schema, iter(stream)
    except pyarrow.ArrowInvalid as error:
        raise InputError(
            f"{WHERE}: {path} is not an Arrow file ({str(error).splitlines()[0]})"
        ) from error
    refuse_twice(schema.names, wanted, path)
    yield from records_of(f"{path}:", batches)


def data_set_records(data: Any, name: str) -> Records:
    """The records of a data set that `datasets` opened, as they are stored: nothing is decoded (a picture or a sound in
    another column, which may want a library), and no format applies that it was saved with.
    """
    if not hasattr(data, "with_format"):
        for number, record in enumerate(data):
            yield f"{name} row {number}", record
        return
    yield from records_of(name, data.with_format("arrow").iter(batch_size=_ROWS))


def records_of(name: str, batches: Iterable[Any]) -> Records:
    """The records of Arrow's batches or tables; the place reads "NAME row 7".

    Raises:
      InputError: a value that Python does not have.
    """
    import pyarrow

    number, coming = 0, iter(batches)
    while True:
        try:
            batch = next(coming, None)
            records = [] if batch is None else batch.to_pylist()
        except (pyarrow.ArrowException, ValueError, OverflowError, OSError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise InputError(
                f"{name} of its rows from {number} on one cannot be read ({reason}); write the file again, without"
                " that value"
            ) from error
        if batch is None:
            return
        for record in records:
            yield f"{name} row {number}", record
            number += 1
