// A proxy that knows only CONNECT: node proxy.js ADDRESS PORT BACKEND_PORT. Whatever is asked for, it is at 127.0.0.1.
const http = require('http');
const net = require('net');
const proxy = http.createServer((request, response) => { response.statusCode = 405; response.end(); });
proxy.on('connect', (request, client) => {
  const server = net.connect(Number(process.argv[4]), '127.0.0.1', () => {
    client.write('HTTP/1.1 200 Connection established\r\n\r\n');
    client.pipe(server).pipe(client);
  });
  server.on('error', () => client.destroy());
  client.on('error', () => server.destroy());
});
proxy.listen(Number(process.argv[3]), process.argv[2]);
