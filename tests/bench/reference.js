// The reference of the transport suite: Node's own http2 server behind the same exchange.
//
// First line: arguments. Every other line is parsed and acked by a line of its own; the acks of one
// chunk leave in one write. Windows are as wide as the gateway's. Prints where it listens.
'use strict';
const http2 = require('node:http2');

const server = http2.createServer({ settings: { initialWindowSize: 1 << 20 } });
server.on('session', (session) => session.setLocalWindowSize(16 << 20));
server.on('stream', (stream) => {
  let rest = '';
  let seq = -1;
  stream.respond({ ':status': 200 });
  stream.setEncoding('utf8');
  stream.on('data', (chunk) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop();
    let acks = '';
    for (const line of lines) {
      JSON.parse(line);
      if (seq >= 0) acks += `{"status":"ok","seq":${seq}}\n`;
      seq += 1;
    }
    if (acks) stream.write(acks);
  });
  stream.on('end', () => stream.end());
  stream.on('error', () => stream.destroy());
});
server.listen(0, '127.0.0.1', () => {
  console.error(`reference ready at http://127.0.0.1:${server.address().port}`);
});
process.on('SIGTERM', () => process.exit(0));
