// Drives Cube's driver for ksqlDB: axios on HTTP/1.1, /ksql only.
"use strict";

const { KsqlDriver } = require("@cubejs-backend/ksql-driver");
const { serve } = require("./serving");

const driver = new KsqlDriver({ url: process.argv[2], username: "user", password: "secret" });

serve(
  Object.fromEntries(
    ["testConnection", "fetchTables", "tablesSchema", "tableColumnTypes", "downloadTable", "query",
      "loadPreAggregationIntoTable", "dropTable", "describeTable"].map((name) => [
      name,
      (...args) => driver[name](...args),
    ])
  )
);
