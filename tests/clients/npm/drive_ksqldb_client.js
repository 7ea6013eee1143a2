// Drives npm's ksqldb-client: node's http2, one session for everything.
"use strict";

const KsqldbClient = require("ksqldb-client");
const { serve } = require("./serving");

const { hostname, port } = new URL(process.argv[2]);
const client = new KsqldbClient({ host: hostname, port: Number(port) });

// Push queries by handle: what came and is not taken yet, who waits for more, how it ended.
const queries = {};

const forward = (name) => (...args) => client[name](...args);

serve({
  connect: () => client.connect(),
  disconnect: () => client.disconnect(),
  ...Object.fromEntries(
    ["executeStatement", "query", "insertInto", "terminatePushQuery", "listStreams", "listTables",
      "listTopics", "listQueries", "describeSource"].map((name) => [name, forward(name)])
  ),
  openQuery: (handle, sql, extra) => {
    const query = { came: [], wake: null };
    const tell = (what) => {
      query.came.push(what);
      if (query.wake) query.wake();
    };
    queries[handle] = query;
    client
      .streamQuery(sql, (data) => tell(data), extra)
      .then((result) => tell({ ended: result }), (error) => tell({ failed: error.message }));
  },
  nextOf: async (handle) => {
    const query = queries[handle];
    while (!query.came.length) {
      await new Promise((wake) => {
        query.wake = wake;
      });
    }
    return query.came.shift();
  },
});
