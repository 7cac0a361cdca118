// The same broadcast with socket.io: one emit() to all clients, WebSocket only, without compression: its fastest form.
// Prints {"port":…, "control":…}; each byte on the control connection sends one event to all clients.
'use strict';
const http = require('node:http');
const net = require('node:net');
const { Server } = require('socket.io');

const HOUR_MS = 3600000; // while another server is measured, nobody reads these sockets or answers their pings

let payload = '';
process.stdin.setEncoding('utf8');
process.stdin.on('data', (chunk) => { payload += chunk; });
process.stdin.on('end', () => {
  const event = JSON.parse(payload);
  const web = http.createServer();
  const io = new Server(web, {
    transports: ['websocket'], serveClient: false, perMessageDeflate: false, pingInterval: HOUR_MS, pingTimeout: HOUR_MS,
  });
  const control = net.createServer((socket) => {
    socket.on('data', (asked) => { for (let n = 0; n < asked.length; n += 1) io.emit('announcement.bench', event); });
  });
  web.listen({ host: '127.0.0.1', port: 0, backlog: 4096 }, () => control.listen(0, '127.0.0.1', () => {
    process.stdout.write(`${JSON.stringify({ port: web.address().port, control: control.address().port })}\n`);
  }));
});
