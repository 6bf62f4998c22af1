// An HTTP/2 server: node h2_server.js ADDRESS PORT [KEY CERT]. Without certificate: h2c, by prior knowledge.
const fs = require('fs');
const http2 = require('http2');
const [address, port, key, cert] = process.argv.slice(2);
const server = key
  ? http2.createSecureServer({key: fs.readFileSync(key), cert: fs.readFileSync(cert)})
  : http2.createServer();
// What a language model says: words, then only pings while it thinks, then words.
function answer(stream) {
  stream.respond({':status': 200, 'content-type': 'text/event-stream; charset=utf-8'});
  const words = ['It', ' depends', ' on'];
  const say = (type, data) => stream.write(`event: ${type}\ndata: ${JSON.stringify({type, ...data})}\n\n`);
  for (const text of words) say('delta', {text});
  let left = 6;
  const timer = setInterval(() => {
    if (left-- > 0) { say('ping', {}); return; }
    clearInterval(timer);
    say('delta', {text: ' the packets.'});
    stream.end();
  }, 1000);
}
server.on('stream', (stream, headers) => {
  stream.on('error', () => {});
  const session = stream.session;
  if (headers[':path'] === '/leave') setTimeout(() => session.close(), 300);
  if (headers[':path'] === '/events') { answer(stream); return; }
  if (headers[':path'] === '/slow') { stream.respond({':status': 200}); return; }
  stream.respond({':status': 200});
  stream.end('hello');
});
server.on('session', (session) => session.on('error', () => {}));
server.listen(Number(port), address);
