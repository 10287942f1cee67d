// The clients of clients/, and `tidewatch watch`, over a real server: `scripts/page clients`. Each follows a chain that is reorged while it
// looks and while it is away, through a server that is killed, and ends where the server is, by every event once.
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Anvil, Tidewatch, check, freePort, test, until } from './world.mjs'

const [, , modules, binary, built] = process.argv
const here = import.meta.dirname
const { follow } = await import(pathToFileURL(join(built, 'tidewatch.js')))

const directory = mkdtempSync(join(tmpdir(), 'tidewatch-clients-'))
process.on('exit', () => rmSync(directory, { recursive: true, force: true }))

function lines(stream, take) {
  let rest = ''
  stream.setEncoding('utf8').on('data', (text) => {
    const whole = (rest + text).split('\n')
    rest = whole.pop()
    whole.forEach(take)
  })
}

/** A run of a client: what it was given, and where it would go on. */
class TypeScript {
  name = 'TypeScript'
  start(url, seen, options = {}) {
    const abort = new AbortController()
    const ended = follow(url, {
      signal: abort.signal,
      from: 'earliest',
      load: () => seen.cursor,
      save: (cursor) => void (seen.cursor = cursor),
      event: (event, state) => void (seen.events.push(event), (seen.state = structuredClone(state))),
      control: (control) => seen.control.push(control),
      lost: () => seen.lost++,
      ...options,
    })
    ended.catch(() => {})
    return { ended, stop: () => (abort.abort(), ended) }
  }
}

/** The same of a process that follows and writes what it sees as lines. */
class Python {
  name = 'Python'
  start(url, seen, options = {}) {
    const settings = JSON.stringify({ url, cursor: seen.cursor ?? null, reset: Boolean(options.reset), silent: options.silentMs ? options.silentMs / 1000 : 45 })
    const child = spawn('python3', ['-B', join(here, 'follow.py'), settings], { stdio: ['pipe', 'pipe', 'inherit'] })
    let failure
    lines(child.stdout, (line) => {
      const [kind, value] = JSON.parse(line)
      if (kind === 'event') (seen.events.push(value.event), (seen.state = value.state))
      else if (kind === 'save') seen.cursor = value
      else if (kind === 'lost') seen.lost++
      else if (kind === 'reset') options.reset(value)
      else if (kind === 'failed') failure = value
      else seen.control.push(value)
    })
    const ended = new Promise((done, failed) => child.on('close', () => (failure ? failed(failure) : done())))
    ended.catch(() => {})
    return { ended, stop: () => (child.stdin.end(), ended) }
  }
}

/** `tidewatch watch`, which is the Rust client; what its lines lead to is folded here. */
class Watch {
  name = 'tidewatch watch'
  start(url, seen, options = {}) {
    const file = join(directory, 'cursor')
    if (seen.cursor) writeFileSync(file, seen.cursor)
    const args = ['watch', url, '--format', 'json', '--earliest', '--cursor-file', file]
    const child = spawn(binary, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, RUST_LOG: 'tidewatch=warn' } })
    lines(child.stdout, (line) => {
      const event = JSON.parse(line)
      if (event.tips) seen.state = { block: event.block, tips: { ...event.tips } }
      else if (event.tier) seen.state.tips[event.tier] = { block: event.block, checkpoint: event.checkpoint }
      if (event.event === 'reset') options.reset(event)
      const list = ['blocks', 'advanced', 'regressed', 'pruned'].includes(event.event) ? seen.events : seen.control
      list.push(event)
    })
    lines(child.stderr, (line) => line.includes('the server is gone') && seen.lost++)
    const ended = new Promise((done) => child.on('close', done))
    const stop = async () => {
      child.kill('SIGINT')
      await ended
      seen.cursor = readFileSync(file, 'utf8')
    }
    return { ended, stop }
  }
}

/** The kind of the error that ends `run`. */
const failure = (run) => run.ended.then(() => null, (error) => (error instanceof Error ? error.constructor.name : error.name))

for (const client of [new TypeScript(), new Python(), new Watch()]) {
  const anvil = await Anvil.start(modules, 8)
  const server = new Tidewatch(binary, `eth+${anvil.url}`, await freePort())
  const processes = () => [anvil, server]
  await anvil.mine(30)
  await server.start()
  const seen = { events: [], control: [], lost: 0, cursor: null, state: null }
  const caughtUp = async (height) => {
    const tips = await server.at(height)
    const there = () => Object.keys(tips).every((tier) => seen.state?.tips[tier]?.block.digest === tips[tier]?.block.digest)
    await until(`the client is at ${height}`, there)
  }
  let run

  await test(`${client.name}: follows from the oldest event on`, async () => {
    run = client.start(server.url, seen)
    await caughtUp(30)
    await anvil.mine(2)
    await caughtUp(32)
  }, processes)

  await test(`${client.name}: a reorg is undone by one message`, async () => {
    await anvil.reorg(3)
    await until('there is a prune', () => seen.events.some((event) => event.event === 'pruned' && event.depth === 3))
    await caughtUp(32)
  }, processes)

  await test(`${client.name}: goes on over a server that is killed`, async () => {
    const lost = seen.lost
    await server.kill()
    await until('the client notices', () => seen.lost > lost)
    await anvil.mine(4)
    await server.start()
    await caughtUp(36)
    const hellos = seen.control.filter((control) => control.event === 'hello')
    check(hellos.at(-1).resume === 'exact', `it resumed ${hellos.at(-1).resume}`)
  }, processes)

  await test(`${client.name}: goes on from what it saved, over a reorg that it did not see`, async () => {
    await run.stop()
    await anvil.reorg(5)
    await anvil.mine(1)
    await server.at(37)
    run = client.start(server.url, seen)
    await caughtUp(37)
    await run.stop()
  }, processes)

  await test(`${client.name}: every event came once, and they are those of the server`, async () => {
    const page = await server.json('/v1/events?from=earliest&limit=1000')
    const key = (event) => JSON.stringify({ ...event, cursor: null })
    check(page.events.map(key).join('\n') === seen.events.map(key).join('\n'), `${seen.events.length} events came, the server has ${page.events.length}`)
  }, processes)

  await test(`${client.name}: a cursor that nothing leads on from is an error, or a reset`, async () => {
    const lost = { events: [], control: [], lost: 0, cursor: 'no-cursor', state: null }
    if (!(client instanceof Watch)) {
      const error = await failure(client.start(server.url, lost))
      check(error === 'Unresumable', `it is ${error}`)
    }
    let reset
    run = client.start(server.url, lost, { reset: (message) => void (reset = message) })
    await until('it is reset', () => reset?.code === 'malformed_cursor')
    await until('it goes on', () => lost.state?.tips.proposed?.block.height === 37)
    await run.stop()
  }, processes)

  if (!(client instanceof Watch)) {
    await test(`${client.name}: silence is a lost connection`, async () => {
      const quiet = { events: [], control: [], lost: 0, cursor: null, state: null }
      run = client.start(server.url, quiet, { silentMs: 400 })
      const hellos = () => quiet.control.filter((control) => control.event === 'hello')
      await until('it connected twice', () => quiet.lost > 0 && hellos().length > 1)
      check(hellos().at(-1).resume === 'exact', `it resumed ${hellos().at(-1).resume}`)
      await run.stop()
    }, processes)
  }

  await server.end()
  await anvil.process.kill()
}
