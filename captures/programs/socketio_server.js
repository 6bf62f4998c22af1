// A Socket.IO server: node socketio_server.js ADDRESS PORT. Engine.IO pings every second.
const http = require('http').createServer();
const {Server} = require('socket.io');
const server = new Server(http, {pingInterval: 1000, pingTimeout: 2000});
server.on('connection', (socket) => socket.on('say', (text, answer) => answer(text)));
http.listen(Number(process.argv[3]), process.argv[2]);
