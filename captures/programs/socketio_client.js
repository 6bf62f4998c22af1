// A Socket.IO client that stays for some seconds: node socketio_client.js URL SECONDS. Prints how many pings it answered.
const {io} = require('socket.io-client');
const socket = io(process.argv[2], {transports: ['websocket'], reconnection: false});
let pings = 0;
socket.io.on('ping', () => { pings += 1; });
socket.on('connect', () => {
  socket.emit('say', 'hello', () => {});
  setTimeout(() => { console.log(pings); socket.disconnect(); }, 1000 * Number(process.argv[3]));
});
