// Readers behind a real proxy (nginx), over a real server: `scripts/page proxied`. Each proxy is set up as somebody
// would have it; through each of them a reader follows a chain that is reorged, over a proxy and a server that are
// killed, and gets every event once.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Anvil, Process, Tidewatch, check, freePort, test, until } from './world.mjs'

const [, , modules, binary, built, nginx] = process.argv
const { follow } = await import(pathToFileURL(join(built, 'tidewatch.js')))

const directory = mkdtempSync(join(tmpdir(), 'tidewatch-proxied-'))
process.on('exit', () => rmSync(directory, { recursive: true, force: true }))
mkdirSync(join(directory, 'logs'))

const anvil = await Anvil.start(modules, 8)
const server = new Tidewatch(binary, `eth+${anvil.url}`, await freePort())

/** What is in each proxy's location, beside where the server is. */
const PROXIES = {
  // What nginx 1.22 does by itself: HTTP/1.0, and whatever the server says of buffering counts.
  plain: '',
  // The settings of a site: HTTP/1.1, everything compressed that may be.
  'one that compresses': 'proxy_http_version 1.1; proxy_set_header Connection ""; gzip on; gzip_types *; gzip_proxied any; gzip_min_length 0;',
  // A stream that is quiet for a second is cut in its middle.
  'one that cuts': 'proxy_http_version 1.1; proxy_read_timeout 1s;',
  // It has no ear for `x-accel-buffering`: events wait in it until there are enough of them, or until it has to end.
  'one that holds back': 'proxy_ignore_headers X-Accel-Buffering; proxy_buffering on;',
}

const proxies = await Promise.all(Object.entries(PROXIES).map(async ([name, settings]) => ({ name, settings, port: await freePort() })))
const servers = proxies.map(({ port, settings }) => `server { listen 127.0.0.1:${port}; location / { proxy_pass ${server.url}; ${settings} } }`)
writeFileSync(join(directory, 'nginx.conf'), `
daemon off;
master_process off;
pid nginx.pid;
error_log stderr;
events {}
http {
  access_log off;
  ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${kind};`).join(' ')}
  ${servers.join('\n  ')}
}
`)
const proxy = { start: () => (proxy.process = new Process(nginx, ['-p', directory, '-c', 'nginx.conf'])) }
const processes = () => [anvil, server, proxy]
const up = () => until('the proxy answers', () => fetch(`http://127.0.0.1:${proxies[0].port}/live`))

await anvil.mine(30)
await server.start()
proxy.start()
await up()

const readers = proxies.map(({ name, port }) => {
  const reader = { name, events: [], lost: 0, cursor: null, state: null }
  const abort = new AbortController()
  const ended = follow(`http://127.0.0.1:${port}`, {
    signal: abort.signal,
    from: 'earliest',
    load: () => reader.cursor,
    save: (cursor) => void (reader.cursor = cursor),
    event: (event, state) => void (reader.events.push(event), (reader.state = structuredClone(state))),
    lost: () => reader.lost++,
  })
  reader.failed = ended.then(() => null, (error) => error)
  reader.stop = () => (abort.abort(), reader.failed)
  return reader
})
const prompt = readers.filter(({ name }) => name !== 'one that holds back')

async function caughtUp(height, who = prompt) {
  const tips = await server.at(height)
  for (const reader of who) {
    const there = () => Object.keys(tips).every((tier) => reader.state?.tips[tier]?.block.digest === tips[tier]?.block.digest)
    await until(`the reader behind ${reader.name} is at ${height}`, there)
  }
}

await test('events come through at once, but from one that holds back', async () => {
  await caughtUp(30)
  await anvil.mine(2)
  await caughtUp(32)
}, processes)

await test('a proxy that cuts a quiet stream is gone on from', async () => {
  const cut = readers.find(({ name }) => name === 'one that cuts')
  await until('it was cut twice', () => cut.lost >= 2)
  await anvil.reorg(3)
  await until('every reader saw the prune', () => prompt.every(({ events }) => events.some((event) => event.event === 'pruned' && event.depth === 3)))
}, processes)

await test('a proxy that is killed is gone on from, over a reorg that nobody saw', async () => {
  const lost = readers.map((reader) => reader.lost)
  await proxy.process.kill()
  await until('every reader notices', () => readers.every((reader, i) => reader.lost > lost[i]))
  await anvil.reorg(5)
  await anvil.mine(2)
  await server.at(34)
  proxy.start()
  await up()
  await caughtUp(34)
}, processes)

await test('so is a server that is killed, and one that is stopped', async () => {
  for (const [signal, height] of [['SIGKILL', 36], ['SIGTERM', 38]]) {
    await server.kill(signal)
    await anvil.mine(2)
    await server.start()
    await caughtUp(height)
  }
}, processes)

await test('a reader of HTTP/1.0 gets a stream that ends where it is said to', async () => {
  const raw = await new Promise((done, failed) => {
    const socket = connect(Number(new URL(server.url).port), '127.0.0.1', () => socket.write('GET /v1/events?from=earliest&until=20 HTTP/1.0\r\nhost: 127.0.0.1\r\naccept: text/event-stream\r\n\r\n'))
    let text = ''
    socket.setEncoding('utf8').on('data', (part) => (text += part)).on('end', () => done(text)).on('error', failed)
  })
  check(/^HTTP\/1\.0 200/.test(raw), raw.slice(0, 100))
  check(!/transfer-encoding/i.test(raw), 'there are chunks in HTTP/1.0')
  const last = raw.trim().split('\n\n').at(-1)
  check(last.includes('event: goodbye') && last.includes('"reason":"until"'), `it ends with ${last}`)
}, processes)

await test('every event came once through each of them', async () => {
  // What one holds back comes when the server ends its stream.
  await server.kill('SIGTERM')
  await server.start()
  await caughtUp(38, readers)
  const page = await server.json('/v1/events?from=earliest&limit=1000')
  const key = (event) => JSON.stringify({ ...event, cursor: null })
  for (const reader of readers) {
    const failed = await reader.stop()
    check(!failed, `${reader.name}: ${failed?.stack}`)
    check(page.events.map(key).join('\n') === reader.events.map(key).join('\n'), `${reader.name}: ${reader.events.length} events came, the server has ${page.events.length}`)
  }
}, processes)

await proxy.process.kill()
await server.end()
await anvil.process.kill()
