// A WebSocket client: node ws_client.js URL. Says hello and stays; pings are answered by the library.
const WebSocket = require('ws');
const socket = new WebSocket(process.argv[2], {perMessageDeflate: false});
socket.on('open', () => { socket.send('hello'); console.log('open'); });
socket.on('error', () => {});
socket.on('close', (code) => { console.log(`close ${code}`); process.exit(); });
