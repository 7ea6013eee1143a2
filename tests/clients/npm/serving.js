// The loop of a driver: one JSON line in is a call, one JSON line out its outcome.
"use strict";

const readline = require("node:readline");

exports.serve = (functions) => {
  const answer = (outcome) => process.stdout.write(JSON.stringify(outcome) + "\n");
  // What a client prints must not spoil the answers.
  console.log = console.error;
  answer("driver ready");
  const lines = readline.createInterface({ input: process.stdin });
  lines.on("line", async (line) => {
    const [name, args] = JSON.parse(line);
    try {
      answer({ value: (await functions[name](...args)) ?? null });
    } catch (raised) {
      answer({ raised: [raised.name, raised.message] });
    }
  });
  lines.on("close", () => process.exit(0));
};
