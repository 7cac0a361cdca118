// Chat rooms without storage, through Redis pub/sub: `relay` is the least one would write (Node's `ws`, and a channel of
// Redis for each room), `socketio` is socket.io with its Redis adapter, WebSocket only, without compression.
// Arguments: relay or socketio, the port of Redis. Prints {"port":…}.
'use strict';
const http = require('node:http');
const net = require('node:net');
const { createClient } = require('@redis/client');
const { createAdapter } = require('@socket.io/redis-adapter');
const { Server } = require('socket.io');
const { WebSocketServer } = require('ws');

const HOUR_MS = 3600000; // while another server is measured, nobody reads these sockets or answers their pings
const numbers = new Map(); // how many messages were said in each room at this server

// Callout's event, as far as a server without storage can build it.
function event(user, said) {
  const n = (numbers.get(said.room) || 0) + 1;
  const at = new Date().toISOString();
  numbers.set(said.room, n);
  return {
    type: 'message.created', event: 'message.created', zone: 'main', seq: n, at,
    data: { message: {
      id: `msg_${n}`, room: said.room, n, sender: { id: user, name: user, role: 'customer' }, text: said.text, files: [],
      client_id: said.client_id, at,
    } },
  };
}

function print(port) { process.stdout.write(`${JSON.stringify({ port })}\n`); }

function bulk(text) { return `$${Buffer.byteLength(text)}\r\n${text}\r\n`; }

// Return a parser of Redis' replies. It calls `handle` with the texts of each list, and with null for each number.
function parser(handle) {
  let rest = Buffer.alloc(0);
  return (data) => {
    rest = rest.length > 0 ? Buffer.concat([rest, data]) : data;
    let done = 0;
    for (let at = 0; ;) {
      let end = rest.indexOf(10, at);
      if (end < 0) break;
      if (rest[at] !== 42) { // not a list
        handle(null);
        at = done = end + 1;
        continue;
      }
      const items = [];
      const size = Number(rest.toString('latin1', at + 1, end - 1));
      at = end + 1;
      for (; items.length < size; ) {
        end = rest.indexOf(10, at);
        if (end < 0) break;
        if (rest[at] === 58) { // a number
          items.push(rest.toString('latin1', at + 1, end - 1));
          at = end + 1;
          continue;
        }
        const length = Number(rest.toString('latin1', at + 1, end - 1));
        if (rest.length < end + length + 3) break;
        items.push(rest.toString('utf8', end + 1, end + 1 + length));
        at = end + length + 3;
      }
      if (items.length < size) break;
      handle(items);
      done = at;
    }
    rest = rest.subarray(done);
  };
}

// Publish every message, reply to its sender when Redis has it, and deliver it to the sockets of its room when Redis
// sends it back. The commands of one turn of the event loop are sent in one write.
function serveRelay(port) {
  const publisher = net.connect(port, '127.0.0.1');
  const subscriber = net.connect(port, '127.0.0.1');
  const rooms = new Map();
  const waiting = [];
  const joining = new Map();
  let commands = [];
  publisher.setNoDelay(true);
  publisher.on('data', parser(() => {
    const { client, id } = waiting.shift();
    client.send(`{"id":${id},"ok":{}}`);
  }));
  subscriber.on('data', parser(([kind, room, text]) => {
    if (kind === 'message') for (const client of rooms.get(room)) client.send(text);
    else joining.get(room).splice(0).forEach((joined) => joined());
  }));

  function flush() {
    publisher.write(commands.join(''));
    commands = [];
  }

  function say(client, user, message) {
    if (commands.length === 0) setImmediate(flush);
    commands.push(`*3\r\n${bulk('PUBLISH')}${bulk(message.room)}${bulk(JSON.stringify(event(user, message)))}`);
    waiting.push({ client, id: message.id });
  }

  function join(client, { id, room }) {
    if (!rooms.has(room)) {
      rooms.set(room, new Set());
      joining.set(room, []);
    }
    rooms.get(room).add(client);
    joining.get(room).push(() => client.send(`{"id":${id},"ok":{}}`));
    subscriber.write(`*2\r\n${bulk('SUBSCRIBE')}${bulk(room)}`);
  }

  const wss = new WebSocketServer({ host: '127.0.0.1', port: 0, backlog: 4096, perMessageDeflate: false });
  wss.on('connection', (client) => {
    let user = '';
    client.on('message', (data) => {
      const message = JSON.parse(data);
      if (message.op === 'say') return say(client, user, message);
      user = message.token;
      return join(client, message);
    });
  });
  wss.on('listening', () => print(wss.address().port));
}

async function serveSocketio(port) {
  const publisher = createClient({ url: `redis://127.0.0.1:${port}` });
  const subscriber = publisher.duplicate();
  await Promise.all([publisher.connect(), subscriber.connect()]);
  const web = http.createServer();
  const io = new Server(web, {
    transports: ['websocket'], serveClient: false, perMessageDeflate: false, pingInterval: HOUR_MS, pingTimeout: HOUR_MS,
    adapter: createAdapter(publisher, subscriber),
  });
  io.on('connection', (socket) => {
    let user = '';
    socket.on('join', (name, room, done) => {
      user = name;
      socket.join(room);
      done();
    });
    socket.on('say', (said, done) => {
      io.to(said.room).emit('message.created', event(user, said));
      done();
    });
  });
  web.listen({ host: '127.0.0.1', port: 0, backlog: 4096 }, () => print(web.address().port));
}

const serve = { relay: serveRelay, socketio: serveSocketio }[process.argv[2]];
serve(Number(process.argv[3]));
