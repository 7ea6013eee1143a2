"""The seams between the rooms: the interfaces they meet at and the values that cross them.

A value here is frozen and says its units in its names. Rows always travel as the bytes they are:
newline-terminated JSON objects on the way down (`Rows`), newline-terminated JSON arrays on the way
up (`RowLines`). Nothing in here does anything, but for what `permitted` decides.

``sources`` streams and how their rows are inserted · ``intake`` the door of the ingest room ·
``operator`` what waits for a person · ``warehouse`` where rows live · ``queries`` the door of the
query room, and the logs it reads · ``access`` who may do what · ``permitted`` names and permits ·
``errors`` those that cross a seam
"""

from gateway.seams.access import (
    WAREHOUSE_SCHEMAS,
    Access,
    Credentials,
    Permit,
    Principal,
    Right,
    Use,
)
from gateway.seams.errors import (
    EntryGone,
    QueryBroken,
    QueryRefused,
    SpoolFull,
    SubmissionRefused,
    WarehouseUnreachable,
)
from gateway.seams.intake import ChannelClaim, ChannelOffsets, Intake, IntakeStream, ReceiptSink
from gateway.seams.operator import Batches, BatchView, DeadLetters, DeadLetterView
from gateway.seams.permitted import (
    EVERY_NAME,
    SEEING,
    UNASKED,
    find_permitted,
    readable_names,
    refuse_unclear,
    require_any,
    require_readable,
    resolve_permitted,
    sees,
)
from gateway.seams.queries import (
    TASKS_STREAM,
    LogEntry,
    OwnStream,
    Pieces,
    PushLevel,
    PushLog,
    Queries,
    QueryEnd,
    QueryKind,
    RunningQuery,
)
from gateway.seams.sources import (
    ARRIVAL_FIELD,
    BATCH_COLUMN,
    TIME_COLUMN,
    AckLevel,
    InsertSpec,
    Source,
    SourceKind,
    Sources,
    TimeEncoding,
)
from gateway.seams.warehouse import (
    BatchBytes,
    QueryEngine,
    Result,
    ResultColumn,
    RowLines,
    Submission,
    Submitted,
    TaskFailure,
    TaskProgress,
    TaskState,
    TellsProgress,
    Warehouse,
    WarehouseQuery,
)

__all__ = [
    "ARRIVAL_FIELD",
    "BATCH_COLUMN",
    "EVERY_NAME",
    "SEEING",
    "TASKS_STREAM",
    "TIME_COLUMN",
    "UNASKED",
    "WAREHOUSE_SCHEMAS",
    "Access",
    "AckLevel",
    "BatchBytes",
    "BatchView",
    "Batches",
    "ChannelClaim",
    "ChannelOffsets",
    "Credentials",
    "DeadLetterView",
    "DeadLetters",
    "EntryGone",
    "InsertSpec",
    "Intake",
    "IntakeStream",
    "LogEntry",
    "OwnStream",
    "Permit",
    "Pieces",
    "Principal",
    "PushLevel",
    "PushLog",
    "Queries",
    "QueryBroken",
    "QueryEnd",
    "QueryEngine",
    "QueryKind",
    "QueryRefused",
    "ReceiptSink",
    "Result",
    "ResultColumn",
    "Right",
    "RowLines",
    "RunningQuery",
    "Source",
    "SourceKind",
    "Sources",
    "SpoolFull",
    "Submission",
    "SubmissionRefused",
    "Submitted",
    "TaskFailure",
    "TaskProgress",
    "TaskState",
    "TellsProgress",
    "TimeEncoding",
    "Use",
    "Warehouse",
    "WarehouseQuery",
    "WarehouseUnreachable",
    "find_permitted",
    "readable_names",
    "refuse_unclear",
    "require_any",
    "require_readable",
    "resolve_permitted",
    "sees",
]
