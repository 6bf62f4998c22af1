// An HTTP/1.1 server: node http.js ADDRESS PORT. Default settings; what it answers depends on the path.
const http = require('http');
const routes = {
  '/slow': (request, response) => setTimeout(() => response.end('slow'), 1500),
  '/chunked': (request, response) => {
    response.setHeader('Trailer', 'X-Rows');
    response.write('one\n');
    setTimeout(() => response.write('two\n'), 300);
    setTimeout(() => { response.addTrailers({'X-Rows': '3'}); response.end('three\n'); }, 600);
  },
  '/lines': (request, response) => {
    response.write('one\n');
    setTimeout(() => response.end('two\n'), 300);
  },
  '/sse': (request, response) => {
    response.writeHead(200, {'Content-Type': 'text/event-stream'});
    const ping = setInterval(() => response.write(': ping\n\n'), 1000);
    const event = setInterval(() => response.write('event: price\ndata: 42\n\n'), 2500);
    response.on('close', () => { clearInterval(ping); clearInterval(event); });
  },
  '/cut': (request, response) => {
    response.writeHead(200, {'Content-Length': 1000});
    response.write('x'.repeat(300));
    setTimeout(() => response.socket.destroy(), 200);
  },
  '/wait': (request, response, seconds) => setTimeout(() => {
    if (seconds < 30) return response.end('{"event":"news"}');
    response.writeHead(204);
    response.end();
  }, 1000 * seconds),
  '/poll': (request, response) => response.end(JSON.stringify({rows: 'x'.repeat(400 + Math.floor(Math.random() * 600))})),
};
const server = http.createServer((request, response) => {
  const body = [];
  request.on('data', (part) => body.push(part));
  const [, route, rest] = request.url.split('/');
  request.on('end', () => (routes['/' + route] || ((q, a) => a.end('hello')))(request, response, rest));
});
server.listen(Number(process.argv[3]), process.argv[2]);
