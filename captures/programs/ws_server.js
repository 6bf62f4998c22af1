// A WebSocket server: node ws_server.js ADDRESS PORT PING_MS TERMINATE_MS. 0 means never.
const WebSocket = require('ws');
const [address, port, pingMs, terminateMs] = process.argv.slice(2);
const server = new WebSocket.Server({host: address, port: Number(port), perMessageDeflate: false});
server.on('connection', (socket) => {
  socket.on('message', (data, isBinary) => socket.send(data, {binary: isBinary}));
  const timer = Number(pingMs) ? setInterval(() => socket.ping('beat'), Number(pingMs)) : null;
  if (Number(terminateMs)) setTimeout(() => socket.terminate(), Number(terminateMs));
  socket.on('close', () => clearInterval(timer));
});
