// The same broadcast with Node's `ws`: one send() to each client in a loop, without compression.
// Prints {"port":…, "control":…}; each byte on the control connection sends one event to all clients.
'use strict';
const net = require('node:net');
const { WebSocketServer } = require('ws');

let payload = '';
process.stdin.setEncoding('utf8');
process.stdin.on('data', (chunk) => { payload += chunk; });
process.stdin.on('end', () => {
  const wss = new WebSocketServer({ host: '127.0.0.1', port: 0, backlog: 4096, perMessageDeflate: false });
  const broadcast = () => { for (const client of wss.clients) client.send(payload); };
  const control = net.createServer((socket) => {
    socket.on('data', (asked) => { for (let event = 0; event < asked.length; event += 1) broadcast(); });
  });
  wss.on('listening', () => control.listen(0, '127.0.0.1', () => {
    process.stdout.write(`${JSON.stringify({ port: wss.address().port, control: control.address().port })}\n`);
  }));
});
