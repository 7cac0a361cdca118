// A server that stores the fixes of connected technicians with Redis alone: Node's `ws`, JSON, and a GEOADD for each
// service of the technician. The commands of one turn of the event loop are sent in one write. Arguments: the port of
// Redis, the number of services. Prints {"port":…}.
'use strict';
const net = require('node:net');
const { WebSocketServer } = require('ws');

const redis = net.connect(Number(process.argv[2]), '127.0.0.1');
const services = Array.from({ length: Number(process.argv[3]) }, (_, number) => `supply:service${number}`);
let commands = [];
let sent = 0;
let answered = 0;
const waiting = []; // the replies that are due, each with the number of commands that it waits for

redis.setNoDelay(true);
redis.on('data', (data) => {
  for (const byte of data) if (byte === 10) answered += 1; // the reply to GEOADD is one line
  while (waiting.length > 0 && waiting[0].after <= answered) {
    const { client, id } = waiting.shift();
    client.send(`{"id":${id},"ok":{}}`);
  }
});

function bulk(text) { return `$${Buffer.byteLength(text)}\r\n${text}\r\n`; }

function flush() {
  redis.write(commands.join(''));
  commands = [];
}

function store(user, fix) {
  if (commands.length === 0) setImmediate(flush);
  for (const service of services) {
    commands.push(`*5\r\n${bulk('GEOADD')}${bulk(service)}${bulk(`${fix.lon}`)}${bulk(`${fix.lat}`)}${bulk(user)}`);
    sent += 1;
  }
}

const wss = new WebSocketServer({ host: '127.0.0.1', port: 0, backlog: 4096, perMessageDeflate: false });
wss.on('connection', (client) => {
  let user = '';
  client.on('message', (data) => {
    const message = JSON.parse(data);
    if (message.op === 'connect') {
      user = message.token;
      client.send(`{"id":${message.id},"ok":{}}`);
      return;
    }
    store(user, message);
    if (message.id !== undefined) waiting.push({ client, id: message.id, after: sent });
  });
});
wss.on('listening', () => process.stdout.write(`${JSON.stringify({ port: wss.address().port })}\n`));
