"""DuckDB's own `INSERT … SELECT` from a JSON file into a file database, in a process of its own.

    python -m tests.bench.duck --file rows.ndjson --database new.duckdb

The columns are those that the gateway's embedded warehouse stores. Prints one JSON line.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import duckdb

CREATE = """CREATE TABLE bench (
    __time TIMESTAMP NOT NULL, "ID" BIGINT, "USERNAME" VARCHAR, "KIND" VARCHAR,
    "AMOUNT" DOUBLE, "NOTE" VARCHAR)"""

INSERT = """INSERT INTO bench
SELECT make_timestamp("TS" * 1000), "ID", "USERNAME", "KIND", "AMOUNT", "NOTE"
FROM read_json($file, format = 'newline_delimited', columns = {
    'TS': 'BIGINT', 'ID': 'BIGINT', 'USERNAME': 'VARCHAR', 'KIND': 'VARCHAR',
    'AMOUNT': 'DOUBLE', 'NOTE': 'VARCHAR'})"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.bench.duck")
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--database", type=Path, required=True)
    options = parser.parse_args()
    connection = duckdb.connect(str(options.database))
    connection.execute(CREATE)
    started_s, cpu_s = time.perf_counter(), time.process_time()
    connection.execute(INSERT, {"file": str(options.file)})
    seconds, cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_s
    counted = connection.execute("SELECT COUNT(*) FROM bench").fetchall()[0][0]
    connection.close()
    sys.stdout.write(json.dumps({"rows": counted, "seconds": seconds, "cpu_s": cpu_s}) + "\n")


if __name__ == "__main__":
    main()
