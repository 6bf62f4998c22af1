// An HTTP/2 client: node h2_client.js URL ACTION [CA]. Prints what happened as one line of JSON.
//   ping    a request, five PINGs a second apart, another request, close()
//   cancel  a request whose stream is cancelled after 0.5 s, another one, close()
//   events  an event stream to its end, close()
//   leave   a request after which the server says GOAWAY
const fs = require('fs');
const http2 = require('http2');
const [url, action, ca] = process.argv.slice(2);
const seen = {requests: 0, acks: 0, goaway: []};
const session = http2.connect(url, ca ? {ca: fs.readFileSync(ca), servername: 'example.com'} : {});
session.on('goaway', (code) => seen.goaway.push(code));
session.on('close', () => console.log(JSON.stringify(seen)));
function get(path, done) {
  const stream = session.request({':path': path});
  seen.requests += 1;
  stream.resume();
  stream.on('error', () => {});
  stream.on('close', () => done && done());
  return stream;
}
const actions = {
  ping: () => get('/', () => {
    let left = 5;
    const timer = setInterval(() => {
      if (left-- > 0) { session.ping((error) => { if (!error) seen.acks += 1; }); return; }
      clearInterval(timer);
      get('/', () => session.close());
    }, 1000);
  }),
  cancel: () => {
    const stream = get('/slow', () => get('/', () => session.close()));
    setTimeout(() => stream.close(http2.constants.NGHTTP2_CANCEL), 500);
  },
  events: () => get('/events', () => session.close()),
  leave: () => get('/leave'),
};
session.on('connect', actions[action]);
